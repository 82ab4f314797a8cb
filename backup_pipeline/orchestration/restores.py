"""restore_<system> and undo_<system>: rows go back into the living database. Each result is an event of <system>/restores.

The asset is none that a run makes: "Materialize all" must not write into a database. A job is a dry run until its configuration
names the digest of a plan that a person has looked at.
"""

# Without `from __future__ import annotations`: Dagster reads the type of `config` from the annotation.

from enum import Enum
from typing import Any, Optional

import dagster as dg
from pydantic import Field

from backup_pipeline.model.merge_orders import MergeOrder, UndoOrder
from backup_pipeline.operations import audit, merge, merge_sections, undo
from backup_pipeline.operations.merge import Approved, Merged
from backup_pipeline.orchestration.asset_plan import SystemPlan
from backup_pipeline.orchestration.metadata import Metadata, figures, findings_metadata
from backup_pipeline.orchestration.naming import SYSTEM_TAG, Names
from backup_pipeline.orchestration.orders import setting
from backup_pipeline.orchestration.resources import StepFailure, acting, given

_APPROVE = Field(
    "",
    description="The digest of a plan: do exactly that plan, or nothing. Without it the run is a dry run, and shows the "
    "digest of its plan.",
)
Strategy = Enum("Strategy", {"auto": "auto", "merge": "merge", "exact": "exact", "bulk": "bulk"})
Triggers = Enum("Triggers", {"auto": "auto", "fire": "fire", "off": "off"})
Lineage = Enum("Lineage", {"auto": "auto", "same": "same", "other": "other"})


class RestoreConfig(dg.Config):
    """In the launchpad: `ops: {shop__restore: {config: {only: [orders]}}}`; then the same with `approve: DIGEST`."""

    backup: str = Field("latest", description="An id, a day, latest, latest~2.")
    only: list[str] = setting(MergeOrder, "only")
    skip: list[str] = setting(MergeOrder, "skip")
    where: list[str] = setting(MergeOrder, "where")
    tenant: str = setting(MergeOrder, "tenant")
    create: bool = setting(MergeOrder, "create", default=True)
    update: str = setting(MergeOrder, "update", "Here: `all`, or newest:COLUMN.")
    delete: bool = setting(MergeOrder, "delete")
    from_environment: Optional[str] = setting(MergeOrder, "from_environment")  # noqa: UP045 — Dagster reads it
    strategy: Strategy = setting(MergeOrder, "strategy", default=Strategy.auto)
    triggers: Triggers = setting(MergeOrder, "triggers", default=Triggers.auto)
    lineage: Lineage = setting(MergeOrder, "lineage", default=Lineage.auto)
    remember: bool = setting(MergeOrder, "remember", default=True)
    approve: str = _APPROVE

    def order(self, system: str) -> MergeOrder:
        asked: dict[str, Any] = {
            name: value.value
            if isinstance(value, Enum)
            else tuple(value)
            if isinstance(value, list)
            else value
            for name, value in dict(self).items()
            if name not in ("backup", "approve")
        }
        return MergeOrder(system, self.backup, live=True, dry_run=not self.approve, **asked)


class UndoConfig(dg.Config):
    """In the launchpad: `ops: {shop__undo: {config: {restore: latest}}}`; then the same with `approve: DIGEST`."""

    restore: str = Field(
        "latest", description="The id of a restore, or latest: the newest that changed something."
    )
    except_changed: bool = setting(UndoOrder, "except_changed")
    approve: str = _APPROVE

    def order(self, system: str) -> UndoOrder:
        return UndoOrder(system, self.restore, except_changed=self.except_changed, dry_run=not self.approve)


def restores_asset(plan: SystemPlan) -> dg.AssetSpec:
    """shop/restores: what went back into the living database, when, and what it changed."""
    names, system = plan.names, plan.system
    return dg.AssetSpec(
        names.restores_key(system),
        group_name=names.group(system),
        deps=[names.manifest_key(system)],
        description=f"Restores into the living database of {system}, and what was undone. The jobs "
        f"{names.restore_job(system)} and {names.undo_job(system)} report here, and so do the commands.",
        kinds={plan.engine} if plan.engine else set(),
    )


