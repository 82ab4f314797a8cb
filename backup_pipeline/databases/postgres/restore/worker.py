"""A worker process: one session on the target, told what to load and what to make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import sql

from backup_pipeline.databases.postgres.restore import finish, post_data, rows
from backup_pipeline.databases.postgres.restore.own_names import searching
from backup_pipeline.databases.postgres.restore.post_data import Make
from backup_pipeline.databases.postgres.restore.refused import refused
from backup_pipeline.databases.postgres.restore.rows import Load, Piece
from backup_pipeline.databases.postgres.restore.target import Connection, Server, prepare_session
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.schema import TableId
from backup_pipeline.processes.workers import Handle, Tell
from backup_pipeline.vault.door import Door

FACTORY = f"{__name__}:session"
#: How often a worker says how far it is, in bytes.
_TELL = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Setup:
    server: Server
    door: Door
    #: Of the rows and of the definitions: `row_encoding`.
    encoding: str
    #: A write-ahead log is not needed for a table that is emptied in the same transaction (wal_level = minimal).
    may_skip_log: bool
    terms: Terms


@dataclass(frozen=True, slots=True)
class Moved:
    """What a worker tells while it loads."""

    table: TableId
    rows: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Analyze:
    tables: tuple[TableId, ...]


@contextmanager
def session(setup: Setup) -> Iterator[Handle]:
    with setup.server.open() as connection:
        prepare_session(connection)
        speed_up(connection)

        def handle(task: object, tell: Tell) -> object:
            if isinstance(task, Load):
                return load(connection, setup, task, tell)
            if isinstance(task, Make):
                return post_data.make(connection, task, setup.encoding, setup.terms)
            assert isinstance(task, Analyze)
            return finish.analyze(connection, task.tables, setup.terms.path)

        yield handle


def speed_up(connection: Connection) -> None:
    # The last commit of the restore waits for the disk, and with it everything before.
    connection.execute("SET synchronous_commit = off")
    # Never less than the server's administrator allows.
    connection.execute(
        "SELECT pg_catalog.set_config('maintenance_work_mem', greatest(pg_catalog.pg_size_bytes("
        "pg_catalog.current_setting('maintenance_work_mem')), 134217728)::text || 'B', false)"
    )
    if connection.info.server_version >= 140000:
        # A server that builds an index for a process that is gone would not notice before the end.
        connection.execute("SET client_connection_check_interval = '2s'")


def load(connection: Connection, setup: Setup, task: Load, tell: Tell) -> tuple[Piece, ...]:
    """Returns what its table refuses: another session would wait for what has to give way (`refused`)."""
    gathered = 0
    left = []

    def progress(table: TableId, count: int, size: int) -> None:
        nonlocal gathered
        gathered += size
        if count or gathered >= _TELL:
            tell(Moved(table, count, gathered))
            gathered = 0

    with connection.transaction():
        for piece in task.pieces:
            if setup.may_skip_log and piece.alone and piece.object.plain_size >= rows.BATCH // 2:
                name = sql.Identifier(piece.table.schema, piece.table.name)
                connection.execute(sql.SQL("TRUNCATE ONLY {}").format(name))
            try:
                with searching(connection, task.search_path):
                    rows.load(connection, setup.door, piece, setup.encoding, progress)
            except RestoreError as error:
                if not refused(error):
                    raise
                left.append(piece)
    return tuple(left)
