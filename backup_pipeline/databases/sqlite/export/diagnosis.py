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
        yield Finding(
            "warning", "nothing-selected", f"no table of {path} is selected: there is nothing to back up"
        )
    yield from references_left_out(inspected.schema, choice, "warning")
    yield from _way(path, opened)
    yield from _sound(connection)
    yield from _references(connection)


def _way(path: Path, opened: Opened) -> Iterator[Finding]:
    if opened.way == "carried":
        yield Finding(
            "info",
            "read-from-a-copy",
            f"{path} has a journal that only a writer may apply; it is copied and recovered there",
            remedy="nothing; opening it once with the application makes this superfluous",
        )
    mode = opened.connection.execute("PRAGMA main.journal_mode").fetchone()[0]
    if opened.way == "live" and mode != "wal":
        yield Finding(
            "info",
            "writers-wait",
            f"journal_mode is {mode}: writers wait while the file is copied (about 2 seconds a GB)",
            remedy="`PRAGMA journal_mode = WAL` lets them go on",
        )
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size > _LARGE_WAL:
        yield Finding(
            "warning",
            "large-wal",
            f"{wal.name} has grown to {wal.stat().st_size:,} bytes: no checkpoint gets through",
            remedy="look for a connection that never ends its transaction",
        )


def _sound(connection: sqlite3.Connection) -> Iterator[Finding]:
    """Every page and row is looked at; whether the indexes fit is checked by each backup, on its copy."""
    found = _tried(lambda: soundness.of_all(connection))
    if isinstance(found, sqlite3.DatabaseError) and not is_damage(found):
        yield Finding("warning", "not-checked", f"the database could not be checked for damage: {found}")
        return
    sound = soundness.Soundness((str(found),)) if isinstance(found, sqlite3.DatabaseError) else found
    yield from sound.findings()
    if sound.damage:
        yield Finding(
            "error",
            "damaged",
            "the database does not pass quick_check",
            remedy=SALVAGE,
            examples=tuple(sound.damage[:_EXAMPLES]),
        )


def _references(connection: sqlite3.Connection) -> Iterator[Finding]:
    rows = _tried(lambda: connection.execute("PRAGMA main.foreign_key_check").fetchall())
    if isinstance(rows, sqlite3.DatabaseError):
        yield Finding("warning", "not-checked", f"the foreign keys could not be checked: {rows}")
        return
    by_table: dict[tuple[str, str], list[object]] = {}
    for table, rowid, parent, _ in rows:
        by_table.setdefault((str(table), str(parent)), []).append(rowid)
    for (table, parent), found in sorted(by_table.items()):
        yield Finding(
            "warning",
            "dangling-reference",
            f"{len(found):,} rows of main.{table} refer to rows of {parent} that do not exist",
            table=f"main.{table}",
            remedy="SQLite checks references only on connections that set PRAGMA foreign_keys = ON; mend the rows",
            examples=tuple(f"rowid {rowid}" for rowid in found[:_EXAMPLES]),
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
        yield Finding(
            "warning",
            "network-file-system",
            f"{path} lies on {kind}: locks over a network are not to be relied on, and WAL mode does not work there",
            remedy="keep SQLite databases on a local disk",
        )
    if path.is_symlink():
        yield Finding("info", "symbolic-link", f"{path} is a link to {path.resolve()}")
    mode = path.stat().st_mode & 0o777
    if mode & 0o002:
        yield Finding(
            "warning",
            "writable-by-everybody",
            f"{path} can be changed by every user of this machine (mode {mode:o})",
            remedy=f"chmod o-w {path}",
        )
    if path.stat().st_nlink > 1:
        yield Finding(
            "warning",
            "hard-links",
            f"{path} has several names (hard links): opened by two names, its journals are not found",
            remedy="keep one name",
        )
