"""The tables before they are filled: which are there, where the terms forgive one that could not be made, and which checks
would run something for each row."""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

from backup_pipeline.databases.postgres.restore.definitions import raw
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.rows import Piece
from backup_pipeline.databases.postgres.restore.target import Connection
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId

# Built-in functions and those of extensions are the target's own, and some of them read files or send to other servers. COPY
# would call them for each row: a check may, the expression of an index or a generated column must be immutable.
_VOLATILE: LiteralString = """
SELECT pg_catalog.format('ALTER %s %s DROP CONSTRAINT %I', kind, target, conname),
       pg_catalog.format('ALTER %s %s ADD CONSTRAINT %I %s', kind, target, conname, definition)
  FROM (SELECT c.conname, pg_catalog.pg_get_constraintdef(c.oid) AS definition,
               CASE WHEN c.contypid = 0 THEN 'TABLE' ELSE 'DOMAIN' END AS kind,
               CASE WHEN c.contypid = 0 THEN c.conrelid::pg_catalog.regclass::text
                    ELSE c.contypid::pg_catalog.regtype::text END AS target
          FROM pg_catalog.pg_constraint c
         WHERE c.contype = 'c' AND c.oid >= 16384 AND (c.conislocal OR c.contypid <> 0)
           AND EXISTS (SELECT FROM pg_catalog.regexp_matches(c.conbin::text, ':(?:op)?funcid (\\d+)', 'g') m
                         JOIN pg_catalog.pg_proc p ON p.oid = m[1]::oid WHERE p.provolatile = 'v')) found
"""


def drop_volatile_checks(connection: Connection) -> tuple[Left, ...]:
    left = []
    for drop, text in connection.execute(_VOLATILE).fetchall():
        connection.execute(raw(drop))
        left.append(Left("it calls a function that may do anything (--no-code)", text))
    return tuple(left)


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
        Finding.of("rows-not-restored", table=table, rows=rows) for table, rows in lost.items()
    )
