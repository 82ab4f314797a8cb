"""The assets of a backup: what is read (schema and tables, one step) and what makes it a backup (the manifest).

Traps of Dagster that shaped this (each was measured):
- A multi-asset that may not be subset records *all* its assets even when it yields one: so it may be subset, and what
  it produced is compared with what was selected, here, at the end.
- One that may be subset and yields less leaves a run whose downstream is skipped. So a table that is not in the database
  any more gives an output without a materialization: its asset stays as it was, and manifest and copies follow.
- A run without the manifest would be no backup: then the reading step commits by itself, and says so.
"""

# Without `from __future__ import annotations`: Dagster reads the type of `config` from the annotation.

from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

import dagster as dg
from dagster._core.definitions.source_asset import SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION

from backup_pipeline.config import SystemSettings
from backup_pipeline.errors import ConfigError, Damaged, ErrorsFound, Incomplete, NotFound
from backup_pipeline.model.manifest import FORMAT, Manifest
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.model.outcome import failed, found_by
from backup_pipeline.model.overview import Listed
from backup_pipeline.model.schema import Schema
from backup_pipeline.model.version import __version__
from backup_pipeline.operations import Site, health
from backup_pipeline.operations.audit import Doing
from backup_pipeline.operations.backup import backup, commit, export
from backup_pipeline.operations.listing import listed
from backup_pipeline.orchestration import tokens
from backup_pipeline.orchestration.asset_checks import INLINE, file_checks, result, with_unknown
from backup_pipeline.orchestration.asset_plan import SystemPlan, TableAsset
from backup_pipeline.orchestration.metadata import (
    Metadata,
    left_out_table,
    manifest_metadata,
    schema_of_tables_metadata,
    table_metadata,
)
from backup_pipeline.orchestration.orders import setting
from backup_pipeline.orchestration.resources import Backups, acting, given

#: Of an event that is no step's result.
DATA_VERSION_TAG = "dagster/data_version"
#: How many earlier backups the size is shown of.
HISTORY = 20


class ReadConfig(dg.Config):
    """How a backup is read. In the launchpad: `ops: {shop__read: {config: {full: true}}}`."""

    full: bool = setting(BackupOrder, "full")
    kind: tokens.BackupKind = setting(BackupOrder, "kind", default=tokens.BackupKind.manual)
    only: list[str] = setting(
        BackupOrder, "only", "Narrower than the assets that are selected. Empty: all of them."
    )


def live_assets(plan: SystemPlan) -> list[dg.AssetSpec]:
    """The living database, so that lineage goes all the way back to it: as one, unless `live_assets` says otherwise."""
    told = {
        asset.live: asset.title if asset.live != plan.names.live_key(plan.system) else ""
        for asset in plan.assets
    }
    return [
        dg.AssetSpec(
            key,
            group_name=plan.names.group(plan.system),
            description=f"{f'{title} in the' if title else 'The'} live database of {plan.system}. Not made by a backup; "
            "what is read from.",
            kinds={plan.engine, "source"} if plan.engine else {"source"},
        )
        for key, title in told.items()
    ]


def read_assets(site: Site, plan: SystemPlan) -> dg.AssetsDefinition:
    """shop/schema and shop/tables/*: one consistent moment of the database, read once into the vault."""
    system, settings, names = plan.system, site.system(plan.system), plan.names

    @dg.multi_asset(
        name=names.read_step(system),
        specs=[_schema_spec(plan, settings), *(_table_spec(plan, settings, asset) for asset in plan.assets)],
        can_subset=True,
        pool=names.pool(system),
        required_resource_keys={names.resource},
        description=f"Reads {system} in one snapshot; every table of a run shows the same moment.",
    )
    def read(context: dg.AssetExecutionContext, config: ReadConfig) -> Iterator[dg.MaterializeResult[None]]:
        backups = given(context, names)
        with acting(context, backups, "backup", system, concludes=False) as done:
            yield from _read(context, config, backups, plan, done)

    return read


