"""What a worker process does (`backup_pipeline.workers` starts it and ends it): chunks, on one session of its own.

The session is on the exported snapshot, so every worker sees what the snapshot's own session sees.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from backup_pipeline.sources.base import Sink
from backup_pipeline.sources.postgres import connect, snapshot
from backup_pipeline.sources.postgres.plan import Task
from backup_pipeline.sources.postgres.reading import Result, perform
from backup_pipeline.workers import Handle, Tell

FACTORY = f"{__name__}:open_reader"


@dataclass(frozen=True, slots=True)
class Session:
    """All that a reader needs to know before its first task. Goes through a pipe: it holds the password."""

    parameters: Mapping[str, str]
    exported: str
    #: Of the row text.
    encoding: str
    sink: Sink


@contextmanager
def open_reader(session: Session) -> Iterator[Handle]:
    connection = connect.connect(session.parameters)
    snapshot.begin(connection, exported=session.exported)
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
