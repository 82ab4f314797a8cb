"""What comes last: materialised views, sequences, statistics."""

from __future__ import annotations

from collections.abc import Iterable

import psycopg
from psycopg import sql

from backup_pipeline.errors import RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import SequenceState
from backup_pipeline.model.schema import Schema, TableId
from backup_pipeline.restore.postgres.definitions import savepoint
from backup_pipeline.restore.postgres.failure import explained, failure
from backup_pipeline.restore.postgres.rows import table_name
from backup_pipeline.restore.postgres.target import Connection

_OBJECT_NOT_IN_PREREQUISITE_STATE = "55000"


def set_sequences(connection: Connection, states: Iterable[SequenceState]) -> int:
    count = 0
    for state in states:
        with explained(f"setting the sequence {state.schema}.{state.name}"):
            connection.execute(
                "SELECT pg_catalog.setval(pg_catalog.format('%%I.%%I', %s::text, %s::text)::pg_catalog.regclass, %s, %s)",
                (state.schema, state.name, state.last_value, state.is_called),
            )
        count += 1
    return count


def populated_views(schema: Schema) -> list[TableId]:
    """The materialised views that had content."""
    return [
        TableId(found.schema or "public", found.name)
        for found in schema.objects
        if found.kind == "materialized view" and not found.definition.rstrip().endswith("WITH NO DATA;")
    ]


def refresh_views(connection: Connection, views: Iterable[TableId]) -> int:
    """One may read another: whatever says that its source has no content yet is tried again after the others."""
    waiting = list(views)
    count = 0
    while waiting:
        again: list[TableId] = []
        reasons: list[str] = []
        for view in waiting:
            try:
                with savepoint(connection):
                    connection.execute(sql.SQL("REFRESH MATERIALIZED VIEW {}").format(table_name(view)))
                count += 1
            except psycopg.Error as error:
                if error.sqlstate != _OBJECT_NOT_IN_PREREQUISITE_STATE:
                    raise failure(error, f"refreshing the materialized view {view}") from error
                again.append(view)
                reasons.append(str(error))
        if len(again) == len(waiting):
            raise RestoreError(
                f"materialized views cannot be refreshed: {', '.join(map(str, again))}: {reasons[0]}",
                remedy="see what they read; RECOVER.md beside the manifest restores step by step with psql",
            )
        waiting = again
    return count


def drop_public(connection: Connection, schema: Schema) -> tuple[Finding, ...]:
    """A new database has a schema `public` that everybody may look into. One that was made without it gets it back by no
    restore."""
    if schema.settings.get("public_schema") != "absent":
        return ()
    try:
        with savepoint(connection):
            connection.execute("DROP SCHEMA IF EXISTS public")
        return ()
    except psycopg.Error as error:
        return (
            Finding(
                "warning",
                "public-schema-stays",
                f"the database has a schema public, and the one that was backed up had none: {error.diag.message_primary}",
                remedy="DROP SCHEMA public, as its owner, when nothing needs it",
            ),
        )


def analyze(connection: Connection, tables: Iterable[TableId]) -> tuple[Finding, ...]:
    """Statistics. Not having them is slow and not wrong: a table that refuses is named and does not fail the restore."""
    refused: list[str] = []
    for table in tables:
        try:
            with savepoint(connection):
                connection.execute(sql.SQL("ANALYZE {}").format(table_name(table)))
        except psycopg.Error as error:
            refused.append(f"{table}: {error}")
    if not refused:
        return ()
    return (
        Finding(
            "warning",
            "not-analyzed",
            f"{len(refused)} tables have no statistics yet",
            remedy="run ANALYZE as their owner",
            examples=tuple(refused[:10]),
        ),
    )
