"""The tables of `databases.own_names` leave the private copy before anything looks at it.

Their pages are overwritten with zeros and stay where they are, as free pages. So every other page keeps its place, the next
backup finds its blocks again, and the work is as large as these tables are.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from backup_pipeline.databases.own_names import OWN_PREFIX
from backup_pipeline.databases.sqlite import header
from backup_pipeline.databases.sqlite.export.rows import quoted, reading_file


def drop(copy: Path) -> None:
    with reading_file(copy) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        names = [name for (name,) in rows.fetchall() if name.startswith(OWN_PREFIX)]
    if not names:
        return
    with copy.open("rb") as file:
        wal = header.is_wal(file.read(header.SIZE))
    with closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        for pragma in (
            "foreign_keys = OFF",
            "journal_mode = OFF",
            "synchronous = OFF",
            "secure_delete = ON",
        ):
            connection.execute(f"PRAGMA {pragma}")
        for name in names:
            connection.execute(f"DROP TABLE main.{quoted(name)}")
        if wal:
            connection.execute("PRAGMA journal_mode = WAL")
