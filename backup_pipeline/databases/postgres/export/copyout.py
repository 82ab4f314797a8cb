"""One COPY TO STDOUT as a stream of blocks, counted.

The driver *pushes* rows into a file object; a sink *pulls* blocks. In between: a `BufferedWriter`, whose C code
gathers rows into blocks (no Python runs per row), and a thread that hands the blocks over. The driver releases the
interpreter lock while it waits for the server, so reading and compressing overlap.

Memory: ours is a handful of blocks. libpq, however, holds one whole row (its buffer grows by doubling, and it copies
the row out), and the driver copies it once more: a 500 MB value costs about three times that while it passes.
"""

from __future__ import annotations

import contextlib
import io
import queue
import threading
from collections.abc import Generator
from typing import Any

import psycopg2

from backup_pipeline.databases.postgres.export import connect
from backup_pipeline.errors import Incomplete, SourceError

_BLOCK = 512 * 1024
#: No more than this is asked of a sink at once, however long a row is.
_SLICE = 1024 * 1024
_QUEUED = 4


class CopyOut:
    """Iterate over `blocks()` once; `rows` is right when it has ended without an error."""

    def __init__(self, connection: connect.Connection, statement: bytes, what: str) -> None:
        self.rows = 0
        self.bytes = 0
        self._connection = connection
        self._statement = statement
        self._what = what

    def blocks(self, *, small: bool = False) -> Generator[bytes, None, None]:
        """`small`: the whole answer is known to be short, so it is gathered first and needs no thread."""
        cursor = self._connection.cursor()
        source = self._gathered(cursor) if small else self._streamed(cursor)
        with contextlib.closing(source):
            for block in source:
                # A line feed inside a value is written as \n, so line feeds are rows.
                self.rows += block.count(b"\n")
                self.bytes += len(block)
                yield block
        if cursor.rowcount != self.rows:
            raise Incomplete(
                f"{self._what}: the server says it sent {cursor.rowcount} rows, {self.rows} arrived",
                remedy="run the backup again; if it happens twice, look at what stands between here and the server",
            )

    def _gathered(self, cursor: Any) -> Generator[bytes, None, None]:
        file = io.BytesIO()
        with connect.explained(f"reading {self._what}", self._connection):
            cursor.copy_expert(self._statement, file)
        if file.tell():
            yield file.getvalue()

    def _streamed(self, cursor: Any) -> Generator[bytes, None, None]:
        pipe = _Pipe()
        failure: list[BaseException] = []

        def read() -> None:
            try:
                writer = io.BufferedWriter(pipe, _BLOCK)
                cursor.copy_expert(self._statement, writer)
                writer.flush()
            except BaseException as error:  # noqa: BLE001 - it is raised again in the consumer's thread
                failure.append(error)
            finally:
                pipe.end()

        thread = threading.Thread(target=read, name=f"copy {self._what}", daemon=True)
        thread.start()
        ended = False
        try:
            while (block := pipe.get()) is not None:
                yield block
            ended = True
        finally:
            if not ended:
                self._abandon(pipe)
            thread.join()
        if failure:
            with connect.explained(f"reading {self._what}", self._connection):
                raise failure[0]

    def _abandon(self, pipe: _Pipe) -> None:
        """The sink failed or the run was stopped: no reader will take the rest of the rows."""
        with contextlib.suppress(psycopg2.Error):
            self._connection.cancel()
        pipe.abandon()


class _Pipe(io.RawIOBase):
    def __init__(self) -> None:
        self._queue: queue.Queue[bytes | None] = queue.Queue(_QUEUED)
        self._abandoned = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        with memoryview(data) as view:
            for start in range(0, len(view), _SLICE):
                if self._abandoned:
                    raise SourceError("no reader takes this any more")
                self._queue.put(bytes(view[start : start + _SLICE]))
            return len(view)

    def end(self) -> None:
        if not self._abandoned:
            self._queue.put(None)

    def get(self) -> bytes | None:
        return self._queue.get()

    def abandon(self) -> None:
        self._abandoned = True
        # Room for a writer that waits; after this one it sees the flag.
        while True:
            try:
                self._queue.get_nowait()
            except queue.Empty:
                return
