"""Deleting what nothing names: marked first, deleted after the grace time, and never what a running backup may want.

The other half of the protocol is in `vault.committing`, which says why both halves together are safe.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice

from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.model.vault_records import Garbage
from backup_pipeline.retention.census import Census, named_by_work, systems_of
from backup_pipeline.retention.forgetting import Denied, delete
from backup_pipeline.stores.base import Store
from backup_pipeline.vault import layout, lock, presence
from backup_pipeline.vault.committing import read_garbage
from backup_pipeline.vault.restores import Restores
from backup_pipeline.vault.vault import Vault

#: Clocks of two machines may differ by so much: a backup counts as begun before a mark that is younger by less.
SKEW = timedelta(minutes=5)
#: How long a commit may take before a sweep lets it be and leaves its objects to the next one.
PATIENCE = 60.0
POLL = 0.1
BATCH = 500
THREADS = 8

_NAME = re.compile(r"[0-9a-f]{64}(\.[a-z0-9]+)+")


@dataclass(frozen=True, slots=True)
class Volume:
    objects: int = 0
    bytes: int = 0

    def __add__(self, other: Volume) -> Volume:
        return Volume(self.objects + other.objects, self.bytes + other.bytes)


NOTHING = Volume()


@dataclass
class Swept:
    deleted: Volume = NOTHING
    #: Unnamed, and not for long enough; or spared for a process that is at work.
    waiting: Volume = NOTHING
    spared: Volume = NOTHING
    #: When the first of those that wait can go.
    next_at: datetime | None = None
    foreign: int = 0
    findings: list[Finding] = field(default_factory=list)


@dataclass
class Unnamed:
    """Objects that nothing names, and since when."""

    sizes: dict[str, int] = field(default_factory=dict)
    since: dict[str, datetime] = field(default_factory=dict)
    foreign: int = 0

    def volume(self, names: Iterable[str]) -> Volume:
        chosen = list(names)
        return Volume(len(chosen), sum(self.sizes[name] for name in chosen))


def look(vault: Vault, census: Census, named: bytearray, now: datetime) -> Unnamed:
    """`named`: the objects of the backups that stay. What a backup names that goes now was named until now."""
    store = vault.store
    at_work = {digest for system in systems_of(store) for digest in named_by_work(store, system)}
    marked = {name: parse_timestamp(at) for at, names in read_garbage(store).marked.items() for name in names}
    found = Unnamed()
    for stat in presence.everything(store):
        name = stat.key.rpartition("/")[2]
        if not _NAME.fullmatch(name):
            found.foreign += 1
            continue
        number = census.numbers.get(bytes.fromhex(name[:64]))
        if name[:64] in at_work or (number is not None and named[number]):
            continue
        found.sizes[name] = stat.size
        found.since[name] = now if number is not None else min(now, marked.get(name, now))
    return found


def running(store: Store) -> list[lock.Holder]:
    """Who is writing a backup at this moment; whether a lock is alive is a question for the real clock."""
    now = datetime.now(UTC)
    holders = (lock.current(store, layout.lock_key(system)) for system in systems_of(store))
    return [one for one in holders if one is not None and not lock.is_stale(one, now)]


def due(
    found: Unnamed, holders: Iterable[lock.Holder], grace: timedelta, now: datetime
) -> tuple[list[str], list[str]]:
    """Those that may go; and those that could, without the work of a process that began before they lost their last
    name."""
    begun = min((parse_timestamp(one.since) for one in holders), default=None)
    go, spared = [], []
    for name, since in found.since.items():
        if now - since < grace:
            continue
        if begun is not None and begun <= since + SKEW:
            spared.append(name)
        else:
            go.append(name)
    return go, spared


@dataclass(frozen=True, slots=True)
class Sweep:
    vault: Vault
    census: Census
    grace: timedelta
    now: datetime
    denied: Denied

    def run(self, named: bytearray, held: lock.Held | None, *, only_look: bool = False) -> Swept:
        """`held`: the lock of the prune; None: only say what would be done. `only_look`: nothing is marked, nothing goes."""
        store, now = self.vault.store, self.now
        found = look(self.vault, self.census, named, now)
        go, spared = due(found, running(store), self.grace, now)
        swept = Swept(foreign=found.foreign, spared=found.volume(spared))
        if self.census.unreadable:
            swept.findings.append(_blind(self.census))
            go = []
        if only_look:
            go = []
        elif held is not None:
            _write(store, found, now, held)
            if go:
                go = self._delete(found, go, held)
                if not held.steady():
                    swept.findings.append(Finding.of("prune-stood-still"))
                _write(store, found, now, held)
        swept.deleted = found.volume(go)
        gone = set(go)
        left = [name for name in found.sizes if name not in gone]
        swept.waiting = found.volume(left)
        swept.next_at = min((found.since[name] + self.grace for name in left), default=None)
        return swept

    def _delete(self, found: Unnamed, go: list[str], held: lock.Held) -> list[str]:
        """Condemn, wait for those who are committing, spare what came since, delete. Gives those that are gone."""
        store, denied = self.vault.store, self.denied
        _write(store, found, self.now, held, go)
        if not _wait_for_commits(store):
            return []
        wanted = _named_since(self.vault, self.census)
        names = (name for name in go if name[:64] not in wanted)
        gone: list[str] = []
        while (batch := list(islice(names, BATCH))) and not denied.hopeless("objects") and held.steady():
            held.confirm()
            gone += _delete_batch(store, batch, held, denied)
        for name in gone:
            del found.since[name]
        return gone


def _blind(census: Census) -> Finding:
    first = census.unreadable[0]
    return Finding.of(
        "prune-blind",
        system=first.system,
        identifier=first.id,
        why=first.why,
        more=f", nor {len(census.unreadable) - 1} more" if len(census.unreadable) > 1 else "",
        examples=(f"{one.system} {one.id}: {one.why}" for one in census.unreadable),
    )


def _write(
    store: Store, found: Unnamed, now: datetime, held: lock.Held, condemned: Iterable[str] = ()
) -> None:
    held.confirm()  # what another prune has condemned must not be taken back by us
    marked: dict[str, list[str]] = {}
    for name, since in sorted(found.since.items()):
        marked.setdefault(timestamp(since), []).append(name)
    garbage = Garbage(
        timestamp(now), {at: tuple(names) for at, names in marked.items()}, tuple(sorted(condemned))
    )
    store.put(layout.GARBAGE, canonical.encode(garbage), overwrite=True)


def _wait_for_commits(store: Store) -> bool:
    deadline = time.monotonic() + PATIENCE
    while any(one.committing for one in running(store)):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True


def _named_since(vault: Vault, census: Census) -> set[str]:
    """What manifests, drafts and notes name that were not there when the census was taken. What cannot be read may name
    anything, and a folder that just lost its manifest is forgotten by another process: what it named was marked
    anew."""
    wanted: set[str] = set()
    for system in systems_of(vault.store):
        wanted.update(named_by_work(vault.store, system))
        known = {one.id for one in census.systems.get(system, ())}
        for identifier in vault.ids(system):
            if identifier in known:
                continue
            try:
                outline = vault.backup(system, identifier).outline
            except NotFound:
                continue
            except Damaged as error:
                raise Damaged(
                    f"{system} {identifier} appeared while objects were about to be deleted, and cannot be read: {error.message}",
                    remedy=f"nothing was deleted; `backup-pipeline verify {system} {identifier}` says more",
                ) from error
            wanted.update(one.sha256 for one in outline.objects)
        counted = {one.id for one in census.restores if one.system == system}
        for restore in Restores(vault, system).all():
            if restore.id not in counted:
                wanted.update(one.sha256 for one in restore.outline.objects)
    return wanted


def _delete_batch(store: Store, batch: list[str], held: lock.Held, denied: Denied) -> Iterator[str]:
    def gone(name: str) -> bool:
        # A backup that found our lock stale has committed what is condemned here.
        # A manifest must not come back after a power cut that its objects did not survive. An object that comes back
        # does no harm.
        key = f"{layout.OBJECTS}{name[:2]}/{name}"
        return held.steady() and delete(store, key, "objects", denied, durable=False)

    if store.features.cheap_stat:
        yield from (name for name in batch if gone(name))
        return
    with ThreadPoolExecutor(THREADS, thread_name_prefix="prune") as pool:
        yield from (name for name, done in zip(batch, pool.map(gone, batch), strict=True) if done)
