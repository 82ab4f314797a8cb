"""shop/files/*: one asset a file tree, read after the snapshot of the database and part of the same backup.

A tree is a step of its own, so that trees are read side by side where the executor has the workers for it. It leaves
its part beside the draft of the run, and the manifest's step puts both together.
"""

# Without `from __future__ import annotations`: Dagster reads the type of `config` from the annotation.

import dagster as dg

from backup_pipeline.config import SystemSettings
from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.errors import Incomplete, NotFound
from backup_pipeline.model.manifest import FileTree, Manifest
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site, trees
from backup_pipeline.operations.audit import Doing
from backup_pipeline.operations.backup import backup
from backup_pipeline.orchestration import tokens
from backup_pipeline.orchestration.asset_plan import SystemPlan
from backup_pipeline.orchestration.metadata import Metadata, as_size, findings_table
from backup_pipeline.orchestration.orders import setting
from backup_pipeline.orchestration.resources import Backups, acting, given


class TreeConfig(dg.Config):
    """How a tree is read. In the launchpad: `ops: {shop__files__media: {config: {full: true}}}`."""

    full: bool = setting(BackupOrder, "full", "Of files: neither their size nor their times are trusted.")


def live_trees(site: Site, plan: SystemPlan) -> list[dg.AssetSpec]:
    """The living folders, so that lineage goes all the way back to them."""
    return [
        dg.AssetSpec(
            plan.names.live_tree_key(plan.system, name),
            group_name=plan.names.group(plan.system),
            description=f"The live files {name} of {plan.system}. Not made by a backup; what is read from.",
            kinds={_kind(tree), "source"},
        )
        for name, tree in site.system(plan.system).files.items()
    ]


def _kind(tree: FilesSettings) -> str:
    return "s3" if tree.bucket is not None else "dropbox" if tree.dropbox is not None else "file"


def tree_assets(site: Site, plan: SystemPlan) -> list[dg.AssetsDefinition]:
    settings = site.system(plan.system)
    return [_tree_asset(plan, name, settings) for name in settings.files]


def _tree_asset(plan: SystemPlan, name: str, settings: SystemSettings) -> dg.AssetsDefinition:
    system, names = plan.system, plan.names

    @dg.asset(
        key=names.tree_key(system, name),
        # After the snapshot: every file that a row of this backup names can be there.
        deps=[names.schema_key(system), names.live_tree_key(system, name)],
        group_name=names.group(system),
        kinds={_kind(settings.files[name])},
        owners=list(settings.owners),
        tags=dict(settings.tags),
        pool=names.pool(system),
        required_resource_keys={names.resource},
        description=f"The files {name} of {system}, as they were right after the snapshot of the rows. What "
        "did not change since the backup before is not read again; a content is stored once.",
    )
    def tree(context: dg.AssetExecutionContext, config: TreeConfig) -> dg.MaterializeResult:  # type: ignore[type-arg]
        backups = given(context, names)
        with acting(context, backups, "backup", system, concludes=False) as done:
            return _read(context, backups, system, name, done, full=config.full)

    return tree


def _read(
    context: dg.AssetExecutionContext, backups: Backups, system: str, name: str, done: Doing, *, full: bool
) -> dg.MaterializeResult[None]:
    site = backups.site
    manifest = _into_the_draft(context, backups, system, name, full=full)
    if manifest is None:
        # Its own step is all that was selected: what was asked for is backed up, as a partial backup.
        manifest = backup(
            site, BackupOrder(system, only=(f"files.{name}",), full=full), backups.listen(context.log)
        ).manifest
        backups.kept.manifest = manifest
        done.learn(backup=manifest.id)
        done.concludes = True
        context.log.info(
            f"no snapshot of the database belongs to this run: {manifest.id} is a partial backup"
        )
    tree = manifest.tree(name)
    if tree is None:
        raise Incomplete(
            f"the backup {manifest.id} of {system} does not hold the files {name}",
            remedy="run the job again; if it happens twice, report it",
        )
    return dg.MaterializeResult(
        metadata=tree_metadata(tree, manifest), data_version=dg.DataVersion(tree.fingerprint or manifest.id)
    )


def _into_the_draft(
    context: dg.AssetExecutionContext, backups: Backups, system: str, name: str, *, full: bool
) -> Manifest | None:
    """The draft of this run (or of the one that it was re-executed from) with the tree in it; a backup that was
    committed there and holds the tree; None where neither is."""
    site, run = backups.site, context.run
    for token in dict.fromkeys((run.run_id, run.parent_run_id, run.root_run_id)):
        if token is None:
            continue
        try:
            return trees.export_tree(
                site, system, name, token=token, full=full, listener=backups.listen(context.log)
            )
        except NotFound:
            done = tokens.committed_by(context.instance, backups, system, token)
            if done is not None and (committed := site.vault.backup(system, done).manifest).tree(name):
                return committed
    return None


def tree_metadata(tree: FileTree, manifest: Manifest) -> Metadata:
    """What a tree's asset shows; the UI draws the figures over time."""
    found: Metadata = {
        "backup": dg.MetadataValue.text(manifest.id),
        "read_from": dg.MetadataValue.text(tree.address),
        "size": dg.MetadataValue.text(f"{tree.files:,} files, {as_size(tree.bytes)}"),
        "files": dg.MetadataValue.int(tree.files),
        "bytes": dg.MetadataValue.int(tree.bytes),
        "new_files": dg.MetadataValue.int(tree.new_files),
        "new_bytes": dg.MetadataValue.int(tree.new_bytes),
        "missed": dg.MetadataValue.int(tree.missed),
        "packs": dg.MetadataValue.int(len(tree.packs)),
        "folders": dg.MetadataValue.int(tree.folders),
        "links": dg.MetadataValue.int(tree.links),
        "fingerprint": dg.MetadataValue.text(tree.fingerprint),
    }
    about = [finding for finding in manifest.findings if finding.tree == tree.name]
    if about:
        found["findings"] = findings_table(about)
    return found
