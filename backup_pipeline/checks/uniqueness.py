"""What a key and NOT NULL promise, held against the rows of the backup: a value that is there twice, a NULL that may not be.

Equal text is an equal value of every type, so what is found here is certain, and a restore cannot make the key. Values of
different text that the engine calls equal are not found: a drill finds those. CHECK constraints are the engine's as well.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from backup_pipeline.checks.comparable import INTEGERS
from backup_pipeline.checks.joining import MEMORY
from backup_pipeline.errors import Damaged
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest, TableEntry
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import Key, Schema, Table
from backup_pipeline.reading.columns import open_columns, schema_of
from backup_pipeline.reading.tables import leaves_of
from backup_pipeline.reading.types import Types
from backup_pipeline.sources.sqlite.scratch import Scratch
from backup_pipeline.vault.vault import Vault

#: So many keys are grouped at a time.
_AT_ONCE = 2_000_000
_ROOM = 64 << 20
_REMEDY = (
    "look whether the live database has the same rows: mend them there, then REINDEX; if it has not, run `backup --full`. A restore"
    " brings the rows, and leaves out or weakens what they break"
)


@dataclass(frozen=True, slots=True)
class Promise:
    """Of one table: of a partitioned one, about all of its leaves."""

    table: Table
    entries: tuple[TableEntry, ...]
    keys: tuple[Key, ...]
    #: Columns without NULLs.
    filled: tuple[str, ...]
    #: Columns of whole numbers, which are grouped as such: it is faster.
    numbers: frozenset[str]

    @property
    def contents(self) -> tuple[object, ...]:
        """Equal for two backups in which the same is promised of the same bytes."""
        stored = tuple(tuple(chunk.object.sha256 for chunk in entry.chunks) for entry in self.entries)
        return self.table.id, self.keys, self.filled, tuple(entry.columns for entry in self.entries), stored


Memory = dict[tuple[object, ...], tuple[Finding, ...]]


def check(
    vault: Vault,
    manifest: Manifest,
    schema: Schema,
    *,
    hurt: frozenset[str],
    memory: Memory,
    listener: Listener,
) -> tuple[tuple[Finding, ...], int]:
    """(what is broken, how many keys were looked at). `hurt`: tables whose rows are damaged, which was said already."""
    findings: list[Finding] = []
    looked_at = [
        promise
        for promise in promises(manifest, schema)
        if not any(str(entry.id) in hurt for entry in promise.entries)
    ]
    todo = [promise for promise in looked_at if promise.contents not in memory]
    if todo:
        with Scratch.make(_ROOM) as scratch, _opened(scratch.folder) as connection:
            for promise in todo:
                listener(Advance("verify", str(promise.table.id), note="keys and NOT NULL"))
                memory[promise.contents] = tuple(_look(vault, promise, connection))
    for promise in looked_at:
        findings += memory[promise.contents]
    return tuple(findings), sum(len(promise.keys) for promise in looked_at)


def promises(manifest: Manifest, schema: Schema) -> Iterator[Promise]:
    types = Types(schema)
    entries = {entry.id: entry for entry in manifest.tables}
    for table in schema.tables:
        held = tuple(entries[leaf] for leaf in leaves_of(schema, table.id) if leaf in entries)
        if not any(entry.rows for entry in held):
            continue
        here = set.intersection(*(set(entry.columns) for entry in held))
        root = schema.table(table.partition_of) if table.partition_of else None
        # A partition's copy of a key says less than the root's.
        above = {key.columns for key in _keys(root)} if root else set()
        keys = tuple(key for key in _keys(table) if set(key.columns) <= here and key.columns not in above)
        filled = () if table.kind == "partitioned" else tuple(
            column.name
            for column in table.columns
            if column.name in here and (not column.nullable or types.forbids_null(column))
        )  # fmt: skip
        if keys or filled:
            numbers = frozenset(c.name for c in table.columns if types.base(c) in INTEGERS)
            yield Promise(table, held, keys, filled, numbers)


def _keys(table: Table) -> tuple[Key, ...]:
    return (*((table.primary_key,) if table.primary_key else ()), *table.uniques)


@dataclass
class _Rows:
    """The columns of one promise, in a private DuckDB file, whatever the size of the table."""

    connection: duckdb.DuckDBPyConnection
    names: Mapping[str, str]
    numbers: frozenset[str]
    nulls: Counter[str] = field(default_factory=Counter)

    def load(self, vault: Vault, entry: TableEntry, filled: frozenset[str]) -> None:
        places = {name: entry.columns.index(name) for name in dict.fromkeys((*self.names, *filled))}
        wanted = {
            place: pa.int64() if name in self.numbers else pa.binary() for name, place in places.items()
        }
        listed = ", ".join(f'"{places[name]}"' for name in self.names)
        for chunk in entry.chunks:
            batches = open_columns(vault.blocks(chunk.object), len(entry.columns), wanted)
            counted = self._counted(batches, {name: str(places[name]) for name in filled})
            if not self.names:
                deque(counted, maxlen=0)
                continue
            self.connection.register(
                "arriving", pa.RecordBatchReader.from_batches(schema_of(wanted), counted)
            )
            try:
                # One statement a chunk: each is a transaction, and waits for the disk.
                self.connection.execute(f"INSERT INTO rows SELECT {listed} FROM arriving")
            finally:
                self.connection.unregister("arriving")

    def _counted(self, batches: Iterable[Any], filled: Mapping[str, str]) -> Iterator[Any]:
        for batch in batches:
            for name, place in filled.items():
                self.nulls[name] += batch.column(place).null_count
            yield batch

    def twice(self, key: Key, rows: int) -> tuple[int, int]:
        """(rows, values) of what is there more than once."""
        columns = [self.names[name] for name in key.columns]
        listed = ", ".join(columns)
        parts = 1 + rows // _AT_ONCE
        some = (
            "true"
            if "NULLS NOT DISTINCT" in key.definition
            else " AND ".join(f"{c} IS NOT NULL" for c in columns)
        )
        found = [0, 0]
        for part in range(parts):
            ((count, values),) = self.connection.execute(
                f"SELECT coalesce(sum(n), 0), count(*) FROM (SELECT count(*) AS n FROM rows WHERE {some}"
                f" AND hash({listed}) % {parts} = {part} GROUP BY {listed} HAVING count(*) > 1)"
            ).fetchall()
            found = [found[0] + int(count), found[1] + int(values)]
        return found[0], found[1]


def _look(vault: Vault, promise: Promise, connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    wanted = dict.fromkeys(name for key in promise.keys for name in key.columns)
    names = {name: f"c{number}" for number, name in enumerate(wanted)}
    table = str(promise.table.id)
    try:
        columns = [
            f"{column} {'BIGINT' if name in promise.numbers else 'BLOB'}" for name, column in names.items()
        ]
        if columns:
            connection.execute(f"CREATE OR REPLACE TABLE rows ({', '.join(columns)})")
        rows = _Rows(connection, names, promise.numbers)
        for entry in promise.entries:
            rows.load(vault, entry, frozenset(promise.filled))
        for key in promise.keys:
            count, values = rows.twice(key, sum(entry.rows for entry in promise.entries))
            if count:
                what = "primary key" if key == promise.table.primary_key else "unique constraint"
                shown = f"{key.name} ({', '.join(key.columns)})"
                yield _broken(
                    table, "key-not-unique", f"{count:,} rows share {values:,} values of the {what} {shown}"
                )
        for name, nulls in rows.nulls.items():
            if nulls:
                yield _broken(
                    table,
                    "null-not-allowed",
                    f"{nulls:,} rows have no value in {name}, which may not be NULL",
                )
    except (pa.ArrowInvalid, Damaged) as error:
        yield Finding(
            "error",
            "keys-unreadable",
            f"{table}: the values of its keys cannot be read: {str(error).splitlines()[0]}",
            table=table,
            remedy="verify again; if it stays, the rows are not what the schema says: use another backup",
        )
    except duckdb.Error as error:
        # Out of memory or of disk: a weakness of this machine, and not of the backup.
        yield Finding(
            "warning",
            "keys-not-checked",
            f"{table}: its keys were not checked: {str(error).splitlines()[0]}",
            table=table,
            remedy="set TMPDIR to a folder on a larger disk, and verify again",
        )


def _broken(table: str, code: str, message: str) -> Finding:
    return Finding("error", code, f"{table}: {message}", table=table, remedy=_REMEDY)


def _opened(folder: Path) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        folder / "rows.duckdb",
        config={
            "memory_limit": MEMORY,
            "threads": 2,
            "temp_directory": str(folder),
            "preserve_insertion_order": False,
        },
    )
