"""Before a backup is read: are all of its objects readable, and if not, what has to be done about it?

Objects that a bucket's lifecycle has moved to an archive need a thaw before they can be read. A thaw takes minutes to
days and costs money, so it needs a request. Without the request, the user is told the size and the time, before
anything is written.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from backup_pipeline.errors import ConfigError, Damaged, NotFound, NotThawed
from backup_pipeline.model.orders import TIERS, CopyOrder, Tier
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.operations import stores
from backup_pipeline.operations.copy import copies_of
from backup_pipeline.operations.site import Site
from backup_pipeline.stores.base import Store
from backup_pipeline.stores.thawing import Frozen, Thawing
from backup_pipeline.vault import layout
from backup_pipeline.vault.presence import ObjectIndex
from backup_pipeline.vault.restores import Restores, objects_of
from backup_pipeline.vault.vault import Vault

#: How long what was thawed can be read: long enough for a restore that takes a weekend.
DAYS = 7
#: A thaw that ends sooner than this is asked to last longer: it must not end in the middle of a restore.
LEAST_LEFT = timedelta(days=1)
#: Seconds between two looks whether it is there.
PAUSES: dict[Tier, float] = {"expedited": 20.0, "standard": 300.0, "bulk": 300.0}
THREADS = 16


@dataclass(frozen=True, slots=True)
class Thaw:
    """What is thawed how fast, and who waits."""

    tier: Tier
    days: int = DAYS
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Needed:
    """What a verb is about to read from a place that has an archive."""

    vault: Vault
    objects: tuple[layout.StoredObject, ...]
    #: For messages: `shop 2026-11-21T02-00-00-123Z`.
    what: str


def of_backups(site: Site, system: str, id: str | None) -> Needed | None:
    """The objects of one backup, or of `all`, by their outlines, which are known without a key. None: there is no archive."""
    vault = site.vault
    if vault.store.thawing() is None:
        return None
    ids = (*Restores(vault, system).ids, *vault.ids(system)) if id == "all" else (vault.resolve(system, id),)
    needed: list[layout.StoredObject] = []
    for one in ids:
        try:
            needed += objects_of(vault, system, one)
        except (Damaged, NotFound):
            if id != "all":
                raise
            continue  # its faults are told by the verb that looks at it
    return Needed(
        vault, tuple(needed), f"{system} {ids[-1]}" if len(ids) == 1 else f"{len(ids)} backups of {system}"
    )


def of_copies(site: Site, order: CopyOrder) -> Needed | None:
    """What a copy would have to read: objects that a target has are not sent."""
    system, source = order.system, order.source
    vault = stores.open_place(site.settings, source)
    if vault.store.thawing() is None:
        return None
    everything = order.id in (None, "all")
    ids = (
        (*vault.ids(system), *Restores(vault, system).ids)
        if everything
        else (vault.resolve(system, order.id),)
    )
    names = [name for name in copies_of(site, system, order.to) if name != source]
    places = [stores.open_place(site.settings, name).store for name in names]
    return Needed(vault, _missing_objects(vault, system, ids, places), f"what the copies of {system} lack")


def thaw(needed: Needed, tier: Tier | None, listener: Listener = silent) -> int:
    """How many objects were thawed. Without a tier, what cannot be read is NotThawed."""
    asked = Thaw(tier) if tier else None
    return len(ensure_readable(needed.vault, needed.objects, asked, what=needed.what, listener=listener))


def ensure_readable(
    vault: Vault,
    references: Iterable[layout.StoredObject],
    thaw: Thaw | None = None,
    *,
    what: str = "the backup",
    listener: Listener = silent,
) -> tuple[Frozen, ...]:
    """Returns when every object can be read: what had to be thawed for it. Without `thaw`, raises NotThawed where
    something would have to be. An interruption while it waits loses nothing: what was asked for stays asked for."""
    thawing = vault.store.thawing()
    if thawing is None:
        return ()
    # Seen a moment ago by the same piece of work; a thaw is looked at again, because it ends.
    seen = vault.presence.readable if thaw is None else set[str]()
    keys = sorted({layout.object_key(reference) for reference in references} - seen)
    found = thawing.look(keys) if keys else ()
    if thaw is None:
        waiting = tuple(one for one in found if one.state != "thawed")
        if waiting:
            raise not_thawed(what, waiting)
        vault.presence.can_be_read(keys)
        return ()
    needed = tuple(one for one in found if not _lasts(one, thaw))
    _refuse_unknown(needed, thaw.tier)
    _ask(thawing, needed, thaw)
    unreadable = tuple(one for one in needed if one.state != "thawed")
    _wait(thawing, unreadable, thaw, listener)
    vault.presence.can_be_read(keys)
    return needed


def _missing_objects(
    source: Vault, system: str, ids: Iterable[str], targets: Iterable[Store]
) -> tuple[layout.StoredObject, ...]:
    """The objects that not every target has. Needs no key."""
    indexes = [ObjectIndex(target) for target in targets]
    found: dict[str, layout.StoredObject] = {}
    for identifier in ids:
        for one in objects_of(source, system, identifier):
            if not all(target.there(one) for target in indexes):
                found[layout.object_key(one)] = one
    return tuple(found.values())


def _lasts(one: Frozen, thaw: Thaw) -> bool:
    return one.state == "thawed" and (one.until is None or one.until - thaw.now() >= LEAST_LEFT)


def _refuse_unknown(frozen: Sequence[Frozen], tier: Tier) -> None:
    unable = [one for one in frozen if one.state != "thawing" and one.hours(tier) is None]
    if unable:
        raise ConfigError(
            f"{len(unable):,} objects lie in {unable[0].archive}, which knows no {tier} thaw",
            remedy="; ".join(_choices(unable)),
        )


def _ask(thawing: Thawing, frozen: Sequence[Frozen], thaw: Thaw) -> None:
    asked = [one for one in frozen if one.state != "thawing"]
    with ThreadPoolExecutor(THREADS, thread_name_prefix="thaw") as pool:
        list(pool.map(lambda one: thawing.ask(one, thaw.tier, thaw.days), asked))


def _wait(thawing: Thawing, frozen: Sequence[Frozen], thaw: Thaw, listener: Listener) -> None:
    left = {one.key: one for one in frozen}
    total = sum(one.size for one in frozen)
    began = thaw.now()
    while left:
        still = {one.key: one for one in thawing.look(sorted(left)) if one.state != "thawed"}
        for key in left.keys() - still.keys():
            listener(Advance("thaw", key, bytes=left[key].size, total_bytes=total))
        left = still
        if left:
            most = max(one.hours(thaw.tier) or 0.0 for one in left.values())
            note = f"{len(left):,} objects to go, {_hours(most)} after the request at most; asked {began:%H:%M} UTC"
            listener(Advance("thaw", "waiting for the archive", total_bytes=total, note=note))
            thaw.sleep(PAUSES[thaw.tier])


def not_thawed(what: str, frozen: Sequence[Frozen]) -> NotThawed:
    """How much, how long, and how to ask."""
    archives = ", ".join(sorted({one.archive for one in frozen}))
    under_way = [one for one in frozen if one.state == "thawing"]
    waiting = f"; the thaw of {len(under_way):,} of them is under way" if under_way else ""
    amount = sum(one.size for one in frozen) / 2**30
    return NotThawed(
        f"{what}: {len(frozen):,} objects ({amount:,.2f} GiB) lie in an archive ({archives}) and cannot be read "
        f"before they are thawed{waiting}",
        remedy="run it again with --thaw and the tier; it waits and then goes on:\n"
        + "\n".join(_choices(frozen))
        + "\nwhat is thawed is billed by the GiB and by the object, bulk being the cheapest",
    )


def _choices(frozen: Sequence[Frozen]) -> list[str]:
    found = []
    for tier in TIERS:
        hours = [one.hours(tier) for one in frozen]
        known = [one for one in hours if one is not None]
        if len(known) == len(hours):
            found.append(f"--thaw {tier}: within {_hours(max(known))}")
    return found


def _hours(hours: float) -> str:
    return f"{hours * 60:.0f} minutes" if hours < 1 else f"{hours:.0f} hours"
