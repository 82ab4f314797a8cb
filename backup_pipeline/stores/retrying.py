"""Around a store that is reached by a network: another try where one may help, and none where it cannot.

Only StoreUnavailable is worth another try; everything else is raised at once. The pauses grow and are random up to
their full length ("full jitter"). So the many clients of a server do not all come back at once. A server
that says how long to wait is believed.

Three things are more than calling again:

- A `put` whose answer was lost may have happened. Where the next try finds the key, what is there is compared with
  what was to be put: the same bytes are our own.
- A stream that breaks goes on from its offset, and so does a listing; a store that can go on by itself (`features.resumes`)
  is asked for the next piece, of any other the stream is opened again.
- A try that came further than the one before (`progressed`) is no repetition: tries are counted from there anew.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TypeVar, cast

from backup_pipeline.errors import AlreadyExists, NotFound, StoreUnavailable, VaultError
from backup_pipeline.model.findings import Finding
from backup_pipeline.processes import waiting
from backup_pipeline.stores.base import Again, Features, ObjectLocks, Room, Stat, Store, once
from backup_pipeline.stores.checksums import Attestation
from backup_pipeline.stores.thawing import Thawing

T = TypeVar("T")

COMPARE_SIZE = 1 << 20
#: From so many failed tries on it is told that the store is waited for.
TOLD = 3


def uniform(low: float, high: float) -> float:
    return random.uniform(low, high)


@dataclass(frozen=True, slots=True)
class Patience:
    """How often, and how long in between: `max_attempts` and `patience` of a store. Six tries are over after some eight
    seconds, as long as a person waits for an answer. Where there is time (`model.waiting`), trying goes on for `least`
    seconds: a server that is started again takes longer than eight."""

    attempts: int = 6
    least: float = 120.0
    first: float = 0.5
    longest: float = 30.0
    #: A server that asks for more than this is not waited for.
    most: float = 300.0
    sleep: Callable[[float], None] = waiting.sleep
    random: Callable[[float, float], float] = uniform
    clock: Callable[[], float] = time.monotonic

    def tries(self) -> Tries:
        return Tries(self)

    def again(self, work: Callable[[], T]) -> T:
        """As often as this patience allows."""
        tries = self.tries()
        while True:
            try:
                return work()
            except StoreUnavailable as error:
                tries.pause(error)


class Tries:
    """The tries of one piece of work."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failed = 0
        #: When the first of these tries had failed.
        self._since = 0.0

    def pause(self, error: StoreUnavailable) -> None:
        """Wait for the next try, or raise what went wrong when there have been enough."""
        patience, now = self._patience, self._patience.clock()
        self._failed = 1 if error.progressed else self._failed + 1
        self._since = now if self._failed == 1 else self._since
        asked, waited = error.retry_after or 0.0, now - self._since
        # A caller that asks for one try gets one.
        waits = waiting.has_time() and patience.attempts > 1 and waited < patience.least
        if (self._failed >= patience.attempts and not waits) or asked > patience.most:
            raise self._given_up(error, asked) from error
        if self._failed >= TOLD:
            waiting.tell(
                f"{error.message}: waiting for it, {waited:.0f} s until now (`patience: {patience.least:.0f}s`)"
            )
        grown = min(patience.longest, patience.first * 2.0 ** (self._failed - 1))
        patience.sleep(asked + patience.random(0.0, grown))

    def anew(self) -> Tries:
        return Tries(self._patience)

    def _given_up(self, error: StoreUnavailable, asked: float) -> StoreUnavailable:
        if asked > self._patience.most:
            message = f"{error.message}; it asks to be left alone for {asked:.0f} s"
        else:
            waited = self._patience.clock() - self._since
            message = f"{error.message} (tried {self._failed} times in {waited:.0f} s)"
        remedy = (
            error.remedy or "look whether the store can be reached from here, then run it again: it goes on"
        )
        raised = StoreUnavailable(message, remedy=remedy)
        raised.retry_after = error.retry_after
        return raised


