"""Files that have several names: which name came first, and which one is in the listing.

Kept in a private database file of SQLite that is deleted with its connection, and not in memory: a tree of snapshots made
of hard links has millions of them.
"""

from __future__ import annotations

import os
import sqlite3
import tempfile
from functools import cached_property

from backup_pipeline.errors import SourceError


class LinkNames:
    @cached_property
    def _names(self) -> sqlite3.Connection:
        """Made for the first file that has several names. "" is a file without a name, of which 2 MiB are in memory."""
        # The listing may be written by another thread than the one that ends the run; they take turns.
        connection = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute(
            "CREATE TABLE names (file TEXT PRIMARY KEY, first BLOB, listed BLOB) WITHOUT ROWID"
        )
        connection.execute("BEGIN")
        return connection

    def first(self, file: str, path: str) -> str:
        """The first name under which this file was seen: `path` itself where there was none."""
        seen = self._ask("SELECT first FROM names WHERE file = ?", file)
        if seen is not None and seen[0] is not None:
            return os.fsdecode(seen[0])
        self._ask("INSERT INTO names (file, first) VALUES (?, ?)", file, os.fsencode(path))
        return path

    def list(self, file: str, path: str) -> None:
        """Its content is in the listing under this name."""
        self._ask("UPDATE names SET listed = ? WHERE file = ?", os.fsencode(path), file)

    def listed(self, file: str) -> str | None:
        seen = self._ask("SELECT listed FROM names WHERE file = ?", file)
        return None if seen is None or seen[0] is None else os.fsdecode(seen[0])

    def _ask(self, sql: str, *values: str | bytes) -> tuple[bytes | None, ...] | None:
        try:
            row: tuple[bytes | None, ...] | None = self._names.execute(sql, values).fetchone()
            return row
        except sqlite3.OperationalError as error:
            raise SourceError(
                f"the names of hard links cannot be kept in {tempfile.gettempdir()}: {error}",
                remedy="make room there, or name a larger folder in TMPDIR",
            ) from error

    def close(self) -> None:
        if "_names" in self.__dict__:
            self._names.close()
