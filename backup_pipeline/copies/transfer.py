"""Objects from one store to another: several at a time, in bounded memory, and each looked at on its way.

The SHA-256 of what is read must be the object's name: what is damaged at the source never reaches the target. What lies
at the target appears there whole or not at all, because `put` promises it.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from backup_pipeline.errors import AlreadyExists, Interrupted, NotFound, NotThawed, StoreUnavailable
from backup_pipeline.stores.base import Stat, Store
from backup_pipeline.stores.staging import explained, staging_name
from backup_pipeline.vault import layout
from backup_pipeline.vault.presence import missing

READ_SIZE = 1 << 20
#: Up to here an object travels through memory, above it through a file in the target's staging folder.
IN_MEMORY = 4 << 20
#: A disk gains nothing from more; a store that answers over a network does.
THREADS_LOCAL, THREADS_REMOTE = 2, 8
#: How often the listener is told of bytes that are under way.
HEARTBEAT = 1.0


class Named(Protocol):
    """ObjectRef, OutlineObject: an object by its stored bytes."""

    @property
    def sha256(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def suffix(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Item:
    """An object by its stored bytes; two with the same content are the same."""

    sha256: str
    size: int
    suffix: str

    @property
    def key(self) -> str:
        return layout.object_key(self)

    @property
    def name(self) -> str:
        return f"{self.sha256[:12]}…{self.suffix}"


def items(objects: Iterable[Named]) -> tuple[Item, ...]:
    """Each once, in their order."""
    return tuple(dict.fromkeys(Item(one.sha256, one.size, one.suffix) for one in objects))


@dataclass(frozen=True, slots=True)
class ItemResult:
    item: Item
    #: Why its bytes could not be had; empty when they were right.
    why: str = ""
    #: It lies in an archive and was not read: nothing can be said of its bytes before it is thawed.
    frozen: NotThawed | None = None
    #: Nothing can be said of it: why, if that is worth a word.
    untold: str | None = None


class Untold(Exception):
    """Nothing was learnt of this object, and perhaps why."""


class Unreadable(Exception):
    """This one object cannot be had from its source; the others may."""


@dataclass
class _Work:
    """What the threads share."""

    stop: threading.Event
    guard: threading.Lock
    #: Bytes that were read since the last question.
    fresh: int = 0

    def advance(self, count: int) -> None:
        with self.guard:
            self.fresh += count
        if self.stop.is_set():
            raise Interrupted("the copy was stopped")

    def take(self) -> int:
        with self.guard:
            count, self.fresh = self.fresh, 0
        return count


#: Told of bytes that moved, and of what is under way.
Told = Callable[[int, str], None]
#: What is done with one object; raises Unreadable where its bytes are not to be had.
Deed = Callable[[Item, Callable[[int], None]], None]


def send(
    source: Store,
    target: Store,
    wanted: Iterable[Item],
    *,
    moved: Told,
    replace: bool = False,
) -> Iterator[ItemResult]:
    """In the order in which they arrive. `moved` is told of bytes as they go, in this thread. `replace`: what is there
    under an object's name is not its bytes."""

    def one(item: Item, advance: Callable[[int], None]) -> None:
        with fetched(source, item, target, advance) as found:
            _put(target, item, found, replace)

    yield from _each(one, wanted, threads_for(source, target), moved)


def examine(store: Store, wanted: Iterable[Item], *, moved: Told) -> Iterator[ItemResult]:
    """Read objects to their end: whether their bytes are those of their names."""

    def one(item: Item, advance: Callable[[int], None]) -> None:
        _read(store, item, lambda _: None, advance)

    yield from _each(one, wanted, threads_for(store), moved)


def attested(
    store: Store, wanted: Mapping[Item, Stat], trusted: Store | None, *, moved: Told
) -> Iterator[ItemResult]:
    """What the store itself states of its objects: whether that is the checksum of what bears their names. Where it takes
    the right bytes to tell, they are read from `trusted`."""

    def one(item: Item, advance: Callable[[int], None]) -> None:
        said = store.attest(wanted[item], item.sha256)
        if said is None or (said.needs_bytes and trusted is None):
            raise Untold("")
        if said.needs_bytes and trusted is not None:
            try:
                _read(trusted, item, said.update, advance)
            except Unreadable as error:
                raise Untold(str(error)) from None
        judged = said.judge()
        if judged == "unknown":
            raise Untold("")
        if judged == "other":
            raise Unreadable("the checksum that the store states is not that of its bytes")

    yield from _each(one, wanted, threads_for(store), moved)


