"""Reading a live SQLite file without leaving a trace beside it.

A database in WAL mode is read through two more files, `-wal` and `-shm`. A reader creates them where they are missing,
and leaves them behind. They belong to the owner of the backup then, and the application cannot write any more. So:

1. `live`     opened with mode=ro. The usual way. For a WAL database only where its -shm is there already, which means
              that the application has it open (or was killed).
2. `quiet`    a WAL database without a user, with an empty -wal: everything is in the one file, which is
              read as immutable.
3. `carried`  what SQLite could only read by writing: a hot journal to roll back, a -wal in a folder that we
              may not write. The files are copied, and recovered there.

Nothing locks the file in 2 and 3. That it was not touched meanwhile is checked at the end; otherwise SourceChanged.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backup_pipeline.databases.sqlite.export.explaining import explained, primary_code
from backup_pipeline.databases.sqlite.header import MAGIC, is_wal, read_header
from backup_pipeline.errors import NotSupported, PermissionMissing, SourceChanged, SourceError
from backup_pipeline.processes.scratch import Scratch

#: How long to wait for a lock.
BUSY_SECONDS = 15.0
OLDEST = (3, 35, 0)

Way = Literal["live", "quiet", "carried"]


@dataclass(frozen=True, slots=True)
class Opened:
    connection: sqlite3.Connection
    way: Way


@dataclass(frozen=True, slots=True)
class _Look:
    """What tells that no program touched a file between two looks."""

    size: int
    modified: int
    changed: int
    inode: int
    #: The first 100 bytes hold SQLite's own change counter.
    header: bytes


def check_file(path: Path) -> None:
    """Refuse what cannot be a database, before SQLite would create or misread it."""
    try:
        status = path.stat()
        if not path.is_file():
            raise SourceError(f"{path} is not a file", remedy="name the database file itself")
        start = read_header(path)
    except FileNotFoundError:
        raise SourceError(
            f"there is no file {path}",
            remedy="check the path (a relative one starts at the folder of the configuration, on a command line at the "
            "current folder); nothing was created",
        ) from None
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EPERM):
            raise PermissionMissing(
                f"{path} cannot be read: {error.strerror}",
                remedy="let the user that runs backups read the file and enter its folders",
            ) from error
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error
    if status.st_size == 0:
        raise SourceError(
            f"{path} is empty (0 bytes): not a database yet, or not any more",
            remedy="if the application is new, let it create its tables first; if not, restore the newest backup",
        )
    if not start.startswith(MAGIC):
        raise NotSupported(
            f"{path} is not a SQLite database, or it is encrypted",
            remedy="check the path; an encrypted database (SQLCipher, SEE) cannot be backed up",
        )


def check_library() -> None:
    if sqlite3.sqlite_version_info < OLDEST:
        wanted = ".".join(map(str, OLDEST[:2]))
        raise NotSupported(
            f"this Python brings SQLite {sqlite3.sqlite_version}; {wanted} or later is needed",
            remedy="use a Python that is built with a newer SQLite",
        )


@contextmanager
def reading(path: Path, *, seconds: float = BUSY_SECONDS) -> Iterator[Opened]:
    """One consistent moment of a live database: a connection inside a read transaction."""
    check_library()
    check_file(path)
    path = path.resolve()  # SQLite looks for -wal and -journal beside the file, not beside a link to it
    if is_wal(read_header(path)) and not _beside(path, "-shm").exists():
        if _size(_beside(path, "-wal")) == 0:
            with (
                _untouched(path),
                _connected(f"{path.as_uri()}?mode=ro&immutable=1", path, seconds) as connection,
            ):
                yield Opened(connection, "quiet")
            return
        with _carried(path, seconds) as connection:
            yield Opened(connection, "carried")
        return
    try:
        opening = _connected(f"{path.as_uri()}?mode=ro", path, seconds)
        connection = opening.__enter__()
    except PermissionMissing as error:
        cause = error.__cause__
        if not isinstance(cause, sqlite3.Error) or primary_code(cause) not in (
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
        ):
            raise
        with _carried(path, seconds) as connection:
            yield Opened(connection, "carried")
        return
    try:
        yield Opened(connection, "live")
    finally:
        opening.__exit__(None, None, None)


@contextmanager
def _connected(uri: str, path: Path, seconds: float) -> Iterator[sqlite3.Connection]:
    with explained(path):
        connection = sqlite3.connect(
            uri, uri=True, timeout=seconds, isolation_level=None, check_same_thread=False
        )
    with closing(connection):
        with explained(path):
            # The lock is taken by the first read, not by BEGIN.
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        yield connection


@contextmanager
def _carried(path: Path, seconds: float) -> Iterator[sqlite3.Connection]:
    parts = [part for part in (path, _beside(path, "-wal"), _beside(path, "-journal")) if _size(part) > 0]
    with Scratch.make(sum(_size(part) for part in parts)) as scratch:
        with _untouched(path):
            for part in parts:
                try:
                    shutil.copyfile(part, scratch.folder / part.name)
                except OSError as error:
                    raise PermissionMissing(
                        f"{part} cannot be read: {error.strerror}",
                        remedy=f"let the user that runs backups read {part.name}: without it, {path.name} is not whole",
                    ) from error
        copy = scratch.folder / path.name
        with explained(path), closing(sqlite3.connect(copy, isolation_level=None)) as recovering:
            # Opening it for writing rolls back the journal, or reads the -wal, as the application would.
            recovering.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with _connected(f"{copy.as_uri()}?mode=ro", path, seconds) as connection:
            yield connection


@contextmanager
def _untouched(path: Path) -> Iterator[None]:
    parts = (path, _beside(path, "-wal"), _beside(path, "-journal"))
    before = [_look(part) for part in parts]
    yield
    if [_look(part) for part in parts] != before:
        raise SourceChanged(f"{path} was written to while it was read without a lock", remedy="run it again")


def _look(path: Path) -> _Look | None:
    try:
        status = path.stat()
        header = read_header(path) if status.st_size else b""
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PermissionMissing(
            f"{path} cannot be read: {error.strerror}", remedy="let the user that runs backups read it"
        ) from error
    return _Look(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, header)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
