"""shop/retention and vault/scrub: what is kept of a system and why, and the vault read back; and the checks on them.

A prune that found something in its way fails its run, with the same findings as the command. A retention that silently
stopped is a disk that fills up, or a broken rule.
"""

# Without `from __future__ import annotations`: Dagster reads the type of `config` from the annotation.

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import dagster as dg
from pydantic import Field

from backup_pipeline.errors import BackupError, NotPruned, ProofFailed
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.orders import PruneOrder, ScrubOrder
from backup_pipeline.model.outcome import failed
from backup_pipeline.operations import Site, audit, monitoring
from backup_pipeline.operations.prune import PruneReport, prune_with_copies
from backup_pipeline.operations.scrub import scrub as scrub_vault
from backup_pipeline.orchestration.asset_checks import CheckText, result
from backup_pipeline.orchestration.asset_plan import SystemPlan
from backup_pipeline.orchestration.metadata import Metadata, as_size, figures, findings_metadata
from backup_pipeline.orchestration.naming import SYSTEM_TAG, Names
from backup_pipeline.orchestration.orders import setting
from backup_pipeline.orchestration.resources import StepFailure, acting, failures_told, given

RETENTION = CheckText(
    "retention",
    "What is kept reaches as far back as the rules promise, without a gap in the days they cover.",
)
STORAGE = CheckText("storage", "The vault's disk is not full soon, at the rate at which it grows.")
#: Schedules of several systems come round at the same minute, and not every Dagster instance limits the pool: then one
#: prune waits so many seconds for the other, which is no failure that anybody should be told of.
PATIENCE = 900.0
#: Rows of the table of backups.
MOST = 200


#: By the name of a copy.
Copies = Mapping[str, PruneReport | BackupError]


class PruneConfig(dg.Config):
    """In the launchpad: `ops: {shop__retention: {config: {delete: true}}}`. The job prune_shop says so by itself."""

    delete: bool = Field(
        False, description="Forget and delete. Without it the asset says what would go, and changes nothing."
    )
    despite_anomaly: bool = setting(PruneOrder, "despite_anomaly")


class ScrubConfig(dg.Config):
    """In the launchpad: `ops: {vault__scrub: {config: {everything: true}}}`."""

    everything: bool = setting(ScrubOrder, "everything")


def retention_asset(site: Site, plan: SystemPlan) -> dg.AssetsDefinition:
    """shop/retention: what is kept and why. It deletes only where a run says so: it is part of "Materialize all"."""
    system, settings, names = plan.system, site.system(plan.system), plan.names

    @dg.asset(
        key=names.retention_key(system),
        deps=[names.manifest_key(system)],
        group_name=names.group(system),
        owners=list(settings.owners),
        tags=dict(settings.tags),
        pool=names.of("prune"),
        required_resource_keys={names.resource},
        description=f"Which backups of {system} are kept, and why; and which would go. Materializing it deletes nothing: the job "
        f"{names.prune_job(system)} forgets those that no rule wants, and deletes what nothing has named for the "
        "grace time" + _in_copies(site, system) + ".",
    )
    def retention(context: dg.AssetExecutionContext, config: PruneConfig) -> dg.MaterializeResult:  # type: ignore[type-arg]
        backups = given(context, names)
        with acting(context, backups, "prune", system) as done:
            done.concludes = config.delete
            order = PruneOrder(
                system,
                dry_run=not config.delete,
                despite_anomaly=config.despite_anomaly,
                patience=PATIENCE,
            )
            report, copies = prune_with_copies(backups.site, order, backups.listen(context.log))
            findings = (*report.findings, *_of_copies(copies))
            return _materialized(_prune_metadata(report, copies, findings), findings, NotPruned)

    return retention


def _in_copies(site: Site, system: str) -> str:
    settings = site.settings
    names = [name for name in settings.copies_of(system) if settings.copy_settings(name).prune]
    return f", here and in {', '.join(names)}" if names else ""


def _of_copies(copies: Copies) -> Iterator[Finding]:
    for name, found in copies.items():
        if isinstance(found, BackupError):
            yield Finding.of("copy-not-pruned", why=found.message, remedy=found.remedy, name=name)
            continue
        for one in found.findings:
            yield replace(one, message=f"copy {name}: {one.message}")


def _materialized(
    metadata: Metadata, findings: tuple[Finding, ...], kind: type[NotPruned] | type[ProofFailed]
) -> dg.MaterializeResult[None]:
    error = failed(kind, "", findings)
    if error is None:
        return dg.MaterializeResult(metadata=metadata)
    raise StepFailure.of(error, metadata)


def _prune_metadata(report: PruneReport, copies: Copies, findings: Sequence[Finding]) -> Metadata:
    (plan,) = report.systems or (None,)
    backups = plan.backups if plan else ()
    rows = [
        # Few columns and no number that wants to be read twice: the UI gives the table a third of the page.
        dg.TableRecord(
            {
                "backup": one.id,
                "alone holds": as_size(one.own),
                "why": "; ".join(one.reasons) if one.keep else "FORGET: no rule wants it",
            }
        )
        for one in reversed(backups[-MOST:])
    ]
    found: Metadata = {
        **figures(audit.of_prune(report)),
        **findings_metadata(findings, {}, report.seconds),
    }
    if report.dry_run:
        found["would_forget"] = _going(report)
    for name, there in copies.items():
        if isinstance(there, PruneReport) and there.dry_run:
            found[f"would_forget_in_{name}"] = _going(there)
        elif isinstance(there, PruneReport):
            found[f"forgotten_in_{name}"] = dg.MetadataValue.int(len(there.forgotten))
            found[f"freed_bytes_in_{name}"] = dg.MetadataValue.int(there.freed.bytes)
    if rows:
        found["backups"] = dg.MetadataValue.table(rows)
    return found


