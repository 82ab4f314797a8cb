"""Files that are read before their turn: a few by threads of this process, many by worker processes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from backup_pipeline.files.sources.base import Found
from backup_pipeline.files.store.contents import Spot
from backup_pipeline.files.store.dealing import Batch, Dealer
from backup_pipeline.files.store.order import TreeOrder
from backup_pipeline.files.store.packing import Packing
from backup_pipeline.files.store.previous import Known, Previous
from backup_pipeline.files.store.reading import Reader, Reading
from backup_pipeline.vault.objects import ObjectWriter
from backup_pipeline.vault.packs import LARGEST

#: Hashing and compressing leave the interpreter's lock; more than two wait for it (measured).
THREADS = 2
#: What threads hold of contents whose files are not yet listed.
AHEAD_BYTES = 48 * 1024 * 1024
#: A batch: one file at a time costs more than reading it. A source that is far away has many threads, and wants small ones.
BATCH_BYTES, BATCH_FILES, FAR_BATCH_FILES = 4 * 1024 * 1024, 256, 64
#: So many batches are worth the start of worker processes.
MANY = 12


@runtime_checkable
class HasRoot(Protocol):
    """A source whose files other processes can read as well."""

    root: Path

    def read_into(self, found: Found, buffer: memoryview) -> bool: ...


@dataclass(frozen=True, slots=True)
class Listed:
    """A file that a worker process has read: its line, without the place of its content."""

    digest: bytes
    line: bytes
    #: Its content is new, and in a pack of that worker.
    new: bool


@dataclass(slots=True)
class Turn:
    """Which of the files of which batch."""

    batch: Batch
    index: int


class Ahead:
    def __init__(
        self, order: TreeOrder, writer: ObjectWriter, previous: Previous, packing: Packing, reader: Reader
    ) -> None:
        self._order = order
        self._writer = writer
        self._previous = previous
        self._packing = packing
        self._reader = reader
        source = order.source
        self._root = source.root if isinstance(source, HasRoot) else None
        # A source that is far away waits for answers, not for the interpreter.
        threads = getattr(order.source, "at_once", THREADS)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="file")
        self._batch = Batch()
        #: Batches of which it is not yet known whether there are many.
        self._held: list[Batch] = []
        self._dealer: Dealer | None = None
        self._bytes = 0

    def read(self, found: Found, known: Known | None) -> Turn:
        if found.size > LARGEST:
            # It is written while it is read: by a thread of its own.
            batch = Batch([(found, known)])
            self._submit(batch)
            return Turn(batch, 0)
        batch = self._batch
        turn = Turn(batch, len(batch.files))
        batch.files.append((found, known))
        batch.size += found.size
        most = FAR_BATCH_FILES if self._root is None else BATCH_FILES
        if batch.size >= BATCH_BYTES or len(batch.files) >= most:
            self._hand_over()
        return turn

    @property
    def is_full(self) -> bool:
        return self._bytes > AHEAD_BYTES

    def _hand_over(self) -> None:
        batch, self._batch = self._batch, Batch()
        if not batch.files:
            return
        if self._dealer is not None:
            self._dealer.deal(batch)
            return
        self._held.append(batch)
        if self._root is None:
            self._release()
        elif len(self._held) >= MANY:
            self._dealer = Dealer(self._order, self._root, self._writer, self._previous, self._packing)
            for one in self._held:
                self._dealer.deal(one)
            self._held.clear()

    def _release(self) -> None:
        for batch in self._held:
            self._bytes += batch.size
            self._submit(batch)
        self._held.clear()

    def _submit(self, batch: Batch) -> None:
        batch.future = self._pool.submit(self._read, batch)

    def _read(self, batch: Batch) -> None:
        batch.outcomes = [self._reader.read(found, known) for found, known in batch.files]

    def is_ready(self, turn: Turn) -> bool:
        return turn.batch.outcomes is not None or turn.batch.lines is not None

    def outcome(self, turn: Turn) -> Reading | Listed:
        """Of a file whose turn it is."""
        batch = turn.batch
        if batch is self._batch:
            self._hand_over()
        if batch in self._held:
            self._release()
        found, known = batch.files[turn.index]
        if batch.future is None:
            assert self._dealer is not None
            line = self._dealer.line(batch, turn.index)
            return Listed(*line, turn.index in batch.new) if line else self._reader.read(found, known)
        if batch.outcomes is None:
            batch.future.result()
        assert batch.outcomes is not None
        if batch.size:
            self._bytes -= found.size
        return batch.outcomes[turn.index]

    def spot(self, digest: bytes) -> Spot | None:
        """Where a content is; None where it is new."""
        return self._dealer.spot(digest) if self._dealer else self._previous.find(digest)

    def hand_over(self) -> None:
        """No more files come."""
        self._hand_over()
        self._release()

    def finish(self) -> None:
        """After the last line: what the workers have packed is on its way into the vault."""
        if self._dealer is not None:
            self._dealer.finish()

    def stop(self) -> None:
        self._reader.stop.set()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """After the packs are closed."""
        if self._dealer is not None:
            self._dealer.close()
