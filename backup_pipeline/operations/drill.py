"""`drill`: restore a backup for real, compare every row, and remember that it was proven."""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.databases.base import DrillOptions
from backup_pipeline.drills import DrillReport
from backup_pipeline.drills import drill as drill_backup
from backup_pipeline.errors import Damaged, RestoreError
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.orders import DrillOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import files, health, thawing
from backup_pipeline.operations.diagnosing import explained
from backup_pipeline.operations.reading import remember, usable
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time

__all__ = ["DrillReport", "drill"]


@takes_time
def drill(site: Site, order: DrillOrder, listener: Listener = silent) -> DrillReport:
    with explained(site, order.system):
        return _drill(site, order, listener)


def _drill(site: Site, order: DrillOrder, listener: Listener) -> DrillReport:
    system = order.system
    backup = usable(site, system, order.id)
    thawing.ensure_readable(site.vault, backup.manifest.objects(), what=str(backup))
    # A system that left the configuration still has backups, and they can still be proven.
    settings = site.settings.systems.get(system)
    configured = settings.scratch.get() if settings and settings.scratch else None
    scratch = order.scratch or configured
    try:
        result = drill_backup(
            backup,
            DrillOptions(
                scratch_url=scratch,
                invariants=dict(settings.invariants) if settings else {},
                jobs=site.jobs(system),
            ),
            trees=files.settings_of(site, system),
            all_files=order.all_files,
            listener=listener,
        )
    except (Damaged, RestoreError) as error:
        # It could not be brought back: no proof that it once could holds any more. On a server that was
        # given, what failed may be the server.
        if scratch is None or isinstance(error, Damaged):
            finding = Finding.of_error(error)
            remember(site, system, backup.id, "drill", Report(str(backup), (finding,)))
        raise
    seconds = result.recovery_seconds
    unkept = remember(site, system, backup.id, "drill", result.report, seconds=seconds)
    report = replace(result.report, findings=(*result.report.findings, *unkept))
    return replace(result, report=health.accepted(site, system, report))
