"""Inside a SQLite file that a backup holds: put together again, then asked about itself.

The file is rebuilt in a private temporary folder, so this needs as much free space as the database is long.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from backup_pipeline.databases.sqlite.export import looking, soundness
from backup_pipeline.databases.sqlite.export.left_out import dangling
from backup_pipeline.databases.sqlite.export.rows import quoted, reading_file
from backup_pipeline.errors import BackupError, Damaged
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.fingerprint import Fingerprint
from backup_pipeline.model.manifest import FileImage, Manifest
from backup_pipeline.model.schema import Table
from backup_pipeline.vault.door import Door

#: What is reported of a file that is full of damage.
_MOST = 20
_EXAMPLES = 5
_REMEDY = "use another backup, or another copy of the vault"


@dataclass(frozen=True, slots=True)
class Counted:
    """A table as the file holds it."""

    name: str
    rows: int = 0
    fingerprint: str = ""
    #: Why it could not be read.
    unreadable: str = ""


@dataclass(frozen=True, slots=True)
class Orphans:
    """Rows of one table that refer to rows of another that are not there."""

    table: str
    parent: str
    rows: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Examined:
    """What a database file turned out to be; judged against each manifest that holds it."""

    broken: str = ""
    integrity: tuple[str, ...] = ()
    tables: tuple[Counted, ...] = ()
    orphans: tuple[Orphans, ...] = ()
    references: int = 0
    #: (table, why its foreign keys were not checked)
    unchecked: tuple[tuple[str, str], ...] = ()

    @property
    def counted(self) -> dict[str, int]:
        return {
            "rows": sum(table.rows for table in self.tables),
            "references": self.references,
            "references_not_checked": len(self.unchecked),
        }


def examine(door: Door, image: FileImage, tables: Sequence[Table], workers: int) -> Examined:
    with ExitStack() as stack:
        try:
            path = stack.enter_context(door.image(image))
        except Damaged as error:
            return Examined(broken=error.message)
        try:
            quick = soundness.quick_check(
                path, [table.id.name for table in tables if table.kind != "virtual"]
            )
            counted, damage = _count(path, tables, workers)
        except sqlite3.DatabaseError as error:
            return Examined(broken=f"SQLite cannot open it: {error}")
        integrity = (*quick.damage, *damage)[:_MOST]
        with reading_file(path) as connection:
            return _references(connection, [table.id.name for table in tables], integrity, counted)


def _count(path: Path, tables: Sequence[Table], workers: int) -> tuple[tuple[Counted, ...], tuple[str, ...]]:
    """As the backup did it: with worker processes, where the file is large enough for them. Also what is wrong
    with the indexes; rows that break a rule of the schema are not damage, and the manifest speaks of them."""
    damage: list[str] = []
    found = dict.fromkeys((table.id.name for table in tables), Fingerprint())
    unreadable: dict[str, str] = {}

    def told(task: looking.Task, seen: looking.TableContent) -> None:
        if seen.fingerprint is not None:
            found[task.table] = found[task.table].combine(seen.fingerprint)
        if seen.unreadable is not None:
            unreadable[task.table] = seen.unreadable
        damage.extend(seen.soundness.damage)

    try:
        looking.look_at(path, looking.plan(path, tables), workers, told)
    except BackupError as error:
        return tuple(Counted(name, unreadable=error.message) for name in found), tuple(damage)
    counted = tuple(
        Counted(name, value.rows, value.hexdigest(), unreadable.get(name, ""))
        for name, value in found.items()
    )
    return counted, tuple(damage)


def _references(
    connection: sqlite3.Connection,
    tables: Sequence[str],
    integrity: tuple[str, ...],
    counted: tuple[Counted, ...],
) -> Examined:
    connection.text_factory = lambda data: data.decode("utf-8", "replace")
    orphans: list[Orphans] = []
    unchecked: list[tuple[str, str]] = []
    references = 0
    for table in tables:
        try:
            keys = _keys(connection, table)
            references += len(keys)
            if keys:
                orphans += _orphans(connection, table, keys)
        except sqlite3.Error as error:
            # A key whose parent has no such column or no unique index: SQLite itself could never enforce it.
            unchecked.append((table, str(error)))
    return Examined("", integrity, counted, tuple(orphans), references, tuple(unchecked))


def _keys(connection: sqlite3.Connection, table: str) -> dict[int, tuple[str, tuple[str, ...]]]:
    """Number of the key → the parent, and the columns."""
    rows = connection.execute(
        'SELECT id, "table", "from" FROM pragma_foreign_key_list(?) ORDER BY id, seq', (table,)
    ).fetchall()
    return {
        number: (rows_of_key[0][1], tuple(row[2] for row in rows_of_key))
        for number, rows_of_key in ((n, list(g)) for n, g in groupby(rows, key=lambda row: row[0]))
    }


def _orphans(
    connection: sqlite3.Connection, table: str, keys: dict[int, tuple[str, tuple[str, ...]]]
) -> Iterator[Orphans]:
    counts = dict.fromkeys(keys, 0)
    places: dict[int, list[int]] = {number: [] for number in keys}
    cursor = connection.execute("SELECT rowid, fkid FROM pragma_foreign_key_check(?)", (table,))
    for rowid, number in cursor:
        counts[number] += 1
        if rowid is not None and len(places[number]) < _EXAMPLES:
            places[number].append(rowid)
    for number, count in counts.items():
        if count:
            parent, columns = keys[number]
            yield Orphans(table, parent, count, _examples(connection, table, columns, places[number]))


def _examples(
    connection: sqlite3.Connection, table: str, columns: tuple[str, ...], places: list[int]
) -> tuple[str, ...]:
    listed = ", ".join(quoted(column) for column in columns)
    found = []
    for place in places:
        values = connection.execute(
            f"SELECT {listed} FROM main.{quoted(table)} WHERE rowid = ?", (place,)
        ).fetchone()
        found.append(f"({', '.join(columns)}) = ({', '.join(map(str, values))}), rowid {place}")
    return tuple(found)


def judge(manifest: Manifest, examined: Examined) -> Iterator[Finding]:
    assert manifest.image is not None
    name = manifest.image.name
    if examined.broken:
        yield Finding.of("file-broken", name=name, broken=examined.broken)
        return
    if examined.integrity:
        yield Finding.of(
            "integrity-check", name=name, integrity=examined.integrity[0], examples=examined.integrity
        )
    held = {table.name: table for table in examined.tables}
    for entry in manifest.tables:
        table = held.get(entry.name)
        if table is not None and table.unreadable and not entry.fingerprint:
            # It could not be read in the live database either; the backup said so.
            yield Finding.of("table-not-counted", table=entry.id, name=name, unreadable=table.unreadable)
        elif table is None or table.unreadable:
            why = table.unreadable if table else "it is not there"
            yield Finding.of("table-unreadable", table=entry.id, name=name, why=why)
        elif table.rows != entry.rows:
            yield Finding.of("row-count", table=entry.id, rows=table.rows, said=entry.rows)
        elif entry.fingerprint and entry.fingerprint != table.fingerprint:
            yield Finding.of("fingerprint", table=entry.id)
    for orphans in examined.orphans:
        yield dangling(
            manifest.left_out, orphans.table, orphans.parent, orphans.rows, orphans.examples, "info"
        )
    for table_name, why in examined.unchecked:
        yield Finding.of(
            "reference-not-checked/table", table=f"main.{table_name}", table_name=table_name, why=why
        )
