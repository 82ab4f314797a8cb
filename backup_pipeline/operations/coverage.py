"""Does retention keep as much of a system as its rules promise?"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model.findings import Report
from backup_pipeline.model.ids import moment_of
from backup_pipeline.operations.prune import no_rules
from backup_pipeline.operations.site import Site
from backup_pipeline.stores.waiting import in_parallel
from backup_pipeline.vault import records

if TYPE_CHECKING:
    from backup_pipeline.model.overview import SystemStatus


def coverage(site: Site, system: str) -> Report:
    """Does what is kept of a system reach as far back as its rules promise, without a hole?"""
    from backup_pipeline.health.coverage import judge

    began = time.monotonic()
    settings, vault = site.settings, site.vault
    policy = settings.retention_of(system)
    if policy is None:
        raise no_rules(site, system)

    def is_full(identifier: str) -> bool:
        try:
            return vault.backup(system, identifier).scope == "full"
        except (Damaged, NotFound):
            return False  # `verify` and `status` name it

    there = vault.ids(system)
    scopes = in_parallel(vault.store, is_full, there)
    full = [moment_of(one) for one, whole in zip(there, scopes, strict=True) if whole]
    ever = [*map(moment_of, records.forgotten_ids(vault.store, system)), *full]
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
    return replace(status, findings=(*status.findings, *coverage(site, status.system).findings))
