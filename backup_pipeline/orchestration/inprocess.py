"""A run in this process: its definitions, its selection, its quiet, and what becomes of its failures.

`launch` is the door to this; it is apart because it is imported before Dagster is.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError  # not exported at the top

from backup_pipeline.errors import BackupError, ConfigError, ErrorsFound, Incomplete, ProofFailed
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.outcome import Outcome
from backup_pipeline.model.progress import Listener
from backup_pipeline.model.selection import matches
from backup_pipeline.operations import Site, copying, trees
from backup_pipeline.operations.copying import Copied
from backup_pipeline.operations.reading import resolve
from backup_pipeline.orchestration import processes
from backup_pipeline.orchestration.asset_checks import INLINE
from backup_pipeline.orchestration.asset_plan import SystemPlan, plan_of
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.instance import open_instance
from backup_pipeline.orchestration.launch import BackupRequest
from backup_pipeline.orchestration.naming import PLAIN, SYSTEM_TAG
from backup_pipeline.orchestration.resources import Backups, Kept, StepFailure

if TYPE_CHECKING:
    from backup_pipeline.operations.drill import DrillReport


def backup(
    site: Site,
    system: str,
    request: BackupRequest,
    listener: Listener,
    opened: Opened,
    copied: Callable[[Copied], None] = lambda _: None,
    judged: Callable[[Sequence[Outcome]], None] = lambda _: None,
    began: Callable[[str], None] = lambda _: None,
) -> Manifest:
    site.system(system)
    if site.known_inventory(system) is None:
        site.inventory(system)
    only = request.only
    selection = _selection(site, system, request) if only or not request.copies else None
    config: dict[str, Any] = {
        "kind": request.kind,
        "full": request.full,
        "only": list(only),
    }
    kept = Kept()
    run = _Run(
        PLAIN.backup_job(system),
        {
            "ops": {
                PLAIN.read_step(system): {"config": config},
                **_tree_config(site, system, selection, request),
            }
        },
        selection,
        Backups(site, listener, kept),
    )
    try:
        _execute(site, system, run, opened, began)
    except BackupError as error:
        if kept.manifest is not None and type(error) is ErrorsFound:
            pass  # the verdict: the run has failed for it, and the launcher is told what was found below
        elif kept.manifest is None or all(one.ok for one in kept.copied):
            raise
        if request.copies:
            _copy_the_rest(site, system, run.backups, opened, began)
    if kept.manifest is None:
        raise Incomplete(
            f"the run ended without a backup of {system}", remedy="look at the run in `backup-pipeline ui`"
        )
    judged(kept.outcomes)
    for one in kept.copied:
        copied(one)
    failure = copying.failure_of(kept.copied, made=kept.manifest.id)
    if failure is not None:
        raise failure
    return kept.manifest


def _copy_the_rest(
    site: Site, system: str, backups: Backups, opened: Opened, began: Callable[[str], None]
) -> None:
    """A run in this process ends with its first failed step; a copy that failed is no reason to leave others out."""
    for name in site.settings.copies_of(system):
        if any(one.name == name for one in backups.kept.copied):
            continue
        run = _Run(PLAIN.copy_job(system), {}, [PLAIN.copy_key(system, name)], backups)
        # What went wrong is in `kept`, beside the others.
        with suppress(BackupError):
            _execute(site, system, run, opened, began)


def drill(
    site: Site,
    system: str,
    identifier: str | None,
    listener: Listener,
    opened: Opened,
    began: Callable[[str], None] = lambda _: None,
) -> DrillReport:
    chosen = resolve(site, system, identifier)
    kept = Kept()
    run = _Run(
        PLAIN.drill_job(system),
        {"ops": {PLAIN.drill_step(system): {"config": {"backup": chosen}}}},
        None,
        Backups(site, listener, kept),
    )
    try:
        _execute(site, system, run, opened, began)
    except ProofFailed:
        if kept.drill is None:
            raise
    if kept.drill is None:
        raise Incomplete(
            f"the drill of {system} ended without a result", remedy="look at the run in `backup-pipeline ui`"
        )
    return kept.drill


@dataclass(frozen=True, slots=True)
class Opened:
    """Where a run is recorded; `close` is called when it is over."""

    instance: dg.DagsterInstance
    verbose: bool = False


@contextmanager
def opened(site: Site, instance: dg.DagsterInstance | None, *, verbose: bool) -> Iterator[Opened]:
    """The given instance, or that of this machine."""
    if instance is not None:
        yield Opened(instance, verbose)
        return
    with _quiet(verbose):  # that a home has no dagster.yaml is worth a line to Dagster each time
        made = open_instance(site)
    with made as found:
        yield Opened(found, verbose)


@dataclass(frozen=True, slots=True)
class _Run:
    job: str
    config: Mapping[str, Any]
    selection: Sequence[dg.AssetKey] | None
    backups: Backups


def _selection(site: Site, system: str, request: BackupRequest) -> list[dg.AssetKey]:
    """The assets of the named tables and groups (all, where none is named), and the copies where they are wanted."""
    if request.only:
        found = _chosen(site, system, request.only)
    else:
        plan = plan_of(site, system)
        found = [asset.key for asset in plan.assets]
        found += [PLAIN.tree_key(system, name) for name in plan.trees]
    names = site.settings.copies_of(system) if request.copies else ()
    copies = [PLAIN.copy_key(system, name) for name in names]
    return [PLAIN.schema_key(system), *found, PLAIN.manifest_key(system), *copies]


def _tree_config(
    site: Site, system: str, selection: Sequence[dg.AssetKey] | None, request: BackupRequest
) -> dict[str, Any]:
    return {
        PLAIN.tree_step(system, name): {"config": {"full": request.full}}
        for name in site.system(system).files
        if selection is None or PLAIN.tree_key(system, name) in selection
    }


def _chosen(site: Site, system: str, only: Sequence[str]) -> list[dg.AssetKey]:
    """Asks the database again where the graph does not know a name."""
    found = _named(plan_of(site, system), site, system, only)
    if found is None:
        site.inventory(system)
        found = _named(plan_of(site, system), site, system, only)
    if found is None:
        raise ConfigError(
            f"{', '.join(only)}: not all of these are groups, tables or file trees (files.NAME) of {system}",
            remedy=f"groups: {', '.join(site.system(system).groups) or 'none'}; "
            f"tables: `backup-pipeline inventory {system}`",
        )
    return found


def _named(plan: SystemPlan, site: Site, system: str, only: Sequence[str]) -> list[dg.AssetKey] | None:
    keys: dict[dg.AssetKey, None] = {}
    for name in only:
        globs = site.system(system).groups.get(name, (name,))
        hits = [
            asset.key
            for asset in plan.assets
            if any(matches(glob, table.id) for table in asset.tables for glob in globs)
        ]
        hits += [
            PLAIN.tree_key(system, tree)
            for tree in plan.trees
            if any(trees.names_tree(glob, tree) for glob in globs)
        ]
        if not hits:
            return None
        keys.update(dict.fromkeys(hits))
    return list(keys)


def _execute(
    site: Site,
    system: str,
    run: _Run,
    opened: Opened,
    began: Callable[[str], None] = lambda _: None,
) -> None:
    definitions = build_defs(
        site,
        systems=(system,),
        resources={PLAIN.resource: run.backups},
        loggers=None if opened.verbose else {"console": _nowhere},
    )
    job = definitions.resolve_job_def(run.job)
    with _quiet(opened.verbose):
        processes.fail_abandoned_runs(opened.instance)
        run_id = str(uuid.uuid4())
        began(run_id)
        try:
            job.execute_in_process(
                run_config={**run.config, **({} if opened.verbose else {"loggers": {"console": {}}})},
                instance=opened.instance,
                asset_selection=run.selection,
                run_id=run_id,
                tags={SYSTEM_TAG: PLAIN.tag(system), **processes.tags()},
            )
        except StepFailure as failure:
            if isinstance(failure.original, BackupError):
                raise failure.original from None
            raise failure.original from failure
        except dg.DagsterExecutionInterruptedError:
            raise KeyboardInterrupt from None
        except DagsterAssetCheckFailedError:
            raise _failed_check(run.backups.kept, system) from None


def _failed_check(kept: Kept, system: str) -> ProofFailed:
    blocking = {spec.name for spec in INLINE if spec.blocking}
    bad = [outcome for outcome in kept.outcomes if not outcome.passed and outcome.name in blocking]
    worst = next((outcome for outcome in bad if outcome.is_error), None)
    made = f" The backup {kept.manifest.id} was committed." if kept.manifest else ""
    if worst is None:
        return ProofFailed(f"a check of the backup of {system} failed.{made}", remedy="look at it in the UI")
    remedies = [finding.remedy for finding in worst.findings if finding.remedy]
    return ProofFailed(f"{worst.name}: {worst.description}.{made}", remedy=remedies[0] if remedies else "")


@dg.logger
def _nowhere(_: dg.InitLoggerContext) -> logging.Logger:
    """In the place of Dagster's console logger: the CLI has a progress display of its own."""
    found = logging.getLogger("backup_pipeline.nowhere")
    found.handlers = [logging.NullHandler()]
    found.propagate = False
    return found


@contextmanager
def _quiet(verbose: bool) -> Iterator[None]:
    """What Dagster says outside of a run's log, below errors, is not for the terminal."""
    logger = logging.getLogger("dagster")
    before = logger.level
    if not verbose:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