def _read(
    context: dg.AssetExecutionContext,
    config: ReadConfig,
    backups: Backups,
    plan: SystemPlan,
    done: Doing,
) -> Iterator[dg.MaterializeResult[None]]:
    system, names = plan.system, plan.names
    chosen = plan.selected(context.selected_asset_keys)
    trees = tokens.trees_that_follow(context, plan)
    only = _only(plan, chosen, trees, config)
    commits = tokens.manifest_follows(context, names, system)
    draft = export(
        backups.site,
        BackupOrder(system, kind=tokens.kind(config.kind), full=config.full, only=only),
        backups.listen(context.log),
        token=context.run.run_id,
        # Without a step that commits, the trees are read here, and their steps find them in the backup.
        trees_follow=commits and bool(trees),
    )
    manifest = draft if commits else commit(backups.site, system, token=context.run.run_id)
    schema = backups.site.vault.backup_of(manifest).schema
    if names.schema_key(system) in context.selected_asset_keys:
        yield dg.MaterializeResult(
            asset_key=names.schema_key(system),
            metadata=_schema_metadata(manifest, schema, plan),
            data_version=dg.DataVersion(manifest.schema.plain_sha256),
        )
    missing = []
    for asset in chosen:
        result = _table_result(asset, manifest, schema)
        if result is None:
            missing.append(asset.title)
            yield _nothing_of(asset)  # type: ignore[misc]  # Dagster takes both
        else:
            yield result
    if missing:
        context.log.error(f"not in this backup: {', '.join(missing[:50])}; what there is, is backed up")
    if not commits:
        done.learn(backup=manifest.id)
        done.concludes = True
        backups.kept.manifest = manifest
        found = found_by(health.judge(backups.site, manifest))
        done.judge(manifest.id, found)
        _commit_was_here(context, backups, manifest)
        if missing:
            _refuse_to_be_green(manifest, missing)
        if failure := failed(ErrorsFound, f"the backup {manifest.id} is made, with an error", found):
            raise failure


def _only(
    plan: SystemPlan, chosen: Sequence[TableAsset], trees: Sequence[str], config: ReadConfig
) -> tuple[str, ...]:
    """What to ask for: nothing (all there is, also what the graph does not know) or just what was selected."""
    if config.only:
        return tuple(config.only)
    files = tuple(f"files.{name}" for name in trees)
    if len(chosen) == len(plan.assets):
        return () if len(trees) == len(plan.trees) else ("*", *files)
    if not chosen and not trees:
        raise ConfigError(
            f"no table of {plan.system} is selected, and a backup without a table is none",
            remedy=f"select the tables as well, or run the job {plan.names.backup_job(plan.system)}",
        )
    return (*(glob for asset in chosen for glob in asset.globs()), *files)


def _table_result(asset: TableAsset, manifest: Manifest, schema: Schema) -> dg.MaterializeResult[None] | None:
    entries = [entry for entry in manifest.tables if asset.holds(entry.id)]
    if not entries:
        return None
    engine = manifest.engine.name
    if asset.together:
        metadata = schema_of_tables_metadata(entries, manifest, engine)
        version = dg.DataVersion(tokens.digest_of(f"{e.id}\0{e.fingerprint}" for e in entries))
    else:
        metadata = table_metadata(entries[0], schema.table(entries[0].id), manifest, engine)
        version = dg.DataVersion(entries[0].fingerprint or manifest.id)
    return dg.MaterializeResult(asset_key=asset.key, metadata=metadata, data_version=version)


def _nothing_of(asset: TableAsset) -> dg.Output[None]:
    """Lets what follows run, and records nothing of the asset. Dagster has no public way to say so."""
    told = {SYSTEM_METADATA_KEY_SOURCE_ASSET_OBSERVATION: True}
    return dg.Output(None, output_name=asset.key.to_python_identifier(), metadata=told)