def _going(report: PruneReport) -> dg.MetadataValue:
    return dg.MetadataValue.int(sum(len(plan.forgotten) for plan in report.systems))


def scrub_asset(site: Site, names: Names) -> dg.AssetsDefinition:
    """vault/scrub: the part of the vault that was not read back for the longest."""

    @dg.asset(
        key=names.scrub_key,
        group_name=names.vault_group,
        pool=names.of("scrub"),
        required_resource_keys={names.resource},
        description="The vault, read back and hashed, a part each time: all of it within "
        f"{site.settings.scrub.window_days} days. Takes no key.",
    )
    def scrub(context: dg.AssetExecutionContext, config: ScrubConfig) -> dg.MaterializeResult:  # type: ignore[type-arg]
        backups = given(context, names)
        with acting(context, backups, "scrub"):
            order = ScrubOrder(everything=config.everything)
            found = scrub_vault(backups.site, order, backups.listen(context.log))
            metadata: Metadata = {
                **figures(audit.of_scrub(found)),
                **findings_metadata(found.report.findings, found.report.counted, found.report.seconds),
            }
            return _materialized(metadata, found.report.findings, ProofFailed)

    return scrub


def retention_check(plan: SystemPlan) -> dg.AssetChecksDefinition:
    names = plan.names
    key = names.retention_key(plan.system)

    @dg.asset_check(
        name=RETENTION.name,
        asset=key,
        description=RETENTION.description,
        required_resource_keys={names.resource},
    )
    def retention(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        backups = given(context, names)
        with failures_told(backups.site):
            return result(monitoring.retention(backups.site, plan.system), key)

    return retention


def storage_check(names: Names) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name=STORAGE.name,
        asset=names.scrub_key,
        description=STORAGE.description,
        required_resource_keys={names.resource},
    )
    def storage(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        backups = given(context, names)
        with failures_told(backups.site):
            return result(monitoring.storage(backups.site), names.scrub_key)

    return storage


def daily_checks(site: Site, names: Names) -> Iterator[dg.AssetCheckKey]:
    """What is judged once a day, while nothing runs: growth is only seen by looking again and again."""
    yield dg.AssetCheckKey(names.scrub_key, STORAGE.name)
    for system in site.systems:
        if site.settings.retention_of(system) is not None:
            yield dg.AssetCheckKey(names.retention_key(system), RETENTION.name)


def daily_job(site: Site, names: Names, executor: dg.ExecutorDefinition) -> "dg.UnresolvedAssetJobDefinition":
    return dg.define_asset_job(
        names.daily_job,
        selection=dg.AssetSelection.checks(*daily_checks(site, names)),
        executor_def=executor,
        description="Judges `storage` and the `retention` of every system; the sensor `watch` starts it once a day.",
    )


def prune_job(plan: SystemPlan, executor: dg.ExecutorDefinition) -> "dg.UnresolvedAssetJobDefinition":
    system, names = plan.system, plan.names
    key = names.retention_key(system)
    check = dg.AssetSelection.checks(dg.AssetCheckKey(key, RETENTION.name))
    return dg.define_asset_job(
        names.prune_job(system),
        selection=dg.AssetSelection.assets(key) | check,
        config={"ops": {names.retention_step(system): {"config": {"delete": True}}}},
        tags={SYSTEM_TAG: names.tag(system)},
        executor_def=executor,
        description=f"Forgets the backups of {system} that no rule wants, and frees what nothing names any more.",
    )


def scrub_job(names: Names, executor: dg.ExecutorDefinition) -> "dg.UnresolvedAssetJobDefinition":
    check = dg.AssetSelection.checks(dg.AssetCheckKey(names.scrub_key, STORAGE.name))
    return dg.define_asset_job(
        names.scrub_job,
        selection=dg.AssetSelection.assets(names.scrub_key) | check,
        executor_def=executor,
        description="Reads back the part of the vault that was not read for the longest, and looks at its size and its disk.",
    )


def prune_schedule(site: Site, plan: SystemPlan) -> dg.ScheduleDefinition | None:
    policy, zone = site.settings.retention_of(plan.system), site.settings.zone_of(plan.system)
    job = plan.names.prune_job(plan.system)
    if policy is None or policy.schedule is None:
        return None
    return dg.ScheduleDefinition(
        name=plan.names.schedule(job),
        job_name=job,
        cron_schedule=policy.schedule,
        execution_timezone=zone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Prunes {plan.system}: `{policy.schedule}` in {zone}.",
    )


def scrub_schedule(site: Site, names: Names) -> dg.ScheduleDefinition | None:
    settings = site.settings
    if settings.scrub.schedule is None:
        return None
    return dg.ScheduleDefinition(
        name=names.schedule(names.scrub_job),
        job_name=names.scrub_job,
        cron_schedule=settings.scrub.schedule,
        execution_timezone=settings.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Reads the vault back, a part each time: `{settings.scrub.schedule}` in {settings.timezone}.",
    )
