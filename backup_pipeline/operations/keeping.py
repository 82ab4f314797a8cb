"""Keeping and forgetting, for whoever has a Site: prune, pin, unpin, forget, scrub."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from backup_pipeline.config import Settings
from backup_pipeline.errors import BackupError, ConfigError, Damaged, NotFound
from backup_pipeline.health.freshness import deadline, longest_interval
from backup_pipeline.model.findings import Report
from backup_pipeline.model.ids import is_backup_id, moment_of
from backup_pipeline.model.keeping import Pin
from backup_pipeline.model.orders import ForgetOrder, PinOrder, PruneOrder, ScrubOrder, UnpinOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import stores
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time
from backup_pipeline.retention import byhand
from backup_pipeline.retention.anomalies import SILENT
from backup_pipeline.retention.byhand import ForgetReport
from backup_pipeline.retention.census import Locked, demand_a_vault
from backup_pipeline.retention.prune import Planned, PruneReport, Rules, SystemPlan
from backup_pipeline.retention.prune import prune as prune_vault
from backup_pipeline.stores.waiting import in_parallel
from backup_pipeline.vault import keeping, layout
from backup_pipeline.vault.object_locks import why_locked

if TYPE_CHECKING:
    from datetime import datetime

    from backup_pipeline.model.overview import SystemStatus
    from backup_pipeline.verification.scrub import ScrubReport

__all__ = [
    "Planned",
    "PruneReport",
    "ScrubReport",
    "SystemPlan",
    "forget",
    "pin",
    "prune",
    "prune_with_copies",
    "scrub",
    "unpin",
]

#: Where no `retention:` says otherwise: how long an object stays that nothing names.
GRACE = timedelta(days=1)


def rules_of(settings: Settings, now: datetime) -> dict[str, Rules]:
    """Of the systems that have a `retention:`. A system that left the configuration has none: its backups stay."""
    found = {}
    for system, chosen in settings.systems.items():
        policy = settings.retention_of(system)
        if policy is None:
            continue
        zone = settings.zone_of(system)
        limit = deadline(chosen, zone, now)
        silent_after = max(SILENT, timedelta(seconds=3 * limit)) if limit else SILENT
        found[system] = Rules(policy, zone, silent_after)
    return found


def grace_of(rules: Iterable[Rules]) -> timedelta:
    """Objects belong to all systems: the longest counts."""
    return max((timedelta(seconds=one.policy.grace) for one in rules), default=GRACE)


@takes_time
def prune(site: Site, order: PruneOrder, listener: Listener = silent) -> PruneReport:
    """Of the vault or of a copy; of all systems or of one. Objects that nothing names are those of the whole vault."""
    system, copy = order.system, order.copy
    settings, now = site.settings, site.clock()
    rules = rules_of(settings, now)
    if system not in rules if system is not None else not rules:
        raise _no_rules(site, system)
    place = stores.open_vault_for_pruning(settings, copy)
    return prune_vault(
        place,
        rules,
        systems=None if system is None else (system,),
        grace=grace_of(rules.values()),
        now=now,
        dry_run=order.dry_run,
        despite_anomaly=order.despite_anomaly,
        locked=_locked(site, copy, order.supposing),
        patience=order.patience,
        listener=listener,
    )


def prune_with_copies(
    site: Site, order: PruneOrder, listener: Listener = silent
) -> tuple[PruneReport, dict[str, PruneReport | BackupError]]:
    """The vault, and those copies of the system that are pruned whenever the vault is. A copy that cannot be reached keeps
    no other from it."""
    report, copies = prune(site, order, listener), dict[str, PruneReport | BackupError]()
    going = [planned.id for plan in report.systems for planned in plan.forgotten] if order.dry_run else []
    for name in site.settings.copies_of(order.system or ""):
        if site.settings.copy_settings(name).prune:
            there = replace(order, copy=name, supposing=frozenset(going))
            try:
                copies[name] = prune(site, there, listener)
            except BackupError as error:
                copies[name] = error
    return report, copies


def _no_rules(site: Site, system: str | None) -> ConfigError:
    if system is not None:
        site.system(system)  # a name that means nothing is another error
    return ConfigError(
        f"there is no `retention:` {f'for {system}' if system else 'in the configuration'}, so everything stays",
        remedy="say what is to be kept, as in `retention: {daily: 30, weekly: 8, monthly: 12}`; one backup goes by `forget`",
    )


def _locked(site: Site, copy: str | None, supposing: Collection[str] = ()) -> Locked:
    """What a rule must not take: from a copy what the vault needs there, and from a bucket what it holds locked. A bucket
    with versions would take the deletion and keep the bytes: hidden, paid for, and listed nowhere."""
    needed = locked_by_the_vault(site, supposing) if copy is not None else lambda _system, _id: ""
    place = stores.open_vault_for_pruning(site.settings, copy)
    if place.store.object_locks() is None:
        return needed

    def locked(system: str, identifier: str) -> str:
        return why_locked(place.backup(system, identifier), site.clock()) or needed(system, identifier)

    return locked


def locked_by_the_vault(site: Site, supposing: Collection[str] = ()) -> Locked:
    """A copy keeps what the vault keeps; where the vault has nothing of a system any more, the copy is all there is."""
    known: dict[str, frozenset[str]] = {}

    def locked(system: str, identifier: str) -> str:
        if system not in known:
            known[system] = frozenset(site.vault.ids(system))
        if not known[system]:
            return "the vault has no backup of this system: the copy is all there is"
        return "the vault still has it" if identifier in known[system].difference(supposing) else ""

    return locked


def pin(site: Site, order: PinOrder) -> tuple[str, Pin]:
    """The id of the backup that is meant, and its pin."""
    place = stores.open_place(site.settings, order.copy)
    id = place.resolve(order.system, order.id)
    return id, byhand.pin(place.backup(order.system, id), order.reason, site.clock())


def unpin(site: Site, order: UnpinOrder) -> tuple[str, Pin | None]:
    place, id = stores.open_place(site.settings, order.copy), order.id
    # `latest` moves on; which pin is meant has to be said.
    if not is_backup_id(id) and not id.startswith("latest"):
        id = place.resolve(order.system, id)
    return id, byhand.unpin(place.backup(order.system, id))


def forget(site: Site, order: ForgetOrder) -> ForgetReport:
    return byhand.forget_one(
        stores.open_vault_for_pruning(site.settings, order.copy).backup(order.system, order.id),
        why=order.reason,
        now=site.clock(),
        force=order.force,
        policy=site.settings.retention_of(order.system),
        locked=_locked(site, order.copy),
    )


@takes_time
def scrub(site: Site, order: ScrubOrder, listener: Listener = silent) -> ScrubReport:
    """Read the part of the vault, or of a copy, that was not read for the longest."""
    from backup_pipeline.verification.scrub import scrub as scrub_vault

    settings, now = site.settings, site.clock()
    window = timedelta(days=order.window or settings.scrub.window_days)
    return scrub_vault(
        stores.open_place(settings, order.copy),
        window=window,
        interval=scrub_interval(settings, now, window),
        now=now,
        everything=order.everything,
        listener=listener,
    )


def scrub_interval(settings: Settings, now: datetime, window: timedelta) -> timedelta:
    """How long it is between two scrubs; without a schedule, as if somebody ran it four times in a window."""
    if settings.scrub.schedule is None:
        return window / 4
    return timedelta(seconds=longest_interval(settings.scrub.schedule, settings.timezone, now))


def covering(site: Site, system: str) -> Report:
    """Does what is kept of a system reach as far back as its rules promise, without a hole?"""
    from backup_pipeline.health.coverage import judge

    began = time.monotonic()
    settings, vault = site.settings, site.vault
    policy = settings.retention_of(system)
    if policy is None:
        raise _no_rules(site, system)

    def is_full(identifier: str) -> bool:
        try:
            return vault.backup(system, identifier).scope == "full"
        except (Damaged, NotFound):
            return False  # `verify` and `status` name it

    there = vault.ids(system)
    scopes = in_parallel(vault.store, is_full, there)
    full = [moment_of(one) for one, whole in zip(there, scopes, strict=True) if whole]
    ever = [*map(moment_of, keeping.forgotten_ids(vault.store, system)), *full]
    found = judge(
        full,
        policy,
        schedule=site.system(system).schedule,
        zone=settings.zone_of(system),
        now=site.clock(),
        began=min(ever, default=None),
    )
    return Report(f"{system}: retention", found.findings, found.counted, time.monotonic() - began)


def with_retention(site: Site, status: SystemStatus) -> SystemStatus:
    """What `status` says of a system, and whether what is kept of it is what its rules promise."""
    if status.latest is None or status.system not in site.systems:
        return status
    if site.settings.retention_of(status.system) is None:
        return status
    return replace(status, findings=(*status.findings, *covering(site, status.system).findings))


def has_a_vault(site: Site) -> bool:
    return site.vault.store.stat(layout.VAULT) is not None


def storage(site: Site, copy: str | None = None) -> Report:
    """How large the vault (or a copy) is, how it grows, and when its disk is full."""
    from backup_pipeline.health.storage import judge, measure, remember

    began = time.monotonic()
    store = stores.open_place(site.settings, copy).store
    demand_a_vault(store)
    sample = measure(store, site.clock())
    samples = remember(site.settings.state_folder, store.address, sample)
    findings, counted = judge(samples, store.address)
    return Report(f"storage: {store.address}", findings, counted, time.monotonic() - began)
