"""Which tables are there to be filled, where the terms forgive a table that could not be made."""

from __future__ import annotations

from collections.abc import Iterable

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId
from backup_pipeline.restore.postgres.rows import Piece
from backup_pipeline.restore.postgres.target import Connection


def loadable(connection: Connection, pieces: Iterable[Piece]) -> tuple[list[Piece], tuple[Finding, ...]]:
    """The pieces whose table is there with all of their columns; an error for each table whose rows have no place."""
    there = {
        TableId(schema, name): frozenset(columns)
        for schema, name, columns in connection.execute(
            "SELECT n.nspname, c.relname, ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a"
            "   WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped)"
            " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p')"
        )
    }
    kept: list[Piece] = []
    lost: dict[TableId, int] = {}
    for piece in pieces:
        if frozenset(piece.columns) <= there.get(piece.table, frozenset()) and piece.table in there:
            kept.append(piece)
        else:
            lost[piece.table] = lost.get(piece.table, 0) + piece.rows
    return kept, tuple(
        Finding(
            "error",
            "rows-not-restored",
            f"{table}: its {rows:,} rows are not restored, because the table could not be made",
            table=str(table),
            remedy="the list of what could not be made says why; `query` reads the rows from the backup",
        )
        for table, rows in lost.items()
    )
