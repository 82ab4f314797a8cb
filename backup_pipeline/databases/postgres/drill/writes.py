"""Writing to the restored database: does the first INSERT after a restore work, and do the invariants hold?

Every write is rolled back, and the database is dropped afterwards anyway.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import LiteralString

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.databases.postgres.restore.rows import table_name
from backup_pipeline.databases.postgres.restore.target import Connection, Server
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import SequenceState
from backup_pipeline.model.schema import Column, Schema, Table, TableId


@dataclass(frozen=True, slots=True)
class Fed:
    """A column whose default takes a number from a sequence."""

    table: Table
    column: Column
    sequence: TableId


def fed_columns(schema: Schema) -> Iterator[Fed]:
    """Of tables that take rows; a partition's are its root's."""
    tables = {table.id: table for table in schema.tables}
    for sequence in schema.sequences:
        table = tables.get(sequence.owned_by) if sequence.owned_by else None
        if table is None or table.kind not in ("table", "partitioned"):
            continue
        for column in table.columns:
            if column.name == sequence.owned_by_column and (
                column.identity or "nextval" in (column.default or "")
            ):
                yield Fed(table, column, sequence.id)


@dataclass(frozen=True, slots=True)
class Written:
    how: dict[str, int]
    findings: tuple[Finding, ...]


_WATCHERS: LiteralString = """
SELECT DISTINCT pg_catalog.format('ALTER TABLE %I.%I DISABLE TRIGGER USER', n.nspname, c.relname)
  FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_class c ON c.oid = g.tgrelid AND c.relkind IN ('r', 'p')
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE NOT g.tgisinternal
UNION ALL
SELECT pg_catalog.format('ALTER TABLE %I.%I DISABLE RULE %I', n.nspname, c.relname, r.rulename)
  FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_class c ON c.oid = r.ev_class AND c.relkind IN ('r', 'p')
  JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
"""


def quieten(server: Server) -> None:
    """No trigger and no rule of the source answers what the drill writes: it could send a mail, or write to production. Foreign
    keys are kept: they are the server's own triggers. Not session_replication_role: triggers can be made to fire in spite of
    it, and foreign keys would not."""
    with server.by_superuser.open() as connection, explained("switching triggers and rules off"):
        for (text,) in connection.execute(_WATCHERS).fetchall():
            connection.execute(text)


def prove_writes(connection: Connection, schema: Schema, absent: frozenset[TableId]) -> Written:
    how: dict[str, int] = {}
    findings: list[Finding] = []
    for fed in fed_columns(schema):
        if fed.table.id in absent:
            continue
        way, found = _prove(connection, fed)
        how[way] = how.get(way, 0) + 1
        findings += found
    return Written(how, tuple(findings))


def _prove(connection: Connection, fed: Fed) -> tuple[str, tuple[Finding, ...]]:
    """(how it was proven, what is wrong)."""
    state = _state(connection, fed.sequence)
    for way, statement in (
        ("INSERT with defaults", _insert_defaults(fed)),
        ("INSERT of a copied row", _insert_copy(fed)),
    ):
        try:
            with connection.transaction(force_rollback=True):
                cursor = connection.execute(statement)
                if cursor.rowcount == 1:
                    return way, ()
        except (psycopg.IntegrityError, psycopg.DataError, psycopg.ProgrammingError,
                psycopg.InternalError, psycopg.NotSupportedError):  # fmt: skip
            pass  # another column, a trigger or a rule forbids it; the next way asks the sequence itself
        # A number that was taken is not given back, and the second one working says nothing about the first.
        connection.execute(
            "SELECT pg_catalog.setval(%s::text::pg_catalog.regclass, %s, %s)",
            (table_name(fed.sequence).as_string(connection), *state),
        )
    return "next number compared", _next_is_free(connection, fed)


def _state(connection: Connection, sequence: TableId) -> tuple[int, bool]:
    with explained(f"reading the sequence {sequence}"):
        row = connection.execute(
            sql.SQL("SELECT last_value, is_called FROM {}").format(table_name(sequence))
        ).fetchone()
    assert row is not None
    return int(row[0]), bool(row[1])


def _insert_defaults(fed: Fed) -> sql.Composed:
    return sql.SQL("INSERT INTO {} DEFAULT VALUES").format(table_name(fed.table.id))


def _insert_copy(fed: Fed) -> sql.Composed:
    """One row again, with a new number: every other sequence-fed, generated or identity column is left to itself."""
    own = [
        column.name
        for column in fed.table.columns
        if column.name != fed.column.name
        and column.generated is None
        and column.identity is None
        and "nextval" not in (column.default or "")
    ]
    table = table_name(fed.table.id)
    if not own:
        return _insert_defaults(fed)
    columns = sql.SQL(", ").join(map(sql.Identifier, own))
    return sql.SQL("INSERT INTO {} ({}) SELECT {} FROM {} LIMIT 1").format(table, columns, columns, table)


def _next_is_free(connection: Connection, fed: Fed) -> tuple[Finding, ...]:
    name = f"{fed.table.id}.{fed.column.name}"
    sequence = table_name(fed.sequence).as_string(connection)
    try:
        row = connection.execute(
            sql.SQL(
                "SELECT n, EXISTS (SELECT FROM {} WHERE {} = n) FROM (SELECT pg_catalog.nextval({}) AS n OFFSET 0) x"
            ).format(table_name(fed.table.id), sql.Identifier(fed.column.name), sequence)
        ).fetchone()
    except psycopg.Error as error:
        return (Finding.of("sequence-fails", table=fed.table.id, name=name, why=told(error)[0]),)
    assert row is not None
    if not row[1]:
        return ()
    return (Finding.of("sequence-behind", table=fed.table.id, name=name, row=row[0]),)


def compare_sequences(connection: Connection, states: tuple[SequenceState, ...]) -> tuple[Finding, ...]:
    """Before anything is written: a number that was taken is not given back by a rollback."""
    findings = []
    for state in states:
        row = _state(connection, TableId(state.schema, state.name))
        if row != (state.last_value, state.is_called):
            findings.append(
                Finding.of(
                    "sequence-differs",
                    schema=state.schema,
                    state=state.name,
                    at=row,
                    expected=(state.last_value, state.is_called),
                )
            )
    return tuple(findings)


def check_invariants(connection: Connection, invariants: Mapping[str, str]) -> tuple[Finding, ...]:
    """Each must return no row. As the application would ask: with the database's own settings."""
    findings: list[Finding] = []
    connection.execute("SET default_transaction_read_only = on")
    for name, text in invariants.items():
        try:
            with connection.transaction():
                cursor = connection.execute(text.encode())
                rows = cursor.fetchmany(3) if cursor.description else None
                count = cursor.rowcount
        except psycopg.Error as error:
            findings.append(Finding.of("invariant-fails/drill", name=name, why=told(error)[0]))
            continue
        if rows is None:
            findings.append(Finding.of("invariant-fails", name=name))
        elif rows:
            findings.append(
                Finding.of(
                    "invariant-broken", name=name, count=count, examples=(str(row)[:300] for row in rows)
                )
            )
    connection.execute("SET default_transaction_read_only = off")
    return tuple(findings)
