"""What comes last: materialised views, sequences, statistics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import LiteralString

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.restore.definitions import raw, savepoint
from backup_pipeline.databases.postgres.restore.own_names import NOT_FOUND, OwnPath, searching
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.rows import table_name
from backup_pipeline.databases.postgres.restore.rules import Rule, left_out
from backup_pipeline.databases.postgres.restore.runner import attempt, tolerated
from backup_pipeline.databases.postgres.restore.statements import Statement
from backup_pipeline.databases.postgres.restore.target import Connection
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import SequenceState
from backup_pipeline.model.schema import Schema, TableId

_OBJECT_NOT_IN_PREREQUISITE_STATE = "55000"
_FOREIGN = "it reads another server's rows, and a drill reaches none"
#: A view that calls dblink and the like: no right to, no connection, or none without a password.
_REACHES_OUT = ("42501", "080", "2F003")

_OF_FOREIGN_TABLES: LiteralString = """
WITH RECURSIVE above (oid, relation) AS (
    SELECT r.ev_class, d.refobjid FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d
        ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid
       AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid <> r.ev_class
    UNION SELECT inhparent, inhrelid FROM pg_catalog.pg_inherits
), outside (oid) AS (
    SELECT c.oid FROM pg_catalog.pg_class c WHERE c.relkind = 'f'
    UNION SELECT a.oid FROM above a JOIN outside o ON a.relation = o.oid
)
SELECT n.nspname, c.relname FROM outside o JOIN pg_catalog.pg_class c ON c.oid = o.oid AND c.relkind = 'm'
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""


def set_sequences(
    connection: Connection, states: Iterable[SequenceState], terms: Terms
) -> tuple[Finding | Left, ...]:
    """Returns what could not be set, as far as the terms forgive it."""
    left: list[Finding | Left] = []
    for state in states:
        name = table_name(TableId(state.schema, state.name)).as_string(connection)
        text = sql.SQL("SELECT pg_catalog.setval({}, {}, {})").format(name, state.last_value, state.is_called)
        doing = f"setting the sequence {state.schema}.{state.name}"
        left += attempt(connection, Statement(text.as_string(connection), 1), doing, terms)
    return tuple(left)


def populated_views(schema: Schema) -> list[TableId]:
    """The materialised views that had content."""
    return [
        TableId(found.schema or "public", found.name)
        for found in schema.objects
        if found.kind == "materialized view" and not found.definition.rstrip().endswith("WITH NO DATA;")
    ]


def _views_of_foreign_tables(connection: Connection) -> list[TableId]:
    return [TableId(schema, name) for schema, name in connection.execute(_OF_FOREIGN_TABLES)]


def refresh_views(
    connection: Connection, views: Iterable[TableId], terms: Terms
) -> tuple[Finding | Left, ...]:
    """One may read another: a view whose source has no content yet is tried again after the others. Their queries
    are code of the source: without code they stay empty."""
    texts = {
        view: sql.SQL("REFRESH MATERIALIZED VIEW {}").format(table_name(view)).as_string(connection)
        for view in views
    }
    if not terms.code:
        return tuple(Left("--no-code", text, asked=True) for text in texts.values())
    left: list[Finding | Left] = []
    if not terms.trusted:
        for view in [view for view in _views_of_foreign_tables(connection) if view in texts]:
            left.append(Left(_FOREIGN, texts.pop(view), asked=True))
    while texts:
        again: dict[TableId, tuple[str, psycopg.Error]] = {}
        for view, text in texts.items():
            try:
                with savepoint(connection):
                    connection.execute(raw(text))
            except psycopg.Error as error:
                if error.sqlstate == _OBJECT_NOT_IN_PREREQUISITE_STATE:
                    again[view] = text, error
                    continue
                if not terms.trusted and (error.sqlstate or "").startswith(_REACHES_OUT):
                    left.append(Left(_FOREIGN, text, asked=True))
                    continue
                doing = f"refreshing the materialized view {view}"
                left += tolerated(connection, error, Statement(text, 1), doing, terms)
        if len(again) == len(texts) and not terms.trusted:
            return (*left, *(Left(_FOREIGN, text, asked=True) for text, _ in again.values()))
        if len(again) == len(texts):
            # What they read has no content: it was emptied after them, or could not be computed.
            for view, (text, why) in again.items():
                left += left_out(
                    connection, Rule("materialized view", view, str(view), Statement(text, 1)), why
                )
            break
        texts = {view: text for view, (text, _) in again.items()}
    return tuple(left)


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
        return (Finding.of("public-schema-stays", why=told(error)[0]),)


def analyze(connection: Connection, tables: Iterable[TableId], path: OwnPath) -> tuple[Finding, ...]:
    """Statistics. Not having them is slow and not wrong: a table that refuses is named and does not fail the restore."""
    refused: list[str] = []
    for table in tables:
        try:
            try:
                with savepoint(connection):
                    connection.execute(sql.SQL("ANALYZE {}").format(table_name(table)))
            except psycopg.Error as error:
                if error.sqlstate not in NOT_FOUND:
                    raise
                with searching(connection, path.at(table.schema)):
                    connection.execute(sql.SQL("ANALYZE {}").format(table_name(table)))
        except psycopg.Error as error:
            refused.append(f"{table}: {told(error)[0]}")
    if not refused:
        return ()
    return (Finding.of("not-analyzed", count=len(refused), examples=refused[:10]),)
