"""backup_<system> and drill_<system>: what the schedules, the CLI and the UI run."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from backup_pipeline.orchestration.asset_checks import WATCHED
from backup_pipeline.orchestration.asset_plan import SystemPlan
from backup_pipeline.orchestration.naming import SYSTEM_TAG


def backup_job(
    plan: SystemPlan, copies: Sequence[dg.AssetKey], executor: dg.ExecutorDefinition
) -> dg.UnresolvedAssetJobDefinition:
    system, names = plan.system, plan.names
    made = [
        names.schema_key(system),
        *(asset.key for asset in plan.assets),
        *(names.tree_key(system, name) for name in plan.trees),
        names.manifest_key(system),
        *copies,
    ]
    return dg.define_asset_job(
        names.backup_job(system),
        selection=dg.AssetSelection.assets(*made),
        tags={SYSTEM_TAG: names.tag(system)},
        executor_def=executor,
        description=f"A full backup of {system}: schema and tables in one snapshot, its files, manifest, checks, copies.",
    )


def copy_job(
    plan: SystemPlan, copies: Sequence[dg.AssetKey], executor: dg.ExecutorDefinition
) -> dg.UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        plan.names.copy_job(plan.system),
        selection=dg.AssetSelection.assets(*copies),
        tags={SYSTEM_TAG: plan.names.tag(plan.system)},
        executor_def=executor,
        description=f"Brings the copies of {plan.system} up to date: what a backup's run could not bring over.",
    )


def drill_job(plan: SystemPlan, executor: dg.ExecutorDefinition) -> dg.UnresolvedAssetJobDefinition:
    system, names = plan.system, plan.names
    key = names.manifest_key(system)
    checks = dg.AssetSelection.checks(*(dg.AssetCheckKey(key, text.name) for text in WATCHED))
    return dg.define_asset_job(
        names.drill_job(system),
        selection=dg.AssetSelection.assets(names.drill_key(system)) | checks,
        tags={SYSTEM_TAG: names.tag(system)},
        executor_def=executor,
        description=f"Restores the newest full backup of {system} into a scratch database and compares it.",
    )
