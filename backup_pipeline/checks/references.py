"""Every foreign key, in the data of the backup: a child's value that no parent has is reported, with examples.

A backup of one consistent moment cannot hold such a row unless the database did. So a dangling reference is either
a hole in the export or damage that the live database has without knowing; both are found before a restore.

The key columns go into a private DuckDB file (bounded memory, whatever the size of the tables) and are joined there.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from backup_pipeline.checks.comparable import Comparison, compare
from backup_pipeline.errors import Damaged
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest, TableEntry
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import ForeignKey, Schema, TableId
from backup_pipeline.reading.columns import open_columns, schema_of
from backup_pipeline.reading.tables import leaves_of
from backup_pipeline.reading.types import Types
from backup_pipeline.sources.sqlite.scratch import Scratch
from backup_pipeline.vault.vault import Vault

MEMORY = "96MB"
EXAMPLES = 5
#: Free space to ask for: keys are short, and DuckDB keeps them packed.
_ROOM = 64 << 20


@dataclass(frozen=True, slots=True)
class Reference:
    """A foreign key, and where the rows of both of its ends lie: in one table, or in the leaves of a partitioned one."""

    table: TableId
    key: ForeignKey
    children: tuple[TableEntry, ...]
    parents: tuple[TableEntry, ...]
    comparisons: tuple[Comparison, ...]
    #: Leaves of the parent that this backup does not hold.
    absent: tuple[TableId, ...] = ()

    @property
    def contents(self) -> tuple[object, ...]:
        """Equal for two backups in which this key joins the same bytes."""
        ends = (self.children, self.parents)
        stored = tuple(tuple(chunk.object.sha256 for entry in end for chunk in entry.chunks) for end in ends)
        return (
            self.table,
            self.key,
            self.comparisons,
            *(tuple(e.columns for e in end) for end in ends),
            stored,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    findings: tuple[Finding, ...]
    counted: dict[str, int]


@dataclass
class Memory:
    """What other backups of the same verification were found to hold."""

    known: dict[tuple[object, ...], tuple[Finding, ...]] = field(default_factory=dict)


def check(
    vault: Vault,
    manifest: Manifest,
    schema: Schema,
    *,
    hurt: frozenset[str],
    memory: Memory,
    listener: Listener,
) -> Outcome:
    findings: list[Finding] = []
    counted: Counter[str] = Counter()
    todo: list[Reference] = []
    for reference in references(manifest, schema):
        why = _cannot_be_checked(reference, hurt)
        if why:
            findings.append(_not_checked(reference, why))
            counted["references_not_checked"] += 1
            continue
        counted["references"] += 1
        if reference.contents in memory.known:
            findings += memory.known[reference.contents]
        else:
            todo.append(reference)
    for reference, found in _join(vault, todo, listener):
        memory.known[reference.contents] = found
        findings += found
    return Outcome(tuple(findings), dict(counted))


def references(manifest: Manifest, schema: Schema) -> Iterator[Reference]:
    """Every foreign key between tables whose rows are here, each once."""
    types = Types(schema)
    entries = {entry.id: entry for entry in manifest.tables}
    ancestors = _ancestors(schema)
    for table in schema.tables:
        children = [leaf for leaf in leaves_of(schema, table.id) if leaf in entries]
        for key in table.foreign_keys:
            if not children or _is_a_copy(schema, table.id, key, ancestors):
                continue
            parent = schema.table(key.references)
            leaves = leaves_of(schema, key.references) if parent else (key.references,)
            own = {column.name: column for column in table.columns}
            far = {column.name: column for column in parent.columns} if parent else {}
            comparisons = tuple(
                compare(types, own[one], far[other])
                for one, other in zip(key.columns, key.referenced, strict=True)
                if one in own and other in far
            )
            yield Reference(
                table.id,
                key,
                tuple(entries[leaf] for leaf in children),
                tuple(entries[leaf] for leaf in leaves if leaf in entries),
                comparisons,
                tuple(leaf for leaf in leaves if leaf not in entries),
            )


def _ancestors(schema: Schema) -> dict[TableId, tuple[TableId, ...]]:
    above = {table.id: table.partition_of for table in schema.tables}
    found: dict[TableId, tuple[TableId, ...]] = {}
    for table in above:
        line: list[TableId] = []
        parent = above[table]
        while parent is not None and parent not in line:
            line.append(parent)
            parent = above.get(parent)
        found[table] = tuple(line)
    return found


def _is_a_copy(
    schema: Schema, table: TableId, key: ForeignKey, ancestors: dict[TableId, tuple[TableId, ...]]
) -> bool:
    """The engine keeps a copy of a partitioned table's key for each partition, on either end."""
    roots = {key.references, *ancestors.get(key.references, ())}
    for owner in (table, *ancestors.get(table, ())):
        holder = schema.table(owner)
        for other in holder.foreign_keys if holder else ():
            same = (other.columns, other.referenced) == (key.columns, key.referenced)
            higher = owner != table or other.references != key.references
            if same and higher and other.references in roots:
                return True
    return False


