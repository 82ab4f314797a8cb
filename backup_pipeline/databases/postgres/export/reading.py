"""One chunk, from a session on the snapshot into the sink. The same code in a worker process and without one."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import psycopg2.extensions

from backup_pipeline.databases.base import ROWS_SUFFIX, Sink
from backup_pipeline.databases.postgres.export import connect, unchanged
from backup_pipeline.databases.postgres.export.chunks import Task
from backup_pipeline.databases.postgres.export.copyout import CopyOut
from backup_pipeline.errors import SourceError
from backup_pipeline.model.manifest import Chunk


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a task."""

    number: int
    #: None: there are no rows in it, and so there is no object.
    chunk: Chunk | None
    rows: int = 0
    bytes: int = 0
    #: A witness was read and is not what the earlier backup holds.
    mismatch: bool = False
    #: A worker would have to queue for the lock that only the snapshot's own session has for sure.
    locked_out: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Told in the middle of a long chunk."""

    number: int
    rows: int
    bytes: int


#: How much is read between two words about it.
_NEWS_BYTES = 16 * 1024 * 1024


def perform(
    connection: connect.Connection,
    task: Task,
    sink: Sink,
    encoding: str,
    tell: Callable[[Progress], None] = lambda _: None,
) -> Result:
    same = task.baseline is not None and unchanged.same_rows(connection, task)
    if same and not task.witness:
        assert task.baseline is not None
        return _reused(task)
    result = _read(connection, task, sink, encoding, tell)
    if same and task.baseline is not None:
        before, now = task.baseline.object, result.chunk.object if result.chunk else None
        if now is None or (now.plain_sha256, now.plain_size) != (before.plain_sha256, before.plain_size):
            return Result(task.number, result.chunk, result.rows, result.bytes, mismatch=True)
    return result


def _reused(task: Task) -> Result:
    assert task.baseline is not None
    chunk = Chunk(
        object=task.baseline.object,
        rows=task.baseline.rows,
        first_page=task.first_page,
        end_page=task.end_page,
        reused_from=unchanged.last_read(task),
    )
    return Result(task.number, chunk, chunk.rows, chunk.object.plain_size)


def _read(
    connection: connect.Connection, task: Task, sink: Sink, encoding: str, tell: Callable[[Progress], None]
) -> Result:
    statement = _encoded(task.copy_statement, encoding, task.label)
    copy = CopyOut(connection, statement, task.label)
    converted = encoding != "UTF8"
    if converted:
        # The rows as they lie in the database; names and messages stay UTF-8.
        _switch(connection, encoding, task.label)
    chunk = None
    with contextlib.closing(copy.blocks(small=task.small)) as blocks:
        first = next(blocks, None)
        if first is not None:
            stored = sink.write(
                itertools.chain((first,), _telling(blocks, copy, task, tell)), ROWS_SUFFIX, task.known
            )
            chunk = Chunk(stored, copy.rows, task.first_page, task.end_page)
    if converted:
        _switch(connection, "UTF8", task.label)
    return Result(task.number, chunk, copy.rows, copy.bytes)


def _telling(
    blocks: Iterable[bytes], copy: CopyOut, task: Task, tell: Callable[[Progress], None]
) -> Iterator[bytes]:
    told = 0
    for block in blocks:
        yield block
        if copy.bytes - told >= _NEWS_BYTES:
            told = copy.bytes
            tell(Progress(task.number, copy.rows, copy.bytes))


def _switch(connection: connect.Connection, encoding: str, what: str) -> None:
    # By SQL and not by the driver's method: the driver goes on reading names and messages as UTF-8.
    with connect.explained(f"reading {what}", connection):
        connect.run(connection, f"SET LOCAL client_encoding = {connect.literal(connection, encoding)}")


def _encoded(statement: str, encoding: str, what: str) -> bytes:
    """The statement in the encoding that the session speaks while it runs. (SQL_ASCII: bytes are bytes.)"""
    if encoding in ("UTF8", "SQL_ASCII"):
        return statement.encode()
    codec = psycopg2.extensions.encodings.get(encoding)
    try:
        return statement.encode(codec or "ascii")
    except UnicodeEncodeError as error:
        raise SourceError(
            f"{what}: its name or a column's cannot be written in {encoding}", remedy="rename it"
        ) from error
