"""The session of a merge: one connection in one transaction, which every step of the merge uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import replace
from typing import Any, cast

import psycopg
import sqlalchemy as sa
from psycopg import sql
from psycopg.pq import TransactionStatus

from backup_pipeline.databases.merge.asked import Triggers
from backup_pipeline.databases.merge.session import Counted, Counts, Filled, SessionOptions, Staged
from backup_pipeline.databases.own_names import OWN_COMMENT, OWN_SCHEMA
from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.merging import (
    ending,
    foreign_keys,
    locking,
    numbers,
    readiness,
    staging,
)
from backup_pipeline.databases.postgres.merging.failing import explained, translate
from backup_pipeline.databases.postgres.merging.held import Held, look
from backup_pipeline.databases.postgres.restore.own_names import OwnPath
from backup_pipeline.databases.postgres.restore.target import Connection, Server
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.postgres_session import row_text
from backup_pipeline.model.progress import Listener
from backup_pipeline.model.schema import Schema, TableId
from backup_pipeline.model.search_path import of_extensions
from backup_pipeline.processes import interruption
from backup_pipeline.vault.backup import Backup

_NONE: Counts = (0, 0, 0)

#: A table and its partitions are counted together: rows are written through the root.
_COUNTED = """
SELECT coalesce(pg_catalog.pg_partition_root(relid), relid)::oid::bigint,
       pg_catalog.sum(n_tup_ins)::bigint, pg_catalog.sum(n_tup_upd)::bigint, pg_catalog.sum(n_tup_del)::bigint
  FROM pg_catalog.pg_stat_xact_user_tables GROUP BY 1
