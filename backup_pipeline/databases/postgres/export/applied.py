"""What a migration tool's own table says was applied, in the order in which it was."""

from __future__ import annotations

import csv
import io

from backup_pipeline.databases.bookkeeping import Bookkeeping, of_tool
from backup_pipeline.databases.postgres.export import connect, snapshot
from backup_pipeline.errors import PermissionMissing


def migrations(connection: connect.Connection, tool: str) -> tuple[str, ...] | None:
    book = of_tool(tool)
    with connect.explained(f"reading {book.table}", connection):
        # Without an operator: the login's own search_path may lead to a user's.
        (visible,) = connect.row(connection, "SELECT pg_catalog.current_schemas(false)::text[]")
        snapshot.begin(connection)
        # Where the login's own search_path finds it, as the tool would; else wherever it is.
        found = connect.rows(
            connection,
            """SELECT n.nspname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
                WHERE c.relname = %s AND c.relkind = 'r'
                ORDER BY pg_catalog.array_position(%s::text[], n.nspname::text), n.nspname <> 'public', n.nspname""",
            (book.table, visible),
        )
        if not found:
            return None
        schema, table = found[0][0], connect.quoted(connection, found[0][0], book.table)
        (user,) = connect.row(connection, "SELECT current_user")
    try:
        with connect.explained(f"reading {book.table}", connection):
            return _read(connection, book, table)
    except PermissionMissing as error:
        role = connect.quoted(connection, user)
        usage = f"GRANT USAGE ON SCHEMA {connect.quoted(connection, schema)} TO {role};"
        raise PermissionMissing(
            error.message,
            remedy=f"as an owner or superuser, run:\n{usage}\nGRANT SELECT ON TABLE {table} TO {role};",
        ) from error


def _read(connection: connect.Connection, book: Bookkeeping, table: str) -> tuple[str, ...]:
    """By a plain COPY, which plans nothing (`catalog.STORAGE` says why)."""
    text = io.StringIO()
    columns = ", ".join(connect.quoted(connection, name) for name in book.columns)
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} ({columns}) TO STDOUT (FORMAT csv)", text)
    rows = csv.reader(io.StringIO(text.getvalue(), newline=""))
    return tuple(book.applied([value or None for value in row] for row in rows))