def _cannot_be_checked(reference: Reference, hurt: frozenset[str]) -> str:
    key = reference.key
    names = {str(entry.id) for entry in (*reference.children, *reference.parents)}
    if reference.absent:
        return f"{', '.join(map(str, reference.absent))} is not in this backup"
    if damaged := sorted(names & hurt):
        return f"{', '.join(damaged)} is damaged"
    if len(reference.comparisons) != len(key.columns):
        return "its columns are not in the schema"
    held = all(set(key.columns) <= set(entry.columns) for entry in reference.children)
    if not held or not all(set(key.referenced) <= set(entry.columns) for entry in reference.parents):
        return "one of its columns is generated: its values are not in the backup"
    return ""


def _not_checked(reference: Reference, why: str) -> Finding:
    return Finding(
        "info",
        "reference-not-checked",
        f"{reference.table}: foreign key {reference.key.name} was not checked: {why}",
        table=str(reference.table),
    )


# ── joining


def _join(
    vault: Vault, todo: Sequence[Reference], listener: Listener
) -> Iterator[tuple[Reference, tuple[Finding, ...]]]:
    if not todo:
        return
    with Scratch.make(_ROOM) as scratch:
        keys = _Keys(vault, todo, scratch.folder)
        try:
            for reference in todo:
                listener(Advance("verify", str(reference.table), note=f"foreign key {reference.key.name}"))
                yield reference, tuple(_dangling(keys, reference))
                keys.done(reference)
        finally:
            keys.close()


class _Keys:
    """The key columns of the tables that are joined. Each is loaded once, when it is first needed, and
    dropped with the last foreign key that needs it."""

    def __init__(self, vault: Vault, todo: Sequence[Reference], folder: Path) -> None:
        self._vault = vault
        self._columns: dict[tuple[TableId, ...], dict[str, bool]] = {}
        self._left: Counter[tuple[TableId, ...]] = Counter()
        self._names: dict[tuple[TableId, ...], str] = {}
        self._numbers = itertools.count()
        for reference in todo:
            numbers = [comparison.form == "integer" for comparison in reference.comparisons]
            for entries, names in _ends(reference):
                wanted = self._columns.setdefault(_source(entries), {})
                for name, number in zip(names, numbers, strict=True):
                    # As a number only where every key that uses the column wants one.
                    wanted[name] = wanted.get(name, True) and number
                self._left[_source(entries)] += 1
        self._connection = duckdb.connect(
            folder / "keys.duckdb",
            config={
                "memory_limit": MEMORY,
                "threads": 2,
                "temp_directory": str(folder),
                "preserve_insertion_order": False,
            },
        )

    def table(self, entries: tuple[TableEntry, ...]) -> str:
        """The name of the table that holds the keys of these leaves."""
        source = _source(entries)
        if source not in self._names:
            name = f"k{next(self._numbers)}"
            wanted = self._columns[source]
            columns = ", ".join(
                f"c{number} {'BIGINT' if integer else 'BLOB'}"
                for number, integer in enumerate(wanted.values())
            )
            self._connection.execute(f"CREATE TABLE {name} ({columns})")
            for entry in entries:
                self._load(name, entry, wanted)
            self._names[source] = name
        return self._names[source]

    def column(self, entries: tuple[TableEntry, ...], name: str) -> tuple[str, bool]:
        """The column's name in `table`, and whether it is a number there."""
        wanted = self._columns[_source(entries)]
        return f"c{list(wanted).index(name)}", wanted[name]

    def _load(self, name: str, entry: TableEntry, wanted: dict[str, bool]) -> None:
        positions = {
            entry.columns.index(column): pa.int64() if number else pa.binary()
            for column, number in wanted.items()
        }
        listed = ", ".join(f'"{position}"' for position in positions)
        for chunk in entry.chunks:
            batches = open_columns(self._vault.blocks(chunk.object), len(entry.columns), positions)
            reader = pa.RecordBatchReader.from_batches(schema_of(positions), batches)
            self._connection.register("arriving", reader)
            try:
                self._connection.execute(f"INSERT INTO {name} SELECT {listed} FROM arriving")
            finally:
                self._connection.unregister("arriving")

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = self._connection.execute(sql).fetchall()
        return found

    def done(self, reference: Reference) -> None:
        for entries, _ in _ends(reference):
            source = _source(entries)
            self._left[source] -= 1
            if not self._left[source] and source in self._names:
                self._connection.execute(f"DROP TABLE {self._names.pop(source)}")

    def close(self) -> None:
        self._connection.close()