def restore_job(plan: SystemPlan, executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    names, system = plan.names, plan.system

    @dg.op(name=names.step(system, "restore"), required_resource_keys={names.resource})
    def restore(context: dg.OpExecutionContext, config: RestoreConfig) -> None:
        backups = given(context, names)
        with acting(context, backups, "restore", system) as done:
            done.concludes = bool(config.approve)
            approved = Approved(config.approve) if config.approve else None
            order, listen = config.order(system), backups.listen(context.log)
            merged = merge.merge(backups.site, order, listen, approved=approved)
            done.learn(backup=merged.plan.backup_id, facts=audit.of_merge(merged))
            _tell(context, names, system, merged)

    return _job(plan, names.restore_job(system), restore, executor, "Puts rows of a backup back into")


def undo_job(plan: SystemPlan, executor: dg.ExecutorDefinition) -> dg.JobDefinition:
    names, system = plan.names, plan.system

    @dg.op(name=names.step(system, "undo"), required_resource_keys={names.resource})
    def take_back(context: dg.OpExecutionContext, config: UndoConfig) -> None:
        backups = given(context, names)
        with acting(context, backups, "undo", system) as done:
            done.concludes = bool(config.approve)
            approved = Approved(config.approve) if config.approve else None
            order, listen = config.order(system), backups.listen(context.log)
            merged = undo.undo(backups.site, order, listen, approved=approved)
            done.learn(facts=audit.of_merge(merged))
            _tell(context, names, system, merged)

    return _job(plan, names.undo_job(system), take_back, executor, "Undoes a restore into")


def _job(
    plan: SystemPlan, name: str, op: dg.OpDefinition, executor: dg.ExecutorDefinition, what: str
) -> dg.JobDefinition:
    @dg.job(
        name=name,
        executor_def=executor,
        tags={SYSTEM_TAG: plan.names.tag(plan.system)},
        description=f"{what} the living database of {plan.system}. A dry run, until `approve` names the digest of its plan.",
    )
    def made() -> None:
        op()

    return made


def _tell(context: dg.OpExecutionContext, names: Names, system: str, merged: Merged) -> None:
    """The event of the asset; then the failure, where not all was done."""
    metadata, plan = plan_metadata(merged), merged.plan
    wrote = bool(merged.restore_id)
    kind = dg.AssetMaterialization if wrote else dg.AssetObservation
    key = names.restores_key(system)
    told = f"{plan.did}: {merge_sections.summary(plan)}"
    context.log_event(kind(key, description=told, metadata=metadata))
    failure = plan.refusal or merge.lacking(plan, len(merged.rejected))
    if failure is not None:
        raise StepFailure.of(failure, metadata)


def plan_metadata(merged: Merged) -> Metadata:
    plan = merged.plan
    findings = (*plan.refused, *plan.findings, *merged.findings)
    return {
        "plan": dg.MetadataValue.md(_markdown(merge_sections.overview(plan))),
        "digest": dg.MetadataValue.text(plan.digest),
        "backup": dg.MetadataValue.text(plan.backup_id),
        "strategy": dg.MetadataValue.text(f"{plan.strategy}: {plan.why}"),
        **figures(audit.of_merge(merged)),
        **findings_metadata(findings, {}, sum(merged.seconds.values())),
    }


def _markdown(section: merge_sections.Section) -> str:
    """Names come from a database: they must not draw a table of their own."""
    lines = []
    if section.rows:
        flush = ["---:" if index in section.right else "---" for index in range(len(section.headers))]
        lines = [_row(section.headers), _row(flush), *map(_row, section.rows), ""]
    return "\n".join([*lines, *section.lines])


def _row(cells: "tuple[str, ...] | list[str]") -> str:
    return f"| {' | '.join(cell.replace('|', '∣').replace(chr(10), ' ') for cell in cells)} |"
