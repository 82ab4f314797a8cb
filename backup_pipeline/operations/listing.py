"""`list` and `status`: which backups there are, and whether each system is protected."""

from __future__ import annotations

from dataclasses import dataclass, replace

from backup_pipeline.config import SystemSettings
from backup_pipeline.errors import BackupError, Damaged, ErrorsFound, VaultError
from backup_pipeline.health import overview
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.outcome import failed
from backup_pipeline.model.overview import Broken, Listed, SystemStatus
from backup_pipeline.model.plural import plural
from backup_pipeline.operations import copying, diagnosing, health
from backup_pipeline.operations.site import Site


@dataclass(frozen=True, slots=True)
class Survey:
    """The backups of a system."""

    system: str
    whole: tuple[Listed, ...]
    #: Too damaged to be listed.
    broken: tuple[Broken, ...]
    #: Backups that are gone, and that no record says were forgotten.
    missing: tuple[Finding, ...]

    @property
    def empty(self) -> bool:
        return not self.whole and not self.broken


@dataclass(frozen=True, slots=True)
class Listing:
    surveys: tuple[Survey, ...]
    #: A vault that is gone looks like a new one.
    lost: VaultError | None = None

    @property
    def backups(self) -> tuple[Listed, ...]:
        return tuple(line for one in self.surveys for line in one.whole)

    @property
    def damaged(self) -> tuple[Broken, ...]:
        return tuple(line for one in self.surveys for line in one.broken)

    @property
    def failure(self) -> BackupError | None:
        if bad := self.damaged:
            names = ", ".join(one.id for one in bad)
            looks = [f"`backup-pipeline verify {one.system} all` says which backups are whole" for one in bad]
            return Damaged(
                f"{plural(len(bad), 'backup')} cannot be read: {names}",
                remedy="; ".join(dict.fromkeys([*(one.remedy for one in bad), *looks])),
            )
        gone = [finding for one in self.surveys for finding in one.missing]
        return self.lost or failed(ErrorsFound, "not every backup is there", gone)


def listing(site: Site, system: str | None = None) -> Listing:
    """Of one system or of all: what is there, what is damaged, and what is gone."""
    if system and system not in site.vault.systems():
        site.system(system)  # a name that means nothing is an error, not an empty list
    surveys = tuple(_survey(site, name) for name in _systems(site, system))
    losses = [loss for one in surveys if one.empty and (loss := diagnosing.lost(site, one.system))]
    together = diagnosing.lost(site) if len(losses) > 1 else None
    return Listing(surveys, together or next(iter(losses), None))


def _survey(site: Site, system: str) -> Survey:
    whole, broken = survey(site, system)
    return Survey(system, whole, broken, health.missing(site, system, whole, broken))


def _systems(site: Site, system: str | None) -> tuple[str, ...]:
    return (system,) if system else tuple(sorted({*site.systems, *site.vault.systems()}))


def list_backups(site: Site, system: str | None = None) -> tuple[Listed, ...]:
    """Of one system or of all, oldest first."""
    found = tuple(listed(site, name, id) for name in _systems(site, system) for id in site.vault.ids(name))
    if not found and (error := diagnosing.lost(site, system)) is not None:
        raise error
    return found


def listed(site: Site, system: str, id: str) -> Listed:
    return overview.listed(site.vault.backup(system, id), health.acks(site, system))


def survey(site: Site, system: str) -> tuple[tuple[Listed, ...], tuple[Broken, ...]]:
    """The backups of a system that can be listed, and those that are too damaged for it."""
    whole, broken = overview.survey(site.vault, system, health.acks(site, system))
    return whole, tuple(
        replace(one, remedy=diagnosing.exact_remedy(site, system, one.remedy)) for one in broken
    )


def status(site: Site) -> tuple[SystemStatus, ...]:
    """Of every system, its copies included."""
    return tuple(copying.with_copies(site, status_of(site, name)) for name in site.systems)


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
