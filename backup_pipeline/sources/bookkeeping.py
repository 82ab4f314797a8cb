"""Where migration tools write down what they applied: a table and a query a tool, the same in every engine."""

from __future__ import annotations

from dataclasses import dataclass

from backup_pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    table: str
    #: In the order in which it was applied; `{table}` stands for the quoted name.
    query: str


_TOOLS = {
    "alembic": Bookkeeping("alembic_version", "SELECT version_num FROM {table} ORDER BY version_num"),
    "django": Bookkeeping("django_migrations", "SELECT app || '.' || name FROM {table} ORDER BY id"),
    "prisma": Bookkeeping(
        "_prisma_migrations",
        "SELECT migration_name FROM {table} WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL"
        " ORDER BY started_at, migration_name",
    ),
}


def of_tool(tool: str) -> Bookkeeping:
    if tool not in _TOOLS:
        raise ConfigError(
            f"{tool!r} is no migration tool known here", remedy=f"use one of {', '.join(sorted(_TOOLS))}"
        )
    return _TOOLS[tool]
