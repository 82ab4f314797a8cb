"""Files that are read again although nothing says that they changed. Times can be wrong: a write through a memory map
changes the content at once, and the time of the file when the kernel gets to it.

Databases that write through a map are known by their names and read again by every backup. Of the other files each night
reads a few, other ones every night.
"""

from __future__ import annotations

import os
import zlib
from datetime import date

from backup_pipeline.files.sources.base import Found
from backup_pipeline.model.manifest import FileTree

#: LMDB, BoltDB, Berkeley DB.
MAPPED = (".mdb", ".lmdb", ".bolt", ".bdb")
#: What a night spends on it at most.
MOST_FILES, MOST_BYTES = 32, 64 * 1024 * 1024
#: Every file of a small tree has its turn within so many nights.
NIGHTS = 30


def is_mapped(path: str) -> bool:
    return path.lower().endswith(MAPPED)


class Witnesses:
    def __init__(self, night: date | None, before: FileTree | None) -> None:
        turns = max(NIGHTS, (before.files if before else 0) // MOST_FILES)
        self._turns, self._turn = turns, None if night is None else night.toordinal() % turns
        self._left = MOST_BYTES

    def wants(self, found: Found) -> bool:
        """Whether it is read again tonight."""
        if self._turn is None:
            return False
        if is_mapped(found.path):
            return True
        if zlib.crc32(os.fsencode(found.path)) % self._turns != self._turn or found.size > self._left:
            return False
        self._left -= found.size
        return True