def _ends(reference: Reference) -> tuple[tuple[tuple[TableEntry, ...], tuple[str, ...]], ...]:
    return (
        (reference.children, reference.key.columns),
        (reference.parents, reference.key.referenced),
    )


def _source(entries: Iterable[TableEntry]) -> tuple[TableId, ...]:
    return tuple(entry.id for entry in entries)


def _dangling(keys: _Keys, reference: Reference) -> Iterator[Finding]:
    if not any(entry.rows for entry in reference.children):
        return
    try:
        child, parent = keys.table(reference.children), keys.table(reference.parents)
    except (pa.ArrowInvalid, duckdb.Error, Damaged) as error:
        yield Finding(
            "error",
            "keys-unreadable",
            f"{reference.table}: the values of foreign key {reference.key.name} cannot be read: "
            f"{str(error).splitlines()[0]}",
            table=str(reference.table),
            remedy="verify again; if it stays, the rows are not what the schema says: use another backup",
        )
        return
    own = [keys.column(reference.children, name) for name in reference.key.columns]
    far = [keys.column(reference.parents, name) for name in reference.key.referenced]
    equal = " AND ".join(
        f"{_normal(f'p.{two}', two_number, comparison)} = {_normal(f'c.{one}', one_number, comparison)}"
        for (one, one_number), (two, two_number), comparison in zip(
            own, far, reference.comparisons, strict=True
        )
    )
    filled = " AND ".join(f"c.{one} IS NOT NULL" for one, _ in own)
    orphan = f"({filled}) AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE {equal})"
    if reference.key.match == "FULL" and len(own) > 1:
        some = " OR ".join(f"c.{one} IS NOT NULL" for one, _ in own)
        orphan = f"({orphan}) OR (({some}) AND NOT ({filled}))"
    ((count,),) = keys.rows(f"SELECT count(*) FROM {child} c WHERE {orphan}")
    if not count:
        return
    listed = ", ".join(f"c.{one}" for one, _ in own)
    found = keys.rows(f"SELECT DISTINCT {listed} FROM {child} c WHERE {orphan} ORDER BY ALL LIMIT {EXAMPLES}")
    yield _finding(reference, int(str(count)), tuple(_shown(reference.key.columns, row) for row in found))


def _normal(column: str, number: bool, comparison: Comparison) -> str:
    """A column in the form in which equal values are equal."""
    if comparison.form == "integer" and number:
        return column
    if comparison.form == "text" and not number:
        return column
    # From bytes to text by a mapping that keeps different bytes different.
    text = f"CAST({column} AS VARCHAR)"
    if comparison.form == "decimal":
        return f"CASE WHEN contains({text}, '.') THEN rtrim(rtrim({text}, '0'), '.') ELSE {text} END"
    if comparison.form == "float":
        return f"CASE {text} WHEN '-0' THEN '0' ELSE {text} END"
    return f"rtrim({text}, ' ')" if comparison.form == "padded" else text


def _shown(columns: Sequence[str], values: Sequence[object]) -> str:
    texts = [
        "NULL"
        if value is None
        else value.decode("utf-8", "replace")
        if isinstance(value, bytes)
        else str(value)
        for value in values
    ]
    return f"({', '.join(columns)}) = ({', '.join(texts)})"


def _finding(reference: Reference, count: int, examples: tuple[str, ...]) -> Finding:
    key = reference.key
    if not all(comparison.certain for comparison in reference.comparisons):
        finding = _not_checked(
            reference,
            f"{count:,} rows have no parent of the same text, and only the engine can say "
            "whether values of these types are equal (a drill does)",
        )
        return replace(finding, examples=examples)
    rows = "row refers" if count == 1 else "rows refer"
    message = (
        f"{reference.table}: {count:,} {rows} by {key.name} to rows of {key.references} that are not there"
    )
    if key.validated:
        remedy = "look whether the live database has the same rows; if it does not, run `backup --full`"
    else:
        message += " (the database does not enforce this key: it is NOT VALID)"
        remedy = "repair the rows in the live database, then VALIDATE the constraint"
    return Finding(
        "error" if key.validated else "warning",
        "dangling-reference",
        message,
        table=str(reference.table),
        remedy=remedy,
        examples=examples,
    )
