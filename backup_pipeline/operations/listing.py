"""`list` and `status`: which backups there are, and whether each system is protected."""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.config import SystemSettings
from backup_pipeline.health import overview
from backup_pipeline.health.overview import Broken, Listed, SystemStatus
from backup_pipeline.operations import copying, diagnosing, health
from backup_pipeline.operations.site import Site

__all__ = ["Broken", "Listed", "SystemStatus", "list_backups", "listed", "status", "status_of", "survey"]


def list_backups(site: Site, system: str | None = None) -> tuple[Listed, ...]:
    """Of one system or of all, oldest first."""
    names = (system,) if system else tuple(sorted({*site.systems, *site.vault.systems()}))
    found = tuple(listed(site, name, id) for name in names for id in site.vault.ids(name))
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
