"""What a migration tool's own table says was applied, in the order in which it was."""

from __future__ import annotations

from backup_pipeline.errors import ConfigError
from backup_pipeline.sources.postgres import connect

#: tool → (table, query)
_TOOLS = {
    "alembic": ("alembic_version", "SELECT version_num FROM {table} ORDER BY version_num"),
    "django": ("django_migrations", "SELECT app || '.' || name FROM {table} ORDER BY id"),
    "prisma": (
        "_prisma_migrations",
        "SELECT migration_name FROM {table} WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL"
        " ORDER BY started_at, migration_name",
    ),
}


def migrations(connection: connect.Connection, tool: str) -> tuple[str, ...] | None:
    if tool not in _TOOLS:
        raise ConfigError(
            f"{tool!r} is no migration tool known here", remedy=f"use one of {', '.join(sorted(_TOOLS))}"
        )
    name, query = _TOOLS[tool]
    with connect.explained(f"reading {name}", connection):
        connect.run(
            connection, "BEGIN READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL row_security = off"
        )
        # Where the login's own search_path finds it, as the tool would; else wherever it is.
        found = connect.rows(
            connection,
            """SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relname = %s AND c.relkind IN ('r', 'p')
                ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, n.nspname <> 'public', n.nspname""",
            (name,),
        )
        if not found:
            return None
        table = connect.quoted(connection, found[0][0], name)
        return tuple(value for (value,) in connect.rows(connection, query.format(table=table)))
