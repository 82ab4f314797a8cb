"""The keys of a backup, joined: which children have no parent.

The key columns go into a private DuckDB file (bounded memory, for tables of any size) and are joined there, so many at
a time. What belongs here: columns, tables, SQL. What does not: which references there are, and what is said of them.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from backup_pipeline.model.manifest import TableEntry
from backup_pipeline.model.schema import ForeignKey, TableId
from backup_pipeline.reading.columns import open_columns, schema_of
from backup_pipeline.reading.interrupting import QUIET
from backup_pipeline.references.comparable import Comparison
from backup_pipeline.vault.backup import Backup

MEMORY = "96MB"
EXAMPLES = 5
#: So many keys are joined at a time. DuckDB could spill, but a hash table much larger than its memory fails.
_AT_ONCE = 2_000_000


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


class Keys:
    """The key columns of the tables that are joined. Each is loaded once, when it is first needed, and
    dropped with the last foreign key that needs it."""

    def __init__(self, backup: Backup, todo: Sequence[Reference], folder: Path) -> None:
        self._backup = backup
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
        self._connection.execute(QUIET)

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
            batches = open_columns(self._backup, entry, chunk, positions)
            reader = pa.RecordBatchReader.from_batches(schema_of(positions), batches)
            self._connection.register("arriving", reader)
            try:
                self._connection.execute(f"INSERT INTO {name} SELECT {listed} FROM arriving")
            finally:
                self._connection.unregister("arriving")

    def rows(self, sql: str, values: Sequence[int]) -> list[tuple[object, ...]]:
        found: list[tuple[object, ...]] = self._connection.execute(sql, values).fetchall()
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


@dataclass(frozen=True, slots=True)
class Join:
    """The SQL that finds the orphans of one foreign key, some of the keys at a time."""

    keys: Keys
    child: str
    listed: str
    orphan: str
    hash: str
    parts: int
    columns: tuple[str, ...]

    @staticmethod
    def of(keys: Keys, reference: Reference) -> Join:
        child, parent = keys.table(reference.children), keys.table(reference.parents)
        own = [keys.column(reference.children, name) for name in reference.key.columns]
        far = [keys.column(reference.parents, name) for name in reference.key.referenced]
        forms = reference.comparisons
        ours = [_normal(f"c.{n}", number, form) for (n, number), form in zip(own, forms, strict=True)]
        theirs = [_normal(f"p.{n}", number, form) for (n, number), form in zip(far, forms, strict=True)]
        rows = max(sum(entry.rows for entry in end) for end in (reference.children, reference.parents))
        parts = 1 + rows // _AT_ONCE
        equal = " AND ".join(f"{two} = {one}" for one, two in zip(ours, theirs, strict=True))
        if parts > 1:
            equal += f" AND hash({', '.join(theirs)}) % {parts} = ?"
        filled = " AND ".join(f"c.{one} IS NOT NULL" for one, _ in own)
        orphan = f"({filled}) AND NOT EXISTS (SELECT 1 FROM {parent} p WHERE {equal})"
        if reference.key.match == "FULL" and len(own) > 1:
            some = " OR ".join(f"c.{one} IS NOT NULL" for one, _ in own)
            orphan = f"({orphan}) OR (({some}) AND NOT ({filled}))"
        listed = ", ".join(f"c.{one}" for one, _ in own)
        return Join(keys, child, listed, orphan, f"hash({', '.join(ours)})", parts, reference.key.columns)

    def count(self, part: int) -> int:
        ((count,),) = self._rows("count(*)", "", part)
        return int(str(count))

    def examples(self) -> tuple[str, ...]:
        found: set[tuple[object, ...]] = set()
        for part in range(self.parts):
            if len(found) < EXAMPLES:
                found.update(self._rows(f"DISTINCT {self.listed}", f"ORDER BY ALL LIMIT {EXAMPLES}", part))
        ordered = sorted(found, key=lambda row: [(value is None, value) for value in row])
        return tuple(_shown(self.columns, row) for row in ordered[:EXAMPLES])

    def _rows(self, what: str, end: str, part: int) -> list[tuple[object, ...]]:
        sql = f"SELECT {what} FROM {self.child} c WHERE ({self.orphan})"
        values: list[int] = []
        if self.parts > 1:
            sql += f" AND {self.hash} % {self.parts} = ?"
            values = [part, part]
        return self.keys.rows(f"{sql} {end}", values)


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
