"""backup_<system> and drill_<system>: what the schedules, the CLI and the UI run."""

from __future__ import annotations

import dagster as dg

from backup_pipeline.orchestration import naming
from backup_pipeline.orchestration.asset_checks import WATCHED
from backup_pipeline.orchestration.plan import SystemPlan

#: What a run's tags say about it; the launcher and the sensors look for them.
SYSTEM_TAG = "backup_pipeline/system"


def backup_job(plan: SystemPlan) -> dg.UnresolvedAssetJobDefinition:
    system = plan.system
    made = [
        naming.schema_key(system),
        *(asset.key for asset in plan.assets),
        naming.manifest_key(system),
    ]
    return dg.define_asset_job(
        naming.backup_job(system),
        selection=dg.AssetSelection.assets(*made),
        tags={SYSTEM_TAG: system},
        description=f"A full backup of {system}: schema and tables in one snapshot, manifest, checks.",
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
