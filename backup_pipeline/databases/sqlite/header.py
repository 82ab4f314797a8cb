"""The first 100 bytes of a live database file, read without ever closing it.

POSIX drops every lock that a process holds on a file as soon as it closes *any* descriptor of that file. An application
may call us in its own process, with its own connection to the same database. It would lose its locks to a look at the
header, and could then corrupt its database (sqlite.org/howtocorrupt.html, 2.2). So a
descriptor that was opened here stays open until the file is deleted.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

MAGIC = b"SQLite format 3\0"
SIZE = 100

_kept: dict[tuple[int, int], int] = {}
_guard = threading.Lock()


def read_header(path: Path) -> bytes:
    """Up to 100 bytes. Raises OSError as `open` does."""
    with _guard:
        for key, descriptor in list(_kept.items()):
            if os.fstat(descriptor).st_nlink == 0:
                os.close(_kept.pop(key))
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key not in _kept:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            opened = os.fstat(descriptor)
            _kept[opened.st_dev, opened.st_ino] = descriptor
            key = (opened.st_dev, opened.st_ino)
        return os.pread(_kept[key], SIZE, 0)


def kept(path_status: os.stat_result) -> int | None:
    """The descriptor that stays open for this file, if there is one: read from it with `pread`, and do not close it."""
    with _guard:
        return _kept.get((path_status.st_dev, path_status.st_ino))


def knows(inode: int) -> bool:
    """Whether a file of this number may be kept open; `kept` says it for sure."""
    return any(key[1] == inode for key in _kept)


def keep(descriptor: int) -> bool:
    """The caller opened a file that may be a database, and gives it to us instead of closing it. False: it is none,
    and may be closed."""
    if os.pread(descriptor, len(MAGIC), 0) != MAGIC:
        return False
    status = os.fstat(descriptor)
    with _guard:
        return _kept.setdefault((status.st_dev, status.st_ino), descriptor) == descriptor


def is_wal(header: bytes) -> bool:
    """2 in bytes 18 and 19 means that readers have to look into the -wal."""
    return header[18:20] == b"\2\2"