def threads_for(*stores: Store) -> int:
    return THREADS_LOCAL if all(store.features.cheap_stat for store in stores) else THREADS_REMOTE


def _each(deed: Deed, wanted: Iterable[Item], threads: int, moved: Told) -> Iterator[ItemResult]:
    work = _Work(threading.Event(), threading.Lock())
    waiting: dict[Future[ItemResult], Item] = {}
    left = iter(wanted)
    with ThreadPoolExecutor(threads, thread_name_prefix="copy") as pool:
        try:
            while True:
                while len(waiting) < 2 * threads and (item := next(left, None)) is not None:
                    waiting[pool.submit(_done, deed, item, work)] = item
                if not waiting:
                    return
                done, _ = wait(waiting, timeout=HEARTBEAT, return_when=FIRST_COMPLETED)
                moved(work.take(), next(iter(waiting.values())).name)
                for future in done:
                    del waiting[future]
                    yield future.result()
        finally:
            # An early end: each transfer under way stops at its next block, and leaves nothing behind.
            work.stop.set()
            for future in waiting:
                future.cancel()


def _done(deed: Deed, item: Item, work: _Work) -> ItemResult:
    try:
        deed(item, work.advance)
    except Unreadable as error:
        return ItemResult(item, str(error))
    except NotThawed as error:
        return ItemResult(item, frozen=error)
    except Untold as error:
        return ItemResult(item, untold=str(error))
    return ItemResult(item)


def _put(target: Store, item: Item, found: bytes | Path, replace: bool) -> None:
    try:
        target.put(item.key, found, overwrite=replace)
    except AlreadyExists:
        if missing(target, [item]):
            # Something else bears its name: these are the right bytes.
            target.put(item.key, found, overwrite=True)


@contextlib.contextmanager
def fetched(
    source: Store, item: Item, target: Store, advance: Callable[[int], None]
) -> Iterator[bytes | Path]:
    """The bytes of an object, known to be right, in memory or in a file beside the target."""
    if item.size <= IN_MEMORY:
        parts: list[bytes] = []
        _read(source, item, parts.append, advance)
        yield b"".join(parts)
        return
    staged = target.staging() / staging_name()
    what = f"cannot stage {item.name} for {target.address}"
    try:
        # Unbuffered: what a full disk refuses is refused by the write, not by the close.
        with explained(what):
            file = staged.open("xb", buffering=0)
        with file:

            def write(block: bytes) -> None:
                view = memoryview(block)
                with explained(what):
                    while view:
                        view = view[file.write(view) or 0 :]

            _read(source, item, write, advance)
        yield staged
    finally:
        staged.unlink(missing_ok=True)


def _read(
    source: Store, item: Item, write: Callable[[bytes], object], advance: Callable[[int], None]
) -> None:
    digest, size = hashlib.sha256(), 0
    for block in blocks(source, item.key):
        digest.update(block)
        size += len(block)
        if size > item.size:
            break
        write(block)
        advance(len(block))
    if size > item.size:
        raise Unreadable(f"it is longer than {item.size:,} bytes")
    if size < item.size:
        raise Unreadable(f"it is {size:,} bytes long and not {item.size:,}")
    if digest.hexdigest() != item.sha256:
        raise Unreadable("its bytes are not those of its name")


def blocks(store: Store, key: str) -> Iterator[bytes]:
    """A file of the store; Unreadable where this one cannot be read, and StoreUnavailable where none can."""
    try:
        with store.get(key) as stream:
            while block := _block(stream):
                yield block
    except NotFound:
        raise Unreadable("it is missing") from None
    except StoreUnavailable as error:
        # One file that cannot be opened is a finding; a store that has gone is not the object's fault.
        store.stat(layout.VAULT)
        raise Unreadable(f"it cannot be read: {error.message}") from None


def _block(stream: BinaryIO) -> bytes:
    try:
        return stream.read(READ_SIZE)
    except OSError as error:
        raise Unreadable(f"it cannot be read: {error.strerror or error}") from None


def digest_of(store: Store, key: str, advance: Callable[[int], None] = lambda _: None) -> tuple[str, int]:
    """SHA-256 and length of what lies under a key. Raises Unreadable."""
    digest, size = hashlib.sha256(), 0
    for block in blocks(store, key):
        digest.update(block)
        size += len(block)
        advance(len(block))
    return digest.hexdigest(), size
