"""What a migration tool's own table says was applied, in the order in which it was."""

from __future__ import annotations

import sqlite3

from backup_pipeline.errors import ConfigError

#: tool → (table, query)
_TOOLS = {
    "alembic": ("alembic_version", "SELECT version_num FROM main.alembic_version ORDER BY version_num"),
    "django": ("django_migrations", "SELECT app || '.' || name FROM main.django_migrations ORDER BY id"),
    "prisma": (
        "_prisma_migrations",
        "SELECT migration_name FROM main._prisma_migrations WHERE finished_at IS NOT NULL"
        " AND rolled_back_at IS NULL ORDER BY started_at, migration_name",
    ),
}


def migrations(connection: sqlite3.Connection, tool: str) -> tuple[str, ...] | None:
    if tool not in _TOOLS:
        raise ConfigError(
            f"{tool!r} is no migration tool known here", remedy=f"use one of {', '.join(sorted(_TOOLS))}"
        )
    table, query = _TOOLS[tool]
    known = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND lower(name) = ?", (table,)
    )
    if known.fetchone() is None:
        return None
    return tuple(str(value) for (value,) in connection.execute(query))
