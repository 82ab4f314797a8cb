"""How the two steps of a backup find each other, when they run in one run and when they do not.

The draft of an export waits in the vault under the id of the run that read it. A run that is re-executed from the
failure of its second step has another id; the ids of the runs that it descends from lead to the draft.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from enum import Enum

import dagster as dg

from backup_pipeline.errors import NotFound
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.orders import Kind
from backup_pipeline.operations.backup import commit
from backup_pipeline.orchestration.asset_plan import SystemPlan
from backup_pipeline.orchestration.naming import Names
from backup_pipeline.orchestration.resources import Backups

#: In the launchpad: why a backup is made. Dagster shows and takes the names, so they are the values.
BackupKind = Enum(
    "BackupKind", {"manual": "manual", "scheduled": "scheduled", "pre-migration": "pre-migration"}
)


def kind(asked: BackupKind) -> Kind:
    return asked.value


def digest_of(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


def manifest_follows(context: dg.AssetExecutionContext, names: Names, system: str) -> bool:
    """Whether this run, as it was launched or narrowed, has the step that commits."""
    return _has_step(context, names.manifest_key(system))


def trees_that_follow(context: dg.AssetExecutionContext, plan: SystemPlan) -> tuple[str, ...]:
    """The file trees whose steps are in this run."""
    return tuple(name for name in plan.trees if _has_step(context, plan.names.tree_key(plan.system, name)))


def _has_step(context: dg.AssetExecutionContext, key: dg.AssetKey) -> bool:
    steps = context.run.step_keys_to_execute
    if steps is not None:
        return key.to_python_identifier() in steps
    return key in context.job_def.asset_layer.executable_asset_keys


def commit_of_this_run(context: dg.AssetExecutionContext, backups: Backups, system: str) -> Manifest:
    """Commit the draft of this run, or of the run that it was re-executed from."""
    run = context.run
    for token in dict.fromkeys((run.run_id, run.parent_run_id, run.root_run_id)):
        if token is None:
            continue
        try:
            return commit(backups.site, system, token=token)
        except NotFound:
            done = committed_by(context.instance, backups, system, token)
            if done is not None:
                return backups.site.vault.backup(system, done).manifest
    raise NotFound(
        f"this run has read nothing of {system}, so there is nothing to commit",
        remedy=f"run the job {backups.names.backup_job(system)}, or select the tables together with the manifest",
    )


def backup_of_run(
    instance: dg.DagsterInstance, run: dg.DagsterRun, backups: Backups, system: str
) -> str | None:
    """The backup that a run, or the one that it was re-executed from, has committed."""
    for token in dict.fromkeys((run.run_id, run.parent_run_id, run.root_run_id)):
        done = token and committed_by(instance, backups, system, token)
        if done:
            return done
    return None


def committed_by(instance: dg.DagsterInstance, backups: Backups, system: str, run_id: str) -> str | None:
    """A run that was killed just after its commit left no draft: its backup is known by what it recorded."""
    for entry in instance.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION):
        made = entry.asset_materialization
        if made is None or backups.names.system_of_key(made.asset_key) != system:
            continue
        value = made.metadata.get("backup")
        if value is not None and str(value.value) in backups.site.vault.ids(system):
            return str(value.value)
    return None
