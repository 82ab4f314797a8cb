"""The whole graph of a configuration, put together; the only place that makes a `Definitions`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg

from backup_pipeline.config import Settings
from backup_pipeline.operations import Site
from backup_pipeline.orchestration import aws
from backup_pipeline.orchestration.asset_checks import verdict_check, watch_checks
from backup_pipeline.orchestration.asset_plan import SystemPlan, plan_of
from backup_pipeline.orchestration.assets import live_assets, manifest_asset, read_assets
from backup_pipeline.orchestration.copies import copied_checks, copy_assets
from backup_pipeline.orchestration.drills import drill_asset
from backup_pipeline.orchestration.jobs import backup_job, copy_job, drill_job
from backup_pipeline.orchestration.naming import PLAIN, Names
from backup_pipeline.orchestration.resources import Backups
from backup_pipeline.orchestration.schedules import schedules
from backup_pipeline.orchestration.trees import live_trees, tree_assets


@dataclass(frozen=True, slots=True)
class _Parts:
    """What definitions are made of, as it comes together."""

    executor: dg.ExecutorDefinition
    assets: list[dg.AssetsDefinition | dg.AssetSpec] = field(default_factory=list)
    checks: list[dg.AssetChecksDefinition] = field(default_factory=list)
    jobs: list[dg.UnresolvedAssetJobDefinition | dg.JobDefinition] = field(default_factory=list)
    schedules: list[dg.ScheduleDefinition] = field(default_factory=list)
    sensors: list[dg.SensorDefinition] = field(default_factory=list)

    def definitions(
        self, resources: Mapping[str, object], loggers: Mapping[str, dg.LoggerDefinition] | None = None
    ) -> dg.Definitions:
        return dg.Definitions(
            assets=self.assets,
            asset_checks=self.checks,
            jobs=self.jobs,
            schedules=self.schedules,
            sensors=self.sensors,
            resources=resources,
            loggers=loggers,
        )


def build_defs(
    source: Settings | Site,
    *,
    systems: Iterable[str] | None = None,
    prefix: str = "",
    resources: Mapping[str, object] | None = None,
    executor: dg.ExecutorDefinition | None = None,
) -> dg.Definitions:
    """Definitions for all systems of a configuration, or for those named; what watches and alerts is of the same systems.

    Reads the inventories in the state folder and nothing else: no database, no vault, no secret. `prefix` stands before
    every name: with it several configurations have room in one code location. An `S3Resource` given
    as `s3` is what S3 stores without credentials of their own sign in with; see `aws`. The steps of its jobs run in one
    process unless another executor is given: they share nothing but the vault, and reading has worker
    processes of its own. The jobs of other assets in the same code location run as they did.
    """
    given, names = dict(resources or {}), Names(prefix)
    site = aws.signed_in(source if isinstance(source, Site) else Site(source), given)
    if systems is not None:
        site = _only(site, tuple(systems))
    parts = _Parts(executor or dg.in_process_executor)
    for system in site.systems:
        plan = plan_of(site, system, names)
        _add_system(parts, site, plan)
        _add_upkeep(parts, site, plan)
    _add_vault(parts, site, names)
    offered = {names.of(key): one for key, one in aws.offered(site, given).items()}
    return parts.definitions({names.resource: Backups(site, names=names), **offered, **given})


def defs_of_a_run(site: Site, system: str, backups: Backups, console: dg.LoggerDefinition) -> dg.Definitions:
    """The definitions of a run in this process: one system, and nothing that watches, prunes or alerts.

    The modules that watch are not loaded for it: a command of the CLI waits for every import.
    """
    parts = _Parts(dg.in_process_executor)
    _add_system(parts, site, plan_of(site, system))
    return parts.definitions({PLAIN.resource: backups}, {"console": console})


def _only(site: Site, systems: tuple[str, ...]) -> Site:
    chosen = {name: site.system(name) for name in systems}
    settings = site.settings.model_copy(update={"systems": chosen})
    return type(site)(settings, clock=site.clock, place=site.place)


def _add_system(parts: _Parts, site: Site, plan: SystemPlan) -> None:
    executor = parts.executor
    copies = copy_assets(site, plan)
    parts.assets.extend(
        [
            *live_assets(plan),
            *live_trees(site, plan),
            read_assets(site, plan),
            *tree_assets(site, plan),
            manifest_asset(site, plan),
            drill_asset(site, plan),
            *copies,
        ]
    )
    copied = [asset.key for asset in copies]
    parts.checks.extend([watch_checks(plan), verdict_check(plan, copied), *copied_checks(site, plan)])
    parts.jobs.extend([backup_job(plan, copied, executor), drill_job(plan, executor)])
    if copied:
        parts.jobs.append(copy_job(plan, copied, executor))
    parts.schedules.extend(schedules(site, plan))


def _add_upkeep(parts: _Parts, site: Site, plan: SystemPlan) -> None:
    from backup_pipeline.orchestration import maintenance, restores
    from backup_pipeline.orchestration.sensors import pending_migrations

    system = plan.system
    parts.assets.append(restores.restores_asset(plan))
    parts.jobs.extend(make(plan, parts.executor) for make in (restores.restore_job, restores.undo_job))
    if site.settings.retention_of(system) is not None:
        parts.assets.append(maintenance.retention_asset(site, plan))
        parts.checks.append(maintenance.retention_check(plan))
        parts.jobs.append(maintenance.prune_job(plan, parts.executor))
        parts.schedules.extend(filter(None, [maintenance.prune_schedule(site, plan)]))
    if site.system(system).migrations is not None:
        parts.sensors.append(pending_migrations(site, plan))


def _add_vault(parts: _Parts, site: Site, names: Names) -> None:
    from backup_pipeline.orchestration import maintenance
    from backup_pipeline.orchestration.alerts import failure_alert
    from backup_pipeline.orchestration.history import history
    from backup_pipeline.orchestration.sensors import watch
    from backup_pipeline.orchestration.subjects import subjects_of

    parts.assets.append(maintenance.scrub_asset(site, names))
    parts.checks.append(maintenance.storage_check(names))
    parts.jobs.append(maintenance.scrub_job(names, parts.executor))
    parts.schedules.extend(filter(None, [maintenance.scrub_schedule(site, names)]))
    parts.jobs.append(maintenance.daily_job(site, names, parts.executor))
    parts.sensors.extend([watch(site, names), history(site, names)])
    if site.settings.alerts:
        heard = subjects_of(
            site, names, [*parts.assets, *parts.checks], parts.jobs, [*parts.schedules, *parts.sensors]
        )
        parts.sensors.append(failure_alert(site, names, heard))


def without_configuration(folder: Path) -> dg.Definitions:
    """Of a folder that has no backup.yaml, such as a fresh clone: what to do, where a traceback would be."""
    todo = (
        f"Nothing is backed up: there is no backup.yaml in {folder}. Write one with: backup-pipeline init --database URL. "
        "Or see how it looks with: make demo, then make ui. "
        "Then reload this code location (Deployment, Reload)."
    )

    @dg.asset(key="no_configuration", group_name="backup_pipeline", description=todo)
    def no_configuration() -> None:
        raise dg.Failure(todo, allow_retries=False)

    return dg.Definitions(assets=[no_configuration])