def _refuse_to_be_green(manifest: Manifest, missing: list[str]) -> None:
    """Without the manifest's step no check of this run shows the finding."""
    raise Incomplete(
        f"{len(missing)} tables of the graph are not in the database any more: {', '.join(missing[:10])}. "
        f"What there is was backed up ({manifest.id})",
        remedy="if they were dropped on purpose, reload the definitions (in the UI: Deployment → Reload): the list of "
        f"tables was renewed. If not: `backup-pipeline list {manifest.system}` shows the backups that have them",
    )


def _commit_was_here(context: dg.AssetExecutionContext, backups: Backups, manifest: Manifest) -> None:
    """The manifest's own step is not part of this run, or is not reached: its history must name this backup all
    the same."""
    key = backups.names.manifest_key(manifest.system)
    context.log.info(f"this step committed the backup, because that of {key.to_user_string()} does not")
    context.log_event(
        dg.AssetMaterialization(
            key,
            description=f"Backup {manifest.id}, committed by the reading step, which failed where a check of it failed.",
            metadata=backup_metadata(backups.site, manifest),
            tags={DATA_VERSION_TAG: version_of(manifest)},
        )
    )


def version_of(manifest: Manifest) -> str:
    """The data version of the manifest's asset. It is that of the definitions: a drill counts as out of step when it
    proved another schema, and not after every night. What the rows are is the version of each table."""
    return manifest.schema.plain_sha256


