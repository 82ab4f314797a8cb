"""What a worker process does (`backup_pipeline.processes.workers` starts it and ends it): chunks, on one session of its own.

The session is on the exported snapshot, so every worker sees what the snapshot's own session sees.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from backup_pipeline.databases.base import Sink
from backup_pipeline.databases.postgres.export import connect, snapshot
from backup_pipeline.databases.postgres.export.chunks import Task
from backup_pipeline.databases.postgres.export.reading import Result, perform
from backup_pipeline.errors import BackupError, SourceUnavailable
from backup_pipeline.processes.workers import Handle, Tell

FACTORY = f"{__name__}:open_reader"
PATIENCE = 30.0


@dataclass(frozen=True, slots=True)
class Session:
    """All that a reader needs to know before its first task. Goes through a pipe: it holds the password."""

    parameters: Mapping[str, str]
    exported: str
    #: Of the row text.
    encoding: str
    sink: Sink
    #: Seconds until a worker must have its session.
    patience: float = field(default_factory=lambda: PATIENCE)


@contextmanager
def open_reader(session: Session) -> Iterator[Handle]:
    connection = _begin(session)
    locked: set[str] = set()

    def read(task: Task, tell: Tell) -> Result:
        if task.name not in locked and not _lock(connection, task, session.exported):
            locked.clear()
            return Result(task.number, None, locked_out=True)
        locked.add(task.name)
        return perform(connection, task, session.sink, session.encoding, tell)

    try:
        yield read
    finally:
        connection.close()


def _begin(session: Session) -> connect.Connection:
    """A server begins a transaction at once. A pooler that has no session left lets the client wait, without a word."""
    try:
        connection = connect.connect(session.parameters)
    except SourceUnavailable as error:
        raise _no_session(error.message) from error
    late = threading.Event()

    def end() -> None:
        late.set()
        # Not `cancel`: PgBouncer lets a cancel request wait for a session, too.
        with socket.socket(fileno=os.dup(connection.fileno())) as wire:
            wire.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(session.patience, end)
    timer.start()
    try:
        snapshot.begin(connection, exported=session.exported)
    except BackupError as error:
        if not late.is_set():
            raise
        raise _no_session(f"none within {session.patience:g} s") from error
    finally:
        timer.cancel()
    return connection


def _no_session(why: str) -> SourceUnavailable:
    return SourceUnavailable(
        f"no session for another worker: {why}; a connection pooler (pgbouncer or the like) may give out fewer sessions"
        " than a backup needs, which is `workers` and one more",
        remedy="give the server's own address; or set `workers: 1`, or allow more sessions",
    )


def _lock(connection: connect.Connection, task: Task, exported: str) -> bool:
    """An ALTER TABLE that waits for the snapshot's lock would make us queue behind it, while the snapshot waits for
    us: a deadlock that the server cannot see. So never wait: the snapshot's own session reads that table."""
    with connect.explained(f"locking {task.table}", connection):
        try:
            connect.run(connection, f"LOCK TABLE ONLY {task.name} IN ACCESS SHARE MODE NOWAIT")
        except connect.LockNotAvailable:
            connect.run(connection, "ROLLBACK")
            snapshot.begin(connection, exported=exported)
            return False
    return True
