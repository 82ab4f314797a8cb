"""`restore`: bring the database of a backup back, into an empty or a new one. `files` brings back its files."""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.postgres.restore import remainder
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.model.orders import RestoreOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import diagnosing, thawing
from backup_pipeline.operations.reading import usable
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time
from backup_pipeline.restores import RestorePlan, RestoreResult
from backup_pipeline.restores import plan_restore as plan_of
from backup_pipeline.restores import restore as bring_back

__all__ = ["RestorePlan", "RestoreResult", "plan_restore", "remainder", "restore", "terms_of"]


def plan_restore(site: Site, order: RestoreOrder) -> RestorePlan:
    system = order.system
    with diagnosing.explained(site, system):
        plan = plan_of(usable(site, system, order.id), order.to, _options(site, order))
        return replace(plan, refused=diagnosing.exact_findings(site, system, plan.refused))


@takes_time
def restore(site: Site, order: RestoreOrder, listener: Listener = silent) -> RestoreResult:
    """With `dry_run`, the result of a restore that keeps nothing."""
    system = order.system
    with diagnosing.explained(site, system):
        backup = usable(site, system, order.id)
        if not order.dry_run:
            thawing.ensure_readable(site.vault, backup.manifest.objects(), what=str(backup))
        return bring_back(backup, order.to, _options(site, order), listener=listener)


def _options(site: Site, order: RestoreOrder) -> RestoreOptions:
    return RestoreOptions(
        create=order.create,
        jobs=order.jobs or site.jobs(order.system),
        dry_run=order.dry_run,
        terms=terms_of(order),
    )


def terms_of(order: RestoreOrder) -> Terms:
    return Terms(
        owner=order.owner,
        privileges=order.privileges,
        code=order.code,
        keep_going=order.keep_going,
        roles=order.roles,
    )
