"""Can this file be backed up as it should be, and what around it is a danger?"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from backup_pipeline.databases.sqlite.export import snapshot, soundness
from backup_pipeline.databases.sqlite.export.explaining import SALVAGE, explained
from backup_pipeline.databases.sqlite.export.inspection import inspect
from backup_pipeline.databases.sqlite.export.left_out import references_left_out
from backup_pipeline.databases.sqlite.export.opening import Opened, reading
from backup_pipeline.databases.sqlite.export.soundness import is_damage
from backup_pipeline.errors import BackupError, SourceError
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.selection import Selection
from backup_pipeline.processes.scratch import file_system_of, roomy_place

Found = TypeVar("Found")

_NETWORK = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "fuse.sshfs",
    "afs",
    "glusterfs",
    "fuse.glusterfs",
    "ceph",
)
#: A -wal this large means that no checkpoint gets through: some reader never ends.
_LARGE_WAL = 256 * 1024 * 1024
_EXAMPLES = 5


def diagnose(path: Path, selection: Selection, seconds: float) -> Report:
    begun = time.monotonic()
    findings: list[Finding] = []
    counted: dict[str, int] = {}
    try:
        with reading(path, seconds=seconds) as opened, explained(path):
            findings += _live(path, opened, selection, counted)
    except BackupError as error:
        findings.append(_refusal(error))
    findings += _around(path)
    return Report(f"sqlite:///{path}", tuple(findings), counted, time.monotonic() - begun)


def _refusal(error: BackupError) -> Finding:
    return Finding.of_error(error)


def _live(path: Path, opened: Opened, selection: Selection, counted: dict[str, int]) -> Iterator[Finding]:
    connection = opened.connection
    inspected = inspect(connection)
    choice = snapshot.choice_of(connection, inspected.schema, selection)
    size = snapshot.size_of(connection)
    counted.update(tables=len(inspected.schema.tables), selected=len(choice.selected), bytes=size)
    yield from inspected.findings
    try:
        roomy_place(size * (2 if choice.dropped else 1))
    except SourceError as error:
        yield _refusal(error)
    if not choice.selected:
        yield Finding.of("nothing-selected", path=path)
    yield from references_left_out(inspected.schema, choice, "warning")
    yield from _way(path, opened)
    yield from _sound(connection)
    yield from _references(connection)


def _way(path: Path, opened: Opened) -> Iterator[Finding]:
    if opened.way == "carried":
        yield Finding.of("read-from-a-copy", path=path)
    mode = opened.connection.execute("PRAGMA main.journal_mode").fetchone()[0]
    if opened.way == "live" and mode != "wal":
        yield Finding.of("writers-wait", mode=mode)
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size > _LARGE_WAL:
        yield Finding.of("large-wal", wal=wal.name, size=wal.stat().st_size)


def _sound(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Every page and row is looked at; whether the indexes fit is checked by each backup, on its copy."""
    found = _tried(lambda: soundness.of_all(connection))
    if isinstance(found, sqlite3.DatabaseError) and not is_damage(found):
        yield Finding.of("not-checked", found=found)
        return
    sound = soundness.Soundness((str(found),)) if isinstance(found, sqlite3.DatabaseError) else found
    yield from sound.findings()
    if sound.damage:
        yield Finding.of("damaged/sqlite", remedy=SALVAGE, examples=sound.damage[:_EXAMPLES])


def _references(connection: sqlite3.Connection) -> Iterator[Finding]:
    rows = _tried(lambda: connection.execute("PRAGMA main.foreign_key_check").fetchall())
    if isinstance(rows, sqlite3.DatabaseError):
        yield Finding.of("not-checked/foreign-keys", rows=rows)
        return
    by_table: dict[tuple[str, str], list[object]] = {}
    for table, rowid, parent, _ in rows:
        by_table.setdefault((str(table), str(parent)), []).append(rowid)
    for (table, parent), found in sorted(by_table.items()):
        yield Finding.of(
            "dangling-reference/sqlite",
            table=f"main.{table}",
            count=len(found),
            name=table,
            parent=parent,
            examples=(f"rowid {rowid}" for rowid in found[:_EXAMPLES]),
        )


def _tried(query: Callable[[], Found]) -> Found | sqlite3.DatabaseError:
    try:
        return query()
    except sqlite3.DatabaseError as error:
        return error


def _around(path: Path) -> Iterator[Finding]:
    if not path.exists():
        return
    kind = file_system_of(path)
    if kind in _NETWORK:
        yield Finding.of("network-file-system", path=path, kind=kind)
    if path.is_symlink():
        yield Finding.of("symbolic-link", path=path, target=path.resolve())
    mode = path.stat().st_mode & 0o777
    if mode & 0o002:
        yield Finding.of("writable-by-everybody", path=path, mode=mode)
    if path.stat().st_nlink > 1:
        yield Finding.of("hard-links", path=path)
