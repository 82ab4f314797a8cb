"""The whole graph of a configuration, put together; the only place that makes a `Definitions`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import dagster as dg

from backup_pipeline.config import Settings
from backup_pipeline.orchestration import aws, keeping
from backup_pipeline.orchestration.alerts import failure_alert
from backup_pipeline.orchestration.asset_checks import watch_checks
from backup_pipeline.orchestration.assets import live_assets, manifest_asset, read_assets
from backup_pipeline.orchestration.copies import copied_checks, copy_assets
from backup_pipeline.orchestration.drills import drill_asset
from backup_pipeline.orchestration.jobs import backup_job, copy_job, drill_job
from backup_pipeline.orchestration.plan import plan_of
from backup_pipeline.orchestration.resources import KEY, Backups
from backup_pipeline.orchestration.schedules import schedules
from backup_pipeline.orchestration.sensors import pending_migrations, watch
from backup_pipeline.orchestration.trees import live_trees, tree_assets
from backup_pipeline.project import Project


def build_defs(
    source: Settings | Project,
    *,
    systems: Iterable[str] | None = None,
    resources: Mapping[str, object] | None = None,
    executor: dg.ExecutorDefinition | None = None,
    loggers: Mapping[str, dg.LoggerDefinition] | None = None,
) -> dg.Definitions:
    """Definitions for all systems of a configuration, or for those named.

    Reads the inventories in the state folder and nothing else: no database, no vault, no secret. An `S3Resource` given
    as `s3` is what S3 stores without credentials of their own sign in with; see `aws`. Steps run in one
    process unless another executor is given: they share nothing but the vault, and reading has worker
    processes of its own.
    """
    given = dict(resources or {})
    project = aws.signed_in(source if isinstance(source, Project) else Project(source), given)
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = []
    checks: list[dg.AssetChecksDefinition] = []
    jobs: list[dg.UnresolvedAssetJobDefinition] = []
    timed: list[dg.ScheduleDefinition] = []
    sensors: list[dg.SensorDefinition] = []
    for system in project.systems if systems is None else systems:
        plan = plan_of(project, system)
        assets += [
            *live_assets(plan),
            *live_trees(project, plan),
            read_assets(project, plan),
            *tree_assets(project, plan),
            manifest_asset(project, plan),
            drill_asset(project, plan),
        ]
        copies = copy_assets(project, plan)
        assets += copies
        checks += [watch_checks(plan), *copied_checks(project, plan)]
        copied = [asset.key for asset in copies]
        jobs += [backup_job(plan, copied), drill_job(plan)]
        if copied:
            jobs.append(copy_job(plan, copied))
        timed += schedules(project, plan)
        if project.settings.retention_of(system) is not None:
            assets.append(keeping.retention_asset(project, plan))
            checks.append(keeping.retention_check(plan))
            jobs.append(keeping.prune_job(plan))
            timed += filter(None, [keeping.prune_schedule(project, plan)])
        if project.system(system).migrations is not None:
            sensors.append(pending_migrations(project, plan))
    if systems is None:
        assets.append(keeping.scrub_asset(project))
        checks.append(keeping.storage_check())
        jobs.append(keeping.scrub_job())
        timed += filter(None, [keeping.scrub_schedule(project)])
        sensors.append(watch(project))
        if project.settings.alerts:
            sensors.append(failure_alert(project))
    return dg.Definitions(
        assets=assets,
        asset_checks=checks,
        jobs=jobs,
        schedules=timed,
        sensors=sensors,
        # A launcher in this process brings the project itself, and has no other assets.
        resources={KEY: Backups(project), **({} if KEY in given else aws.offered(project, given)), **given},
        executor=executor or dg.in_process_executor,
        loggers=loggers,
    )
