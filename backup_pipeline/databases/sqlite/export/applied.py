"""What a migration tool's own table says was applied, in the order in which it was."""

from __future__ import annotations

import sqlite3

from backup_pipeline.databases.bookkeeping import of_tool
from backup_pipeline.databases.sqlite.export.rows import quoted


def migrations(connection: sqlite3.Connection, tool: str) -> tuple[str, ...] | None:
    book = of_tool(tool)
    known = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = ?", (book.table,)
    )
    if known.fetchone() is None:
        return None
    columns = ", ".join(quoted(name) for name in book.columns)
    return tuple(book.applied(connection.execute(f"SELECT {columns} FROM main.{quoted(book.table)}")))