"""
_OWN_COMMENT = """
SELECT pg_catalog.obj_description(oid, 'pg_namespace') FROM pg_catalog.pg_namespace WHERE nspname = %s
"""
_OWN_PATH = """
SELECT pg_catalog.set_config('search_path', reset_val, true) FROM pg_catalog.pg_settings WHERE name = 'search_path'
"""


class PostgresSession:
    staging = staging.STAGING

    def __init__(self, connection: sa.Connection, held: Held) -> None:
        self.connection = connection
        self.address = held.server.address
        self._held = held
        self.schema: Schema = held.inspection.schema
        self.state: Mapping[str, str] = held.state
        self._off: tuple[readiness.Switch, ...] = ()
        self._before = self._counts()

    def row_name(self, table: TableId) -> str:
        return "ctid"

    def stage(self, backup: Backup, staged: Staged, listener: Listener) -> Filled:
        return staging.stage(self._held, backup, staged, listener)

    def fill(self, staged: Staged, blocks: Iterable[bytes]) -> int:
        return staging.fill(self._held, staged, blocks)

    def fresh(self, table: TableId, target: sa.FromClause) -> sa.ColumnElement[bool]:
        # A row holds the lower half of its transaction's number.
        now: sa.ColumnElement[object] = sa.literal_column("pg_catalog.pg_current_xact_id()::pg_catalog.xid")
        return sa.literal_column("xmin") == now

    def own_table(self, name: str) -> tuple[str, str]:
        return OWN_SCHEMA, name

    def has_own_place(self) -> bool:
        return self._own_comment() == [(OWN_COMMENT,)]

    def _own_comment(self) -> list[tuple[Any, ...]]:
        return self._held.rows("looking for what merges remember", _OWN_COMMENT, OWN_SCHEMA)

    def make_own_place(self) -> str:
        if found := self._own_comment():
            ours = found == [(OWN_COMMENT,)]
            return "" if ours else f"the schema {OWN_SCHEMA} of the target is the application's"
        try:
            with self._held.raw.transaction():
                schema = sql.Identifier(OWN_SCHEMA)
                self._held.raw.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
                comment = sql.SQL("COMMENT ON SCHEMA {} IS {}").format(schema, sql.Literal(OWN_COMMENT))
                self._held.raw.execute(comment)
        except psycopg.errors.InsufficientPrivilege as error:
            return told(error)[0]
        return ""

    def analyze(self, name: str) -> None:
        staging.analyze(self._held, name)

    def lock(self, tables: Sequence[TableId], *, waiting: float) -> None:
        locking.lock(self._held, tables, waiting)
        self.schema = self._held.inspection.schema

    def locks(self, rows: Mapping[TableId, int]) -> tuple[str, ...]:
        dropped = foreign_keys.droppable(self._held, rows)
        blocked = {one for key in dropped for one in (key.table, key.parent)}
        return tuple(
            f"{table} (readers wait)" if table in blocked else str(table)
            for table in sorted({*rows, *blocked})
        )

    def hindrances(self, tables: Sequence[TableId]) -> tuple[Finding, ...]:
        return tuple(readiness.hindrances(self._held, tables))

    def ready_to_write(self, tables: Sequence[TableId], triggers: Triggers) -> tuple[Finding, ...]:
        # Triggers find their tables as they do for the application.
        self._held.rows("asking for the search path", _OWN_PATH)
        self._off, told = readiness.ready(self._held, tables, triggers)
        return told

    def written(self) -> None:
        self.checked()
        readiness.switch_on(self._held, self._off)
        self._off = ()

    def checked(self) -> None:
        readiness.check_now(self._held)

    def fast(self, rows: Mapping[TableId, int]) -> AbstractContextManager[None]:
        return foreign_keys.fast(self._held, rows)

    def next_keys(self, table: TableId, column: str, *, above: int) -> sa.ColumnElement[int] | None:
        return numbers.next_keys(self._held, table, column, above)

    def raise_sequences(self, tables: Sequence[TableId]) -> tuple[Finding, ...]:
        return tuple(numbers.raise_sequences(self._held, tables))

    def counted(self) -> Counted:
        names = {oid: table for table, oid in self._held.inspection.oids.items()}
        tables = {
            names[oid]: cast(
                Counts, tuple(a - b for a, b in zip(now, self._before.get(oid, _NONE), strict=True))
            )
            for oid, now in self._counts().items()
            if oid in names
        }
        return Counted(sum(map(sum, tables.values())), tables)

    def _counts(self) -> dict[int, Counts]:
        return {oid: (i, u, d) for oid, i, u, d in self._held.rows("counting written rows", _COUNTED)}

    def write_together(self, statements: Sequence[sa.Executable]) -> None:
        if len(statements) == 1:
            self.connection.execute(statements[0])
            return
        # Foreign keys are checked at the end of the whole statement.
        parts = [cast(sa.Insert, one).cte(f"written_{place}") for place, one in enumerate(statements)]
        if parts:
            self.connection.execute(sa.select(sa.literal(1)).add_cte(*parts))

    def out(self, query: sa.Select[tuple[object, ...]]) -> Iterator[bytes]:
        return staging.out(self._held, self.connection, query)

    def commit(self) -> None:
        if self._held.options.read_only:
            raise RestoreError("this session only counts, and commits nothing")
        self.written()
        ending.commit(self._held, self.connection)

    def rollback(self) -> None:
        if self._held.raw.closed and not self.connection.invalidated:
            # The connection was lost: the server rolls back by itself.
            self.connection.invalidate()
        self.connection.rollback()


@contextmanager
def open_session(url: str, options: SessionOptions) -> Iterator[PostgresSession]:
    server = replace(Server.of(url), application="backup_pipeline merge")
    inspection, state = look(server)
    with closing(server.open()) as raw:
        interruption.watch(raw, _cancel)
        raw.autocommit = False
        if options.read_only:
            # Every count is about one moment.
            raw.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        engine = sa.create_engine(
            "postgresql+psycopg://", creator=lambda: raw, poolclass=sa.NullPool, use_native_hstore=False
        )
        translate(engine)
        with engine.connect() as connection:
            connection.begin()
            with explained("beginning the merge"):
                _prepare(raw, inspection.schema)
            session = PostgresSession(connection, Held(server, raw, options, inspection, state))
            try:
                yield session
            finally:
                session.rollback()


def _prepare(raw: Connection, schema: Schema) -> None:
    """For this transaction only: nothing of it stays in a session that a pooler hands on."""
    settings = row_text(raw.info.server_version // 10000)
    # Two values of citext are compared as text where the operators of citext are not found.
    path = OwnPath((), of_extensions(schema)).at("pg_catalog")
    ours = {"client_min_messages": "warning", "jit": "off", "search_path": path}
    for name, value in (settings | ours).items():
        raw.execute("SELECT pg_catalog.set_config(%s, %s, true)", (name, value))


def _cancel(session: object) -> None:
    connection = cast(Connection, session)
    with suppress(psycopg.Error):
        if not connection.closed and connection.info.transaction_status == TransactionStatus.ACTIVE:
            connection.cancel()