def manifest_asset(site: Site, plan: SystemPlan) -> dg.AssetsDefinition:
    """shop/manifest: the commit point. Before it there is no backup; after it there is one, and it is checked."""
    system, settings, names = plan.system, site.system(plan.system), plan.names
    key = names.manifest_key(system)

    @dg.asset(
        key=key,
        deps=[
            names.schema_key(system),
            *(asset.key for asset in plan.assets),
            *(names.tree_key(system, name) for name in plan.trees),
        ],
        group_name=names.group(system),
        kinds={"json"},
        owners=list(settings.owners),
        tags=dict(settings.tags),
        code_version=_code_version(),
        pool=names.pool(system),
        required_resource_keys={names.resource},
        check_specs=[spec.dagster_spec(key) for spec in (*INLINE, *file_checks(site, system))],
        freshness_policy=_freshness(site, system),
        description=f"The newest backup of {system}: what it holds, how it was read, and whether it is whole. "
        "Materializing it alone makes a full backup in one step; the job "
        f"{names.backup_job(system)} also shows every table, and makes the copies. "
        "Selecting some tables with it makes a partial backup, which never counts as the latest one.",
    )
    def manifest(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        backups = given(context, names)
        with acting(context, backups, "backup", system) as done:
            committed = _committed(context, backups, system)
            backups.kept.manifest = committed
            done.learn(backup=committed.id)
            checks = backups.kept.outcomes = with_unknown(
                health.judge(backups.site, committed), plan, committed
            )
            done.judge(committed.id, (finding for one in checks for finding in one.findings))
            return dg.MaterializeResult(
                metadata=backup_metadata(backups.site, committed),
                data_version=dg.DataVersion(version_of(committed)),
                check_results=[result(outcome, key) for outcome in checks],
            )

    return manifest


def _committed(context: dg.AssetExecutionContext, backups: Backups, system: str) -> Manifest:
    try:
        return tokens.commit_of_this_run(context, backups, system)
    except NotFound:
        if context.run.parent_run_id is not None:
            raise  # re-executed: what was read is gone, and this run has the configuration of that one
        context.log.info("this run has read nothing: the whole backup is made in this step")
        return backup(backups.site, BackupOrder(system), backups.listen(context.log)).manifest


def backup_metadata(site: Site, manifest: Manifest) -> Metadata:
    """What the manifest shows of a backup, and its size beside those before it."""
    system = manifest.system
    ids = [identifier for identifier in site.vault.ids(system) if identifier <= manifest.id][-HISTORY:]
    history = [line for line in _readable(site, system, ids) if line.scope == manifest.scope]
    where = f"{site.vault.store.address}/{site.vault.backup(system, manifest.id).manifest_key}"
    return manifest_metadata(manifest, listed(site, system, manifest.id), where, history)


def _readable(site: Site, system: str, ids: Sequence[str]) -> Iterator[Listed]:
    """A backup does not fail because an older one is damaged: `status` and `verify` name that one."""
    for identifier in ids:
        with suppress(Damaged):
            yield listed(site, system, identifier)


def _schema_metadata(manifest: Manifest, schema: Schema, plan: SystemPlan) -> Metadata:
    found: Metadata = {
        "backup": dg.MetadataValue.text(manifest.id),
        "tables": dg.MetadataValue.int(len(schema.tables)),
        "foreign_keys": dg.MetadataValue.int(sum(len(table.foreign_keys) for table in schema.tables)),
        "sequences": dg.MetadataValue.int(len(schema.sequences)),
        "other_objects": dg.MetadataValue.int(len(schema.objects)),
        "engine": dg.MetadataValue.text(f"{manifest.engine.name} {manifest.engine.version}"),
        "made_by": dg.MetadataValue.text(", ".join(sorted({section.made_by for section in manifest.ddl}))),
    }
    unknown = plan.unknown(manifest)
    if unknown:
        found["not_in_the_graph_yet"] = dg.MetadataValue.text(", ".join(str(table) for table in unknown[:50]))
    if manifest.left_out:
        found["left_out"] = left_out_table(manifest.left_out)
    return found


def _schema_spec(plan: SystemPlan, settings: SystemSettings) -> dg.AssetSpec:
    text = f"The definitions of {plan.system}: tables, keys, sequences and everything else, of the same moment as the rows."
    if not plan.inventoried:
        text += (
            "\n\nThe tables are not known yet: they appear after the first backup, or after "
            f"`backup-pipeline inventory {plan.system}`, when the definitions are reloaded."
        )
    return dg.AssetSpec(
        plan.names.schema_key(plan.system),
        description=text,
        group_name=plan.names.group(plan.system),
        kinds=_kinds(plan, "sql"),
        owners=list(settings.owners),
        tags=dict(settings.tags),
        code_version=_code_version(),
        skippable=True,
    )


def _table_spec(plan: SystemPlan, settings: SystemSettings, asset: TableAsset) -> dg.AssetSpec:
    groups = settings.selection.groups_of(tuple(table.id for table in asset.tables))
    member_of = [name for name, members in groups.items() if members]
    lines = [f"{asset.title}, as it was in the snapshot of the newest backup."]
    if asset.together:
        lines = [f"{asset.title}: {len(asset.tables)} tables in one asset; they stand in the metadata."]
    if member_of:
        lines.append(f"Groups: {', '.join(member_of)}.")
    metadata: dict[str, object] = {"dagster/storage_kind": plan.engine}
    if not asset.together:
        metadata["dagster/table_name"] = asset.title
    return dg.AssetSpec(
        asset.key,
        deps=[asset.live],
        description="\n\n".join(lines),
        metadata=metadata,
        group_name=plan.names.group(plan.system),
        kinds=_kinds(plan, "table"),
        owners=list(settings.owners),
        tags=dict(settings.tags),
        code_version=_code_version(),
        skippable=True,
    )


def _kinds(plan: SystemPlan, other: str) -> set[str]:
    return {plan.engine, other} if plan.engine else {other}


def _code_version() -> str:
    """Changes when the same rows would become other bytes."""
    return f"{__version__}-format{FORMAT}"


def _freshness(site: Site, system: str) -> dg.FreshnessPolicy | None:
    seconds = health.deadline(site, system)
    return (
        None
        if seconds is None
        else dg.FreshnessPolicy.time_window(fail_window=timedelta(seconds=max(60.0, seconds)))
    )
