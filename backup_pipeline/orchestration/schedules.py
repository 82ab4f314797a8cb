"""When the jobs run: the configuration's cron lines, in the system's time zone, and running without a switch.

A schedule in backup.yaml is a promise; one that waits for a click in a UI would be a backup that never ran. It can
still be stopped there.
"""

from __future__ import annotations

import dagster as dg

from backup_pipeline.operations import Site
from backup_pipeline.orchestration.asset_plan import SystemPlan


def schedules(site: Site, plan: SystemPlan) -> list[dg.ScheduleDefinition]:
    settings, zone = site.system(plan.system), site.settings.zone_of(plan.system)
    found, names = [], plan.names
    if settings.schedule is not None:
        found.append(
            dg.ScheduleDefinition(
                name=names.schedule(names.backup_job(plan.system)),
                job_name=names.backup_job(plan.system),
                cron_schedule=settings.schedule,
                execution_timezone=zone,
                default_status=dg.DefaultScheduleStatus.RUNNING,
                run_config={"ops": {names.read_step(plan.system): {"config": {"kind": "scheduled"}}}},
                description=f"Backs up {plan.system}: `{settings.schedule}` in {zone}.",
            )
        )
    if settings.drill_schedule is not None:
        found.append(
            dg.ScheduleDefinition(
                name=names.schedule(names.drill_job(plan.system)),
                job_name=names.drill_job(plan.system),
                cron_schedule=settings.drill_schedule,
                execution_timezone=zone,
                default_status=dg.DefaultScheduleStatus.RUNNING,
                description=f"Proves the newest backup of {plan.system}: `{settings.drill_schedule}` in {zone}.",
            )
        )
    return found
