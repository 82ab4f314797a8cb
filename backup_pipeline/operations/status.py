"""`status`: is each system protected? From everything that this machine can see; no database is asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from backup_pipeline.alerts import routes
from backup_pipeline.config import SystemSettings
from backup_pipeline.errors import Damaged, NotProtected, VaultError
from backup_pipeline.health import acknowledgements, overview
from backup_pipeline.health.promises import failures, kept
from backup_pipeline.model.acts import Act
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.overview import Runner, SystemStatus
from backup_pipeline.model.plural import plural
from backup_pipeline.operations import diagnosing, health
from backup_pipeline.operations.coverage import with_retention
from backup_pipeline.operations.lag import with_copies
from backup_pipeline.operations.site import Site
from backup_pipeline.operations.storage import examine_storage, has_a_vault
from backup_pipeline.stores.base import Store
from backup_pipeline.vault import layout


@dataclass(frozen=True, slots=True)
class InstanceView:
    """What an instance of Dagster shows of a site. The skin that can read the instance hands it in."""

    runner: Runner
    #: System → the last failure of each job that nothing has mended.
    failures: Callable[[str], Iterable[Act]]


@dataclass(frozen=True, slots=True)
class Disk:
    address: str
    free: int | None


@dataclass(frozen=True, slots=True)
class Screen:
    protected: bool
    systems: tuple[SystemStatus, ...]
    vault: Disk
    #: Who runs the schedules.
    daemon: Runner
    #: Systems that have backups in the vault and are not in the configuration.
    retired: tuple[str, ...] = ()
    #: Of the disk under the vault, where it is one of this machine.
    storage: tuple[Finding, ...] = ()

    @property
    def bad(self) -> tuple[SystemStatus, ...]:
        return tuple(one for one in self.systems if not one.protected)

    @property
    def full(self) -> tuple[Finding, ...]:
        """Why the vault's disk takes no more backups."""
        return tuple(one for one in self.storage if one.severity == "error")

    @property
    def failure(self) -> NotProtected | None:
        if self.bad:
            names = ", ".join(one.system for one in self.bad)
            count = plural(len(self.bad), "system")
            return NotProtected(
                f"{count} of {len(self.systems)} not protected as it should be: {names}",
                remedy="every finding has a remedy of its own",
            )
        return NotProtected(self.full[0].message, remedy=self.full[0].remedy) if self.full else None


def status(site: Site, system: str | None, instance: InstanceView) -> Screen:
    """Of one system or of all. What is wrong with one does not hide the others."""
    site = site.one_look()
    systems = tuple(_of_system(site, name, instance) for name in ([system] if system else site.systems))
    on_disk = site.vault.store.folder is not None and has_a_vault(site)
    storage = examine_storage(site).findings if on_disk else ()
    protected = all(one.protected for one in systems) and not any(one.severity == "error" for one in storage)
    retired = tuple(name for name in site.vault.systems() if name not in site.systems)
    return Screen(protected, systems, _disk(site.vault.store), instance.runner, retired, storage)


def _of_system(site: Site, system: str, instance: InstanceView) -> SystemStatus:
    try:
        return of_system(site, system, instance)
    except (Damaged, VaultError) as error:
        told = (Finding.of_error(error),)
        return SystemStatus(system, None, None, 0, None, False, told, zone=site.settings.zone_of(system))


def of_system(site: Site, system: str, instance: InstanceView) -> SystemStatus:
    """The vault, the copies, what is kept; what will make the next backup, who is told of failures, what failed last."""
    found = with_retention(site, with_copies(site, status_of(site, system)))
    if system not in site.systems:
        return found
    latest = found.latest.id if found.latest else ""
    more = (
        *_without_its_mark(site, latest),
        *kept(found, site.system(system), instance.runner, site.clock()),
        *failures(instance.failures(system), latest, site.settings.zone_of(system)),
        *routes.findings(site.settings),
    )
    return replace(found, findings=acknowledgements.applied((*found.findings, *more), found.accepted))


def _without_its_mark(site: Site, latest: str) -> Iterator[Finding]:
    """No backup is written into a place that is no vault: known tonight, and not when it is due."""
    if latest and site.vault.store.stat(layout.VAULT) is None:
        yield Finding.of("vault-mark-missing", vault=layout.VAULT, address=site.vault.store.address)


def _disk(store: Store) -> Disk:
    """A bucket has no end that could be asked for."""
    folder = store.folder
    try:
        return Disk(store.address, None if folder is None else shutil.disk_usage(folder).free)
    except OSError:
        return Disk(store.address, None)


def status_of(site: Site, system: str) -> SystemStatus:
    found = overview.status(
        site.vault,
        system,
        _settings_of(site, system),
        zone=site.settings.zone_of(system) if system in site.systems else site.settings.timezone,
        now=site.clock(),
        rules=health.rules(site, system),
    )
    return diagnosing.of_status(site, found)


def _settings_of(site: Site, system: str) -> SystemSettings | None:
    """None of a system that left the configuration and has backups; an unknown one is an error."""
    if system not in site.systems and site.vault.ids(system):
        return None
    return site.system(system)
