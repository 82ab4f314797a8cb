"""backup_<system> and drill_<system>: what the schedules, the CLI and the UI run."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

from backup_pipeline.orchestration import naming
from backup_pipeline.orchestration.asset_checks import WATCHED
from backup_pipeline.orchestration.plan import SystemPlan

SYSTEM_TAG = naming.SYSTEM_TAG


def backup_job(plan: SystemPlan, copies: Sequence[dg.AssetKey] = ()) -> dg.UnresolvedAssetJobDefinition:
    system = plan.system
    made = [
        naming.schema_key(system),
        *(asset.key for asset in plan.assets),
        *(naming.tree_key(system, name) for name in plan.trees),
        naming.manifest_key(system),
        *copies,
    ]
    return dg.define_asset_job(
        naming.backup_job(system),
        selection=dg.AssetSelection.assets(*made),
        tags={SYSTEM_TAG: system},
        description=f"A full backup of {system}: schema and tables in one snapshot, its files, manifest, checks, copies.",
    )


def copy_job(plan: SystemPlan, copies: Sequence[dg.AssetKey]) -> dg.UnresolvedAssetJobDefinition:
    return dg.define_asset_job(
        naming.copy_job(plan.system),
        selection=dg.AssetSelection.assets(*copies),
        tags={SYSTEM_TAG: plan.system},
        description=f"Brings the copies of {plan.system} up to date: what a backup's run could not bring over.",
    )


def drill_job(plan: SystemPlan) -> dg.UnresolvedAssetJobDefinition:
    system = plan.system
    key = naming.manifest_key(system)
    checks = dg.AssetSelection.checks(*(dg.AssetCheckKey(key, text.name) for text in WATCHED))
    return dg.define_asset_job(
        naming.drill_job(system),
        selection=dg.AssetSelection.assets(naming.drill_key(system)) | checks,
        tags={SYSTEM_TAG: system},
        description=f"Restores the newest full backup of {system} into a scratch database and compares it.",
    )