@dataclass(frozen=True)
class RetryingStore(Store):
    store: Store
    patience: Patience = Patience()

    @property
    def features(self) -> Features:
        return self.store.features

    @property
    def address(self) -> str:
        return self.store.address

    def staging(self) -> Path:
        return self.store.staging()

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        tries, doubtful = self.patience.tries(), False
        while True:
            try:
                return self.store.put(key, data, overwrite=overwrite)
            except StoreUnavailable as error:
                doubtful = True
                tries.pause(error)
            except AlreadyExists:
                if not (doubtful and self._holds(key, data)):
                    raise
                return None

    def _holds(self, key: str, data: bytes | Path) -> bool:
        """Whether the very bytes that we were to put are there: the answer to an earlier try was lost."""
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        stat = self.stat(key)
        if stat is None or stat.size != size:
            return False
        with self.get(key) as stored:
            if isinstance(data, bytes):
                return stored.read() == data
            with data.open("rb") as file:
                while block := file.read(COMPARE_SIZE):
                    if _exactly(stored, len(block)) != block:
                        return False
        return True

    @contextmanager
    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        stream = _Stream(self.store, self.patience, key, offset, length)
        try:
            stream.open()
            yield cast(BinaryIO, stream)
        finally:
            stream.close()

    def stat(self, key: str) -> Stat | None:
        return self.patience.again(lambda: self.store.stat(key))

    def list(self, prefix: str = "") -> Iterator[Stat]:
        return self._walk("list", lambda: self.store.list(prefix), lambda stat: stat.key)

    def folders(self, prefix: str = "") -> Iterator[str]:
        return self._walk("folders", lambda: self.store.folders(prefix), lambda name: name)

    def delete(self, key: str, *, durable: bool = True) -> None:
        self.patience.again(lambda: self.store.delete(key, durable=durable))

    def advice(self) -> Iterator[Finding]:
        return iter(self.patience.again(lambda: tuple(self.store.advice())))

    def sweep(self) -> int:
        return self.patience.again(self.store.sweep)

    @property
    def folder(self) -> Path | None:
        return self.store.folder

    def creates_once(self) -> bool:
        return self.patience.again(self.store.creates_once)

    def room(self) -> Room | None:
        return self.patience.again(self.store.room)

    def attest(self, stat: Stat, sha256: str) -> Attestation | None:
        return self.patience.again(lambda: self.store.attest(stat, sha256))

    def thawing(self, again: Again = once) -> Thawing | None:
        return self.store.thawing(self.patience.again)

    def object_locks(self, again: Again = once) -> ObjectLocks | None:
        return self.store.object_locks(self.patience.again)

    def _walk(self, verb: str, begin: Callable[[], Iterator[T]], name_of: Callable[[T], str]) -> Iterator[T]:
        tries = self.patience.tries()
        walk = self.patience.again(begin)
        resumable = verb in self.store.features.resumes
        seen: set[str] = set()
        while True:
            try:
                found = next(walk)
            except StopIteration:
                return
            except StoreUnavailable as error:
                error.progressed = error.progressed and resumable
                tries.pause(error)
                if not resumable:
                    walk = self.patience.again(begin)
                continue
            if not resumable:
                if name_of(found) in seen:
                    continue
                seen.add(name_of(found))
            yield found


class _Stream:
    """The bytes of a key, also over a broken network."""

    def __init__(self, store: Store, patience: Patience, key: str, offset: int, length: int | None) -> None:
        self._store = store
        self._key = key
        self._at = offset
        self._end = None if length is None else offset + length
        self._tries = patience.tries()
        self._context: AbstractContextManager[BinaryIO] | None = None
        self._stream: BinaryIO | None = None

    def open(self) -> None:
        while self._stream is None:
            length = None if self._end is None else self._end - self._at
            try:
                context = self._store.get(self._key, offset=self._at, length=length)
                self._stream = context.__enter__()
                self._context = context
            except StoreUnavailable as error:
                self._tries.pause(error)

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(COMPARE_SIZE), b""))
        while True:
            self._reopen()
            assert self._stream is not None
            try:
                data = self._stream.read(size)
            except StoreUnavailable as error:
                self._tries.pause(error)
                if "get" not in self._store.features.resumes:
                    self.close()
                continue
            self._at += len(data)
            if len(data) >= COMPARE_SIZE:
                self._tries = self._tries.anew()
            return data

    def _reopen(self) -> None:
        if self._stream is None:
            try:
                self.open()
            except NotFound:
                raise VaultError(
                    f"{self._key} was there and is gone while it was read",
                    remedy="another process deletes: `verify`",
                ) from None

    def readinto(self, buffer: bytearray | memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        context, self._context, self._stream = self._context, None, None
        if context is not None:
            context.__exit__(None, None, None)

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _exactly(stream: BinaryIO, size: int) -> bytes:
    pieces = []
    while size and (piece := stream.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)
