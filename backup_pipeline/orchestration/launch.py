"""Run a job in this very process, in the persistent instance: the way of `backup-pipeline backup` and `drill`.

The run has the definitions, the steps and the history of a run from the UI or by schedule. It needs no daemon. An
error is raised as it happened, and Dagster's own lines are kept from the terminal.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError  # not exported at the top

from backup_pipeline.errors import (
    BackupError,
    ErrorsFound,
    HistoryUnavailable,
    Incomplete,
    ProofFailed,
)
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.model.selection import matches
from backup_pipeline.operations import Site, choosing_tables, trees
from backup_pipeline.operations.backup import Hearing
from backup_pipeline.operations.copy import failure_of
from backup_pipeline.operations.reading import resolve
from backup_pipeline.orchestration import processes
from backup_pipeline.orchestration.asset_checks import INLINE
from backup_pipeline.orchestration.asset_plan import SystemPlan, plan_of
from backup_pipeline.orchestration.graph import defs_of_a_run
from backup_pipeline.orchestration.instance import open_instance
from backup_pipeline.orchestration.naming import PLAIN, SYSTEM_TAG
from backup_pipeline.orchestration.resources import Backups, Kept, StepFailure

if TYPE_CHECKING:
    from backup_pipeline.operations.drill import DrillReport


SILENCE = Hearing()


@dataclass(frozen=True, slots=True)
class _Launch:
    """Runs of one system that share an instance; `kept` is what their steps made."""

    site: Site
    system: str
    hearing: Hearing
    instance: dg.DagsterInstance | None
    kept: Kept = field(default_factory=Kept)

    def execute(
        self, job: str, config: Mapping[str, Any], selection: Sequence[dg.AssetKey] | None = None
    ) -> None:
        definitions = defs_of_a_run(
            self.site, self.system, Backups(self.site, self.hearing.listener, self.kept), _nowhere
        )
        resolved = definitions.resolve_job_def(job)
        with _quiet(), self._opened() as instance:
            processes.fail_abandoned_runs(instance)
            run_id = str(uuid.uuid4())
            self.hearing.began(run_id)
            try:
                resolved.execute_in_process(
                    run_config={"ops": config, "loggers": {"console": {}}},
                    instance=instance,
                    asset_selection=selection,
                    run_id=run_id,
                    tags={SYSTEM_TAG: PLAIN.tag(self.system), **processes.tags()},
                )
            except StepFailure as failure:
                if isinstance(failure.original, BackupError):
                    raise failure.original from None
                raise failure.original from failure
            except dg.DagsterExecutionInterruptedError:
                raise KeyboardInterrupt from None
            except DagsterAssetCheckFailedError:
                raise _failed_check(self.kept, self.system) from None

    @contextmanager
    def _opened(self) -> Iterator[dg.DagsterInstance]:
        """The given instance, or the instance of this machine.

        A broken dagster.yaml, a read-only folder and a database that is down mean the same: no history. The commands
        go on without it.
        """
        try:
            made = nullcontext(self.instance) if self.instance else open_instance(self.site)
        except Exception as error:
            raise HistoryUnavailable(
                f"the Dagster instance cannot be opened: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
                remedy="mend its dagster.yaml or the folder it lies in; $DAGSTER_HOME names another",
            ) from error
        with made as found:
            yield found


def run_backup(
    site: Site,
    order: BackupOrder,
    *,
    copies: bool = True,
    hearing: Hearing = SILENCE,
    instance: dg.DagsterInstance | None = None,
) -> Manifest:
    """The job backup_<system>, here and now.

    An error is raised as it happened, a failed blocking check included. A copy that could not be made is CopyFailed, after all
    others are done.
    """
    system = order.system
    site.system(system)
    if site.known_inventory(system) is None:
        site.inventory(system)
    selection = _selection(site, system, order.only, copies=copies) if order.only or not copies else None
    config = {"kind": order.kind, "full": order.full, "only": list(order.only)}
    launch = _Launch(site, system, hearing, instance)
    kept = launch.kept
    try:
        launch.execute(
            PLAIN.backup_job(system),
            {
                PLAIN.read_step(system): {"config": config},
                **_tree_config(site, system, selection, order),
            },
            selection,
        )
    except BackupError as error:
        if kept.manifest is not None and type(error) is ErrorsFound:
            pass  # the verdict: the run has failed for it, and the caller hears of the checks below
        elif kept.manifest is None or all(one.ok for one in kept.copied):
            raise
        if copies:
            _copy_the_rest(launch)
    if kept.manifest is None:
        raise Incomplete(
            f"the run ended without a backup of {system}", remedy="look at the run in `backup-pipeline ui`"
        )
    hearing.judged(kept.outcomes)
    for one in kept.copied:
        hearing.copied(one)
    failure = failure_of(kept.copied, made=kept.manifest.id)
    if failure is not None:
        raise failure
    return kept.manifest


def _copy_the_rest(launch: _Launch) -> None:
    """A run in this process ends with its first failed step; a copy that failed is no reason to leave others out."""
    for name in launch.site.settings.copies_of(launch.system):
        if any(one.name == name for one in launch.kept.copied):
            continue
        # The failure is in `kept`, beside the others.
        with suppress(BackupError):
            launch.execute(PLAIN.copy_job(launch.system), {}, [PLAIN.copy_key(launch.system, name)])


def run_drill(
    site: Site,
    system: str,
    identifier: str | None = None,
    *,
    hearing: Hearing = SILENCE,
    instance: dg.DagsterInstance | None = None,
) -> DrillReport:
    """The job drill_<system>, here and now. A drill that finds a difference is a report, not an exception."""
    chosen = resolve(site, system, identifier)
    launch = _Launch(site, system, hearing, instance)
    try:
        launch.execute(PLAIN.drill_job(system), {PLAIN.drill_step(system): {"config": {"backup": chosen}}})
    except ProofFailed:
        if launch.kept.drill is None:
            raise
    if launch.kept.drill is None:
        raise Incomplete(
            f"the drill of {system} ended without a result", remedy="look at the run in `backup-pipeline ui`"
        )
    return launch.kept.drill


def _selection(site: Site, system: str, only: Sequence[str], *, copies: bool) -> list[dg.AssetKey]:
    """The assets of the named tables and groups (all, where none is named), and the copies where they are wanted."""
    if only:
        found = _chosen(site, system, only)
    else:
        plan = plan_of(site, system)
        found = [asset.key for asset in plan.assets]
        found += [PLAIN.tree_key(system, name) for name in plan.trees]
    names = site.settings.copies_of(system) if copies else ()
    copied = [PLAIN.copy_key(system, name) for name in names]
    return [PLAIN.schema_key(system), *found, PLAIN.manifest_key(system), *copied]


def _tree_config(
    site: Site, system: str, selection: Sequence[dg.AssetKey] | None, order: BackupOrder
) -> dict[str, Any]:
    return {
        PLAIN.tree_step(system, name): {"config": {"full": order.full}}
        for name in site.system(system).files
        if selection is None or PLAIN.tree_key(system, name) in selection
    }


def _chosen(site: Site, system: str, only: Sequence[str]) -> list[dg.AssetKey]:
    """Asks the database again where the graph does not know a name."""
    names, plan = choosing_tables.split(only), plan_of(site, system)
    groups = trees.groups_and_trees(site, system)
    if not all(_named(plan, groups.get(name) or (name,)) for name in names):
        site.inventory(system)
        plan = plan_of(site, system)
    keys: dict[dg.AssetKey, None] = {}
    for name in names:
        hits = _named(plan, groups.get(name) or (name,))
        if not hits:
            known = [table.id for asset in plan.assets for table in asset.tables]
            raise choosing_tables.unknown(
                name, known, groups, listed_by=f"backup-pipeline inventory {system}"
            )
        keys.update(dict.fromkeys(hits))
    return list(keys)


def _named(plan: SystemPlan, globs: Sequence[str]) -> list[dg.AssetKey]:
    tables = [
        asset.key
        for asset in plan.assets
        if any(matches(glob, table.id) for table in asset.tables for glob in globs)
    ]
    files = [
        PLAIN.tree_key(plan.system, tree)
        for tree in plan.trees
        if any(trees.names_tree(glob, tree) for glob in globs)
    ]
    return tables + files


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
def _quiet() -> Iterator[None]:
    """Below errors, Dagster's lines outside of a run's log are not for the terminal."""
    logger = logging.getLogger("dagster")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
