"""What a migration tool's own table says was applied, in the order in which it was."""

from __future__ import annotations

from backup_pipeline.sources.bookkeeping import of_tool
from backup_pipeline.sources.postgres import connect


def migrations(connection: connect.Connection, tool: str) -> tuple[str, ...] | None:
    book = of_tool(tool)
    with connect.explained(f"reading {book.table}", connection):
        connect.run(
            connection, "BEGIN READ ONLY; SET LOCAL statement_timeout = 0; SET LOCAL row_security = off"
        )
        # Where the login's own search_path finds it, as the tool would; else wherever it is.
        found = connect.rows(
            connection,
            """SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relname = %s AND c.relkind IN ('r', 'p')
                ORDER BY pg_catalog.pg_table_is_visible(c.oid) DESC, n.nspname <> 'public', n.nspname""",
            (book.table,),
        )
        if not found:
            return None
        table = connect.quoted(connection, found[0][0], book.table)
        return tuple(value for (value,) in connect.rows(connection, book.query.format(table=table)))
