"""The drill: a real restore into a scratch database, compared row for row with the backup."""

# Without `from __future__ import annotations`: Dagster reads the type of `config` from the annotation.

import dagster as dg
from pydantic import Field

from backup_pipeline.errors import ProofFailed
from backup_pipeline.model.findings import Report
from backup_pipeline.model.orders import DrillOrder
from backup_pipeline.operations import Site, audit
from backup_pipeline.operations.audit import Doing
from backup_pipeline.operations.reading import resolve
from backup_pipeline.orchestration import tokens
from backup_pipeline.orchestration.asset_plan import SystemPlan
from backup_pipeline.orchestration.metadata import Metadata, figures, findings_metadata
from backup_pipeline.orchestration.resources import Backups, StepFailure, acting, given


class DrillConfig(dg.Config):
    """Which backup is restored. In the launchpad: `ops: {shop__drill: {config: {backup: "2026-…"}}}`."""

    backup: str = Field(
        "latest",
        description='An id, or "latest": the backup of this very run where it made one, else the newest full one.',
    )


def drill_asset(site: Site, plan: SystemPlan) -> dg.AssetsDefinition:
    """shop/drill: the proof that the newest backup restores, and how long that takes."""
    system, settings, names = plan.system, site.system(plan.system), plan.names

    @dg.asset(
        key=names.drill_key(system),
        deps=[names.manifest_key(system)],
        group_name=names.group(system),
        kinds={plan.engine} if plan.engine else set(),
        owners=list(settings.owners),
        tags=dict(settings.tags),
        pool=names.of("drill"),
        required_resource_keys={names.resource},
        description=f"The newest backup of {system}, restored into a scratch database and compared row for row. "
        "It is done when it is green; its recovery_seconds is the measured recovery time.",
    )
    def drill(context: dg.AssetExecutionContext, config: DrillConfig) -> dg.MaterializeResult:  # type: ignore[type-arg]
        backups = given(context, names)
        with acting(context, backups, "drill", system) as done:
            return _drill(context, backups, system, config.backup, done)

    return drill


def _drill(
    context: dg.AssetExecutionContext, backups: Backups, system: str, wanted: str, done: Doing
) -> dg.MaterializeResult[None]:
    from backup_pipeline.operations.drill import drill

    identifier = wanted
    if wanted in ("", "latest"):
        identifier = tokens.backup_of_run(context.instance, context.run, backups, system) or "latest"
    identifier = resolve(backups.site, system, identifier)
    done.learn(backup=identifier)
    result = drill(backups.site, DrillOrder(system, identifier), backups.listen(context.log))
    backups.kept.drill = result
    metadata: Metadata = {
        "backup": dg.MetadataValue.text(identifier),
        **figures(audit.of_drill(result)),
        **findings_metadata(result.report.findings, result.report.counted, result.report.seconds),
    }
    if not result.report.ok:
        raise _disproven(system, identifier, result.report, metadata)
    return dg.MaterializeResult(metadata=metadata)


def _disproven(system: str, identifier: str, report: Report, metadata: Metadata) -> StepFailure:
    first = report.errors[0]
    error = ProofFailed(
        f"the drill of {system} {identifier} found {len(report.errors)} differences: {first.message}",
        remedy=first.remedy or f"`backup-pipeline verify {system} {identifier}` says more",
    )
    return StepFailure.of(error, metadata)
