"""A SQLite database that lies in a tree: copied as SQLite copies it, so that the copy is of one moment.

What a `cp` of a living database gives is of no moment at all (measured: one in six was wrong while `quick_check` was
content), and what was committed may still lie in the -wal beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from backup_pipeline.databases.sqlite.export.opening import BUSY_SECONDS, reading
from backup_pipeline.databases.sqlite.export.snapshot import copy_database, size_of
from backup_pipeline.databases.sqlite.header import MAGIC, SIZE
from backup_pipeline.files.sources.base import Found
from backup_pipeline.processes.scratch import Scratch

#: What SQLite keeps beside a database. A copy made by SQLite has no need of it.
BESIDE = ("-journal", "-shm", "-wal")
MEDIA = "application/vnd.sqlite3"


@runtime_checkable
class HasPaths(Protocol):
    """A source of which SQLite itself can open a file."""

    def real_path(self, found: Found) -> Path: ...


@dataclass(frozen=True, slots=True)
class Copy:
    path: Path
    page_size: int


def is_database(head: bytes) -> bool:
    return head.startswith(MAGIC)


@contextmanager
def copied(path: Path) -> Iterator[Copy]:
    """A private copy that is gone when the block ends. Raises SourceError where SQLite cannot read it."""
    with reading(path, seconds=BUSY_SECONDS) as opened:
        with Scratch.make(size_of(opened.connection)) as scratch:
            target = scratch.file("copy.db")
            copy_database(opened.connection, target, path)
            with target.open("rb") as file:
                header = file.read(SIZE)
            size = int.from_bytes(header[16:18], "big")
            yield Copy(target, 65536 if size == 1 else max(size, 512))


def beside_of(path: str) -> str | None:
    """The database that a file beside it belongs to, if it is called like one."""
    for suffix in BESIDE:
        if path.endswith(suffix):
            return path.removesuffix(suffix)
    return None
