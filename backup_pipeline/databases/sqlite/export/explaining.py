"""What SQLite's errors mean for a backup, and what to do about each."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from backup_pipeline.errors import (
    BackupError,
    NotSupported,
    PermissionMissing,
    SourceChanged,
    SourceError,
    SourceUnavailable,
)

SALVAGE = (
    "restore the newest backup; to save what can be saved of the broken file, "
    "`sqlite3 broken.db .recover | sqlite3 new.db`"
)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise explain(error, path) from error


def primary_code(error: sqlite3.Error) -> int:
    """The lowest byte: SQLITE_BUSY_SNAPSHOT is a kind of SQLITE_BUSY."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


#: "Could not decode to UTF-8 column … with text …": the value goes neither into a log nor into a history.
_VALUE = re.compile(r" with text '.*'", re.DOTALL)


def told(error: sqlite3.Error) -> str:
    """What it says without the values of rows; they leave the error, too, for whole chains of causes are written down."""
    text = _VALUE.sub("", str(error))
    error.args = (text,)
    return text


def explain(error: sqlite3.Error, path: Path) -> BackupError:
    code = primary_code(error)
    told(error)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL):
        return SourceUnavailable(
            f"{path} is locked by another process ({error})",
            remedy="run it again when the long transaction is over; an application that holds the lock for ever "
            "(locking_mode=EXCLUSIVE) has to be stopped first",
        )
    if code == sqlite3.SQLITE_CORRUPT:
        return SourceError(f"{path} is damaged: {error}", remedy=SALVAGE)
    if code == sqlite3.SQLITE_NOTADB:
        return NotSupported(
            f"{path} is not a SQLite database, or it is encrypted ({error})",
            remedy="check the path; an encrypted database (SQLCipher, SEE) cannot be backed up",
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_AUTH):
        return PermissionMissing(
            f"{path} cannot be read ({error})",
            remedy="let the user that runs backups read the file and its folder, and the files "
            f"{path.name}-wal and {path.name}-shm where they exist",
        )
    if code == sqlite3.SQLITE_FULL:
        return SourceError(f"the disk is full ({error})", remedy="free space, or set TMPDIR to a larger disk")
    if code == sqlite3.SQLITE_SCHEMA:
        return SourceChanged(f"the tables of {path} changed while they were read", remedy="run it again")
    if code == sqlite3.SQLITE_IOERR:
        return SourceError(f"{path}: {error}", remedy="look at the disk (dmesg, smartctl)")
    return SourceError(
        f"{path}: {error}",
        remedy="open it with the sqlite3 program: what fails there fails here as well",
    )
