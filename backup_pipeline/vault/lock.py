"""One backup of a system at a time: a lock that a killed process cannot hold for ever.

The lock is a key that only one writer can create. Its holder renews it; one that was not renewed for
`STALE` seconds, or whose process on this very machine is gone, is taken over.

Some stores cannot tell which of two creates came first (`creates_once()`). There a lock is only held when it still
stands a moment after it was written. Of two writers, the one whose lock was written over has lost. What is
left is a writer whose request took longer than that moment; `confirm`, before the commit, is for that one.

Where we may write and not delete (as a backup host should), a lock is given back by writing a free one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from backup_pipeline.errors import (
    AlreadyExists,
    BackupError,
    Damaged,
    NotFound,
    StoreUnavailable,
    VaultBusy,
    VaultError,
)
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.processes import waiting
from backup_pipeline.processes.birth import born
from backup_pipeline.stores import pids
from backup_pipeline.stores.base import SMALL, Store, read_all
from backup_pipeline.vault import layout

RENEW = 30.0
STALE = 300.0
#: A lock that was renewed so long from now was renewed by no clock: it would be held for years.
AHEAD = 86400.0
#: How long a lock has to stand before it is ours, where creates are not conditional.
SETTLE = 1.0
#: Between two looks of a process that waits for a lock.
ASK_AGAIN = 1.0
#: The tokens of the locks that this very process holds.
_living: set[str] = set()
_NEVER = "1970-01-01T00:00:00.000000Z"


@dataclass(frozen=True, slots=True)
class Holder:
    token: str
    host: str
    pid: int
    #: Start time of the process, so that a re-used pid is not taken for the holder.
    born: str
    what: str
    since: str
    renewed: str
    #: The holder is about to write a manifest: a prune waits (see `vault.committing`).
    committing: bool = False
    #: Where `pid` means something (`stores.pids`); a lock of an older version does not say it.
    realm: str = ""


@dataclass
class _Ours:
    """What we last wrote into our lock. The thread that renews it and the one that works both write it."""

    holder: Holder
    guard: threading.Lock = field(default_factory=threading.Lock)
    #: By this machine's clock; the one that does not run while the machine sleeps would not know of the night.
    written: float = field(default_factory=time.time)

    def write(self, store: Store, key: str, holder: Holder) -> None:
        began = time.time()
        store.put(key, canonical.encode(holder), overwrite=True)
        self.holder, self.written = holder, began


@dataclass(frozen=True, slots=True)
class Held:
    """A lock that we hold, as far as we know."""

    store: Store
    key: str
    token: str
    _ours: _Ours | None = None

    def announce_commit(self, committing: bool) -> None:
        """Say in the lock itself that a manifest is about to be written, or that it was."""
        if self._ours is None:
            return
        with self._ours.guard:
            self.confirm()
            moment = timestamp(datetime.now(UTC))
            holder = replace(self._ours.holder, committing=committing, renewed=moment)
            self._ours.write(self.store, self.key, holder)

    def confirm(self) -> None:
        """Before the point of no return: two processes that took over one stale lock both thought they won."""
        if _read(self.store, self.key) != self.token:
            raise VaultBusy(
                "another process took over the lock of this system while we were working",
                remedy="nothing was committed; run it again when the other one is done",
            )

    def steady(self) -> bool:
        """Whether every process still takes our lock for a living one. A machine that slept, or a process that
        was stopped, may have been passed by without a new lock: another process that looked at it then went on
        without us."""
        return self._ours is None or time.time() - self._ours.written < STALE / 2


@contextmanager
def hold(
    store: Store, system: str, what: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Held]:
    """Hold the lock of a system, or raise VaultBusy with who holds it."""
    with hold_key(store, layout.lock_key(system), what, now=now) as held:
        yield held


@contextmanager
def hold_when_free(store: Store, key: str, what: str, *, patience: float) -> Iterator[Held]:
    """`hold_key` for a caller that has time: waits while another holds it, so many seconds at most."""
    deadline = time.monotonic() + patience
    while True:
        taken = False
        try:
            with hold_key(store, key, what) as held:
                taken = True
                yield held
                return
        except VaultBusy:
            if taken or time.monotonic() > deadline:
                raise
        time.sleep(ASK_AGAIN)


@contextmanager
def hold_key(
    store: Store, key: str, what: str, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[Held]:
    moment = timestamp(now())
    holder = Holder(
        secrets.token_hex(8),
        socket.gethostname(),
        os.getpid(),
        born(os.getpid()),
        what,
        moment,
        moment,
        realm=pids.realm(),
    )
    _living.add(holder.token)
    try:
        _take(store, key, holder, now)
    except BaseException:
        _living.discard(holder.token)
        raise
    done = threading.Event()
    ours = _Ours(holder)
    renewer = threading.Thread(target=_renew, args=(store, key, ours, done, now), daemon=True)
    renewer.start()
    try:
        yield Held(store, key, holder.token, ours)
    finally:
        done.set()
        renewer.join()
        _living.discard(holder.token)
        # A lock that cannot be given back is stale in a few minutes. The work is done: it must not look failed.
        with contextlib.suppress(VaultError), waiting.briefly():
            if _read(store, key) == holder.token:
                _release(store, key)


def _release(store: Store, key: str) -> None:
    try:
        store.delete(key)
    except StoreUnavailable:
        raise
    except VaultError:
        free = Holder("", "", 0, "", "nothing", _NEVER, _NEVER)
        store.put(key, canonical.encode(free), overwrite=True)


def _take(store: Store, key: str, holder: Holder, now: Callable[[], datetime]) -> None:
    for _ in range(5):
        try:
            store.put(key, canonical.encode(holder))
            if store.creates_once() or _stands(store, key, holder):
                return
        except AlreadyExists:
            other = current(store, key)
            if other is None:
                continue  # released between our two looks
            if other.token == holder.token:
                return  # the answer to our put was lost on the way
            if not is_stale(other, now()):
                raise VaultBusy(
                    f"{other.what} is running since {other.since} on {other.host} (process {other.pid})",
                    remedy="wait for it; a lock whose process died is taken over "
                    f"at once on the same machine, and after {STALE / 60:.0f} minutes elsewhere (another container, too)",
                ) from None
            if _read(store, key) == other.token and _replace(store, key, holder):
                return
    raise VaultBusy("the lock keeps changing hands", remedy="run it again in a minute")


def _replace(store: Store, key: str, holder: Holder) -> bool:
    """Take the place of a lock that is stale; whether it is ours with that, or has to be created now."""
    try:
        store.delete(key)
        return False
    except StoreUnavailable:
        raise
    except VaultError:  # we may write here, and not delete
        store.put(key, canonical.encode(holder), overwrite=True)
        return _stands(store, key, holder)


def _stands(store: Store, key: str, holder: Holder) -> bool:
    time.sleep(SETTLE)
    return _read(store, key) == holder.token


def current(store: Store, key: str) -> Holder | None:
    try:
        holder = canonical.decode(Holder, read_all(store, key, SMALL), what=key)
        parse_timestamp(holder.renewed)
        parse_timestamp(holder.since)
        return holder
    except NotFound:
        return None
    except Damaged:
        return Holder("", "", 0, "", "something unreadable", _NEVER, _NEVER)


def is_stale(holder: Holder, now: datetime) -> bool:
    age = (now - parse_timestamp(holder.renewed)).total_seconds()
    if age > STALE or age < -AHEAD:
        return True
    if not _is_here(holder):
        return False
    if holder.pid == os.getpid() and holder.token not in _living:
        return True  # ours, and given back: a write that was long on its way came after the release
    return born(holder.pid) != holder.born


def _is_here(holder: Holder) -> bool:
    """Whether its process number means a process that we can see. A host name alone says nothing: containers share
    them. Then the lock is stale when it is not renewed."""
    realm = pids.realm()
    return holder.realm == realm if realm else not holder.realm and holder.host == socket.gethostname()


def _read(store: Store, key: str) -> str | None:
    holder = current(store, key)
    return None if holder is None else holder.token


def _renew(store: Store, key: str, ours: _Ours, done: threading.Event, now: Callable[[], datetime]) -> None:
    while not done.wait(RENEW):
        try:
            with ours.guard, waiting.briefly():  # it comes again, and Ctrl-C waits for this thread
                if _read(store, key) == ours.holder.token:
                    ours.write(store, key, replace(ours.holder, renewed=timestamp(now())))
        except BackupError:
            continue  # a store that does not answer now may answer before the lock is stale
