"""Batches of small files, dealt to worker processes: which contents are new is decided here, in one place.

The first batch that names a digest packs its content. Every other file with that content waits for the place, at the
latest until its own line is written.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline.files.sources.base import Found
from backup_pipeline.files.store.contents import Spot
from backup_pipeline.files.store.order import TreeOrder
from backup_pipeline.files.store.packing import Packing
from backup_pipeline.files.store.previous import Known, Previous
from backup_pipeline.files.store.reading import Reading
from backup_pipeline.files.worker import FACTORY, Lines, Pack, Packed, Read, Setup, fields_of
from backup_pipeline.processes.workers import Pool
from backup_pipeline.stores.staging import maker
from backup_pipeline.vault.objects import ObjectWriter

#: The walk needs the third part of a core.
WORKERS = 2
#: Tasks that wait in a worker, so that it never waits for its parent.
QUEUED = 3


@dataclass(slots=True)
class Batch:
    """Some files in the order of the listing."""

    files: list[tuple[Found, Known | None]] = field(default_factory=list)
    size: int = 0
    #: A thread reads them.
    future: Future[None] | None = None
    #: Of each file, when all are read. Asking the future takes a lock, which costs more than the answer.
    outcomes: list[Reading] | None = None
    #: A worker process reads them: which one.
    worker: int | None = None
    lines: Lines | None = None
    #: Those that have a new content, which that worker packs.
    new: frozenset[int] = frozenset()


class Dealer:
    def __init__(
        self, order: TreeOrder, root: Path, writer: ObjectWriter, previous: Previous, packing: Packing
    ) -> None:
        self._previous = previous
        self._packing = packing
        self._staging = writer.store.staging()
        setup = Setup(
            root,
            self._staging,
            writer.store.address,
            writer.level,
            writer.keys,
            order.media,
            order.digests,
            packing.target,
        )
        self._pool = Pool(FACTORY, setup, WORKERS)
        self._waiting: deque[Batch] = deque()
        self._batches: dict[int, Batch] = {}
        self._given = 0
        #: Digests whose contents are being packed.
        self._claimed: set[bytes] = set()
        #: Worker and its count → the number of the pack.
        self._numbers: dict[tuple[int, int], int] = {}

    def close(self) -> None:
        """What the workers had not finished is gone, also when they were ended in the middle of it."""
        pids = self._pool.pids
        self._pool.close()
        for pid in pids:
            for path in self._staging.glob(f"{maker()}~{pid}~*"):
                path.unlink(missing_ok=True)

    def deal(self, batch: Batch) -> None:
        self._waiting.append(batch)
        self.listen(wait=False)

    def listen(self, *, wait: bool) -> None:
        """Hear what the workers have done, and give them more."""
        self._pool.hear(self._heard, wait=wait)
        self._packing.settle()
        for worker in range(WORKERS):
            while self._waiting and (load := self._pool.load(worker)) is not None and load < QUEUED:
                self._give(worker, self._waiting.popleft())

    def _give(self, worker: int, batch: Batch) -> None:
        self._given += 1
        self._batches[self._given] = batch
        batch.worker = worker
        self._pool.give(worker, Read(self._given, [fields_of(found) for found, _ in batch.files]))

    def finish(self) -> None:
        """After the last batch: every pack is on its way into the vault."""
        for worker in range(WORKERS):
            self._pool.give(worker, Pack(worker, -1, (), last=True))
        while any(self._pool.load(worker) != 0 for worker in range(WORKERS)):
            self.listen(wait=True)

    def line(self, batch: Batch, index: int) -> tuple[bytes, bytes] | None:
        while batch.lines is None:
            self.listen(wait=True)
        return batch.lines[index]

    def spot(self, digest: bytes) -> Spot | None:
        """Where a content is that was there before, or that some batch has claimed."""
        while digest in self._claimed:
            self.listen(wait=True)
        return self._previous.find(digest)

    def _heard(self, task: Read | Pack, result: Lines | Packed) -> None:
        batch = self._batches.get(task.batch)
        if isinstance(task, Read):
            assert batch is not None
            assert isinstance(result, list)
            self._claim(task.batch, batch, result)
        else:
            assert isinstance(result, Packed)
            self._packed(task, batch, result)

    def _claim(self, number: int, batch: Batch, lines: Lines) -> None:
        """The first that names a digest packs its content."""
        new = []
        for index, line in enumerate(lines):
            if line is not None and line[0] not in self._claimed and self._previous.find(line[0]) is None:
                self._claimed.add(line[0])
                new.append(index)
        batch.new = frozenset(new)
        batch.lines = lines
        assert batch.worker is not None
        self._pool.give(batch.worker, Pack(batch.worker, number, new))

    def _packed(self, task: Pack, batch: Batch | None, result: Packed) -> None:
        for index, (count, offset) in zip(task.new, result.spots, strict=True):
            assert batch is not None
            assert batch.lines is not None
            number = self._numbers.get((task.worker, count))
            if number is None:
                number = self._numbers[task.worker, count] = self._packing.begin()
            line = batch.lines[index]
            assert line is not None
            self._packing.expect(number)
            self._previous.contents.move(line[0], Spot(number, offset, batch.files[index][0].size))
            self._claimed.remove(line[0])
        self._batches.pop(task.batch, None)
        for count, path, reference in result.ended:
            self._packing.take(self._numbers.pop((task.worker, count)), Path(path), reference)
