"""`prune`: forget the backups that no rule keeps, and free unreferenced objects. The rules come from the configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from backup_pipeline.config import Settings
from backup_pipeline.errors import BackupError, ConfigError
from backup_pipeline.health.freshness import deadline
from backup_pipeline.model.orders import PruneOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import stores
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time
from backup_pipeline.retention.anomalies import SILENT
from backup_pipeline.retention.census import Locked
from backup_pipeline.retention.prune import Conditions, Planned, PruneReport, Rules, SystemPlan
from backup_pipeline.retention.prune import prune as prune_vault
from backup_pipeline.vault.object_locks import why_locked

if TYPE_CHECKING:
    from datetime import datetime


__all__ = ["Planned", "PruneReport", "SystemPlan", "prune", "prune_with_copies"]

#: Without a `retention:`: how long an unreferenced object stays.
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
        raise no_rules(site, system)
    place = stores.open_vault_for_pruning(settings, copy)
    terms = Conditions(rules, grace_of(rules.values()), now, locked_in(site, copy, order.supposing))
    return prune_vault(place, terms, order, listener)


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


def no_rules(site: Site, system: str | None) -> ConfigError:
    if system is not None:
        site.system(system)  # a name that means nothing is another error
    return ConfigError(
        f"there is no `retention:` {f'for {system}' if system else 'in the configuration'}, so everything stays",
        remedy="say what is to be kept, as in `retention: {daily: 30, weekly: 8, monthly: 12}`; one backup goes by `forget`",
    )


def locked_in(site: Site, copy: str | None, supposing: Collection[str] = ()) -> Locked:
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
