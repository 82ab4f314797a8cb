"""What a key and NOT NULL promise, held against the rows of the backup: a value that is there twice, a NULL that may not be.

Equal text is an equal value of every type, so what is found here is certain, and a restore cannot make the key. Values of
different text that the engine calls equal are not found: a drill finds those. CHECK constraints are the engine's as well.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from backup_pipeline.errors import Damaged
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest, TableEntry
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import Key, Schema, Table
from backup_pipeline.processes.scratch import Scratch
from backup_pipeline.reading.columns import open_columns, schema_of
from backup_pipeline.reading.interrupting import QUIET, interruptible
from backup_pipeline.reading.tables import leaves_of
from backup_pipeline.reading.types import Types
from backup_pipeline.references.comparable import INTEGERS
from backup_pipeline.references.joining import MEMORY
from backup_pipeline.vault.backup import Backup

#: So many keys are grouped at a time.
_AT_ONCE = 2_000_000
#: Of so many values the hashes are held in memory (64 MiB): four times as fast as values in a file.
_HASHES = 8_000_000
_ROOM = 64 << 20


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
    backup: Backup,
    *,
    hurt: frozenset[str],
    memory: Memory,
    listener: Listener,
) -> tuple[tuple[Finding, ...], int]:
    """(what is broken, how many keys were looked at). `hurt`: tables whose rows are damaged, which was said already."""
    findings: list[Finding] = []
    looked_at = [
        promise
        for promise in promises(backup.manifest, backup.schema)
        if not any(str(entry.id) in hurt for entry in promise.entries)
    ]
    todo = [promise for promise in looked_at if promise.contents not in memory]
    if todo:
        with interruptible(), Scratch.make(_ROOM) as scratch, _opened(scratch.folder) as connection:
            for promise in todo:
                listener(Advance("verify", str(promise.table.id), note="keys and NOT NULL"))
                memory[promise.contents] = tuple(_look(backup, promise, connection))
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
    """The columns of one promise, in a private DuckDB file: a table may be larger than memory."""

    backup: Backup
    promise: Promise
    connection: duckdb.DuckDBPyConnection
    nulls: Counter[str] = field(default_factory=Counter)

    @property
    def names(self) -> dict[str, str]:
        """Column of a key → its name in the file."""
        wanted = dict.fromkeys(name for key in self.promise.keys for name in key.columns)
        return {name: f"c{number}" for number, name in enumerate(wanted)}

    @property
    def rows(self) -> int:
        return sum(entry.rows for entry in self.promise.entries)

    def suspects(self) -> tuple[Key, ...]:
        """The keys of which two rows may have the same value: by hashes, so most tables need no file."""
        keys = self.promise.keys
        if self.rows * len(keys) > _HASHES:
            self._each_chunk(self.promise.filled, None)
            return keys
        found: list[list[Any]] = [[] for _ in keys]
        columns = ", ".join(
            f"CASE WHEN {self._counts(key)} THEN hash({self._listed(key)}) END AS h{number}"
            for number, key in enumerate(keys)
        )

        def take() -> None:
            hashes = self.connection.execute(f"SELECT {columns} FROM arriving").fetchnumpy()
            for number, some in enumerate(found):
                values = np.ma.masked_array(hashes[f"h{number}"]).compressed()
                some.append(values)

        self._each_chunk(self.promise.filled, take if keys else None)
        return tuple(
            key for key, some in zip(keys, found, strict=True) if some and _repeats(np.concatenate(some))
        )

    def twice(self, keys: tuple[Key, ...]) -> Iterator[tuple[Key, int, int]]:
        """(key, rows, values) of what is there more than once."""
        if not keys:
            return
        columns = (
            f"{column} {'BIGINT' if name in self.promise.numbers else 'BLOB'}"
            for name, column in self.names.items()
        )
        self.connection.execute(f"CREATE OR REPLACE TABLE rows ({', '.join(columns)})")
        # One statement a chunk: each is a transaction, and waits for the disk.
        self._each_chunk((), lambda: self.connection.execute("INSERT INTO rows SELECT * FROM arriving"))
        for key in keys:
            rows, values = self._twice(key)
            if rows:
                yield key, rows, values

    def _twice(self, key: Key) -> tuple[int, int]:
        listed, found = self._listed(key), [0, 0]
        parts = 1 + self.rows // _AT_ONCE
        for part in range(parts):
            ((count, values),) = self.connection.execute(
                f"SELECT coalesce(sum(n), 0), count(*) FROM (SELECT count(*) AS n FROM rows WHERE {self._counts(key)}"
                f" AND hash({listed}) % {parts} = {part} GROUP BY {listed} HAVING count(*) > 1)"
            ).fetchall()
            found = [found[0] + int(count), found[1] + int(values)]
        return found[0], found[1]

    def _listed(self, key: Key) -> str:
        return ", ".join(self.names[name] for name in key.columns)

    def _counts(self, key: Key) -> str:
        """Which rows a key compares: a NULL is equal to none, unless the key says so."""
        if key.nulls_equal:
            return "true"
        return " AND ".join(f"{self.names[name]} IS NOT NULL" for name in key.columns)

    def _each_chunk(self, filled: tuple[str, ...], take: Callable[[], object] | None) -> None:
        """`take`: works on the view `arriving`, which has the columns of the keys. NULLs of `filled` are counted."""
        names = self.names if take is not None else {}
        for entry in self.promise.entries:
            places = {name: entry.columns.index(name) for name in dict.fromkeys((*names, *filled))}
            if not places:
                continue
            wanted = {
                place: pa.int64() if name in self.promise.numbers else pa.binary()
                for name, place in places.items()
            }
            listed = ", ".join(f'"{places[name]}" AS {column}' for name, column in names.items())
            for chunk in entry.chunks:
                batches = open_columns(self.backup, entry, chunk, wanted)
                counted = self._counted(batches, {name: str(places[name]) for name in filled})
                if take is None:
                    deque(counted, maxlen=0)
                    continue
                self.connection.register("raw", pa.RecordBatchReader.from_batches(schema_of(wanted), counted))
                try:
                    self.connection.execute(
                        f"CREATE OR REPLACE TEMP VIEW arriving AS SELECT {listed} FROM raw"
                    )
                    take()
                finally:
                    self.connection.unregister("raw")

    def _counted(self, batches: Iterable[Any], filled: Mapping[str, str]) -> Iterator[Any]:
        for batch in batches:
            for name, place in filled.items():
                self.nulls[name] += batch.column(place).null_count
            yield batch


def _repeats(hashes: Any) -> bool:
    hashes.sort()
    return bool((hashes[1:] == hashes[:-1]).any())


def _look(backup: Backup, promise: Promise, connection: duckdb.DuckDBPyConnection) -> Iterator[Finding]:
    table = str(promise.table.id)
    try:
        rows = _Rows(backup, promise, connection)
        with interruptible():
            broken = tuple(rows.twice(rows.suspects()))
        for key, count, values in broken:
            what = "primary key" if key == promise.table.primary_key else "unique constraint"
            shown = f"{key.name} ({', '.join(key.columns)})"
            yield Finding.of(
                "key-not-unique", table=table, count=count, values=values, kind=what, columns=shown
            )
        for name, nulls in rows.nulls.items():
            if nulls:
                yield Finding.of("null-not-allowed", table=table, nulls=nulls, name=name)
    except (pa.ArrowInvalid, Damaged) as error:
        yield Finding.of("keys-unreadable/unique", table=table, why=str(error).splitlines()[0])
    except duckdb.Error as error:
        # Out of memory or of disk: a weakness of this machine, and not of the backup.
        yield Finding.of("keys-not-checked", table=table, why=str(error).splitlines()[0])


def _opened(folder: Path) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        folder / "rows.duckdb",
        config={
            "memory_limit": MEMORY,
            "threads": 2,
            "temp_directory": str(folder),
            "preserve_insertion_order": False,
        },
    )
    connection.execute(QUIET)
    return connection
