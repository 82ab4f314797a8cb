"""How far the copies are behind the vault: for `status`, for the doctor, and for the checks of the graph."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.copies.lag import measured_lag
from backup_pipeline.errors import BackupError
from backup_pipeline.health.copy_places import look_at_places
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.overview import CopyLag
from backup_pipeline.operations import expected, stores
from backup_pipeline.operations.site import Site
from backup_pipeline.vault.vault import Vault

if TYPE_CHECKING:
    from backup_pipeline.model.overview import SystemStatus


def lag_of(site: Site, system: str, name: str) -> CopyLag:
    within = float(site.settings.copy_settings(name).within)
    try:
        target = stores.open_for_a_look(site.settings, name)
        expected.expect(site.settings, target)
        return measured_lag(site.vault, target, system, name=name, within=within, now=site.clock())
    except BackupError as error:
        return CopyLag(name, system, within, unreachable=error.message, remedy=error.remedy)


def with_copies(site: Site, status: SystemStatus) -> SystemStatus:
    """What `status` says of a system, and of its copies."""
    found = tuple(lag_of(site, status.system, name) for name in site.settings.copies_of(status.system))
    late = tuple(finding for one in found for finding in one.findings)
    return replace(status, copies=found, findings=(*status.findings, *late))


def inspect(site: Site) -> Iterator[Finding]:
    """For the doctor: every copy of the configuration."""

    def opened() -> Iterator[tuple[str, Vault | BackupError]]:
        for name in site.settings.copies:
            try:
                place = stores.open_for_a_look(site.settings, name)
                expected.expect(site.settings, place)
                yield name, place
            except BackupError as error:
                yield name, error

    yield from look_at_places(site.vault, opened(), now=site.clock())
