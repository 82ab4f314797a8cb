"""The functions of `import backup_pipeline`: each makes the order of its verb from the keywords, and has it done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from backup_pipeline.errors import BackupError as BackupError
from backup_pipeline.errors import UsageError
from backup_pipeline.model.merge_orders import AroundOrder, MergeOrder, UndoOrder
from backup_pipeline.model.orders import (
    BackupOrder,
    Config,
    CopyOrder,
    DrillOrder,
    FilesOrder,
    Order,
    QueryOrder,
    RepairOrder,
    RestoreOrder,
    VerifyOrder,
)
from backup_pipeline.operations import Site as Site

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pandas as pd

    from backup_pipeline.model.findings import Report
    from backup_pipeline.model.manifest import Manifest
    from backup_pipeline.model.overview import Listed
    from backup_pipeline.operations.around import Change
    from backup_pipeline.operations.audit import Doing
    from backup_pipeline.operations.copy import Copied
    from backup_pipeline.operations.drill import DrillReport
    from backup_pipeline.operations.files import FilesPlan, FilesResult
    from backup_pipeline.operations.merge import Merged, MergePlan
    from backup_pipeline.operations.repair import RepairReport
    from backup_pipeline.operations.restore import RestoreResult

P = ParamSpec("P")
O = TypeVar("O", bound=Order)  # noqa: E741
R = TypeVar("R")


def load(config: Config = None) -> Site:
    """What a backup.yaml describes, ready to be worked with."""
    if isinstance(config, Site):
        return config
    return Site.load(config)  # type: ignore[arg-type]  # there is no other `Loaded`


def _verb(order: Callable[P, O]) -> Callable[[Callable[[Site, O], R]], Callable[P, R]]:
    """The function takes the keywords of the order, and does what that order asks for."""

    def made(deed: Callable[[Site, O], R]) -> Callable[P, R]:
        def verb(*args: P.args, **kwargs: P.kwargs) -> R:
            asked = order(*args, **kwargs)
            return deed(load(asked.config), asked)

        verb.__name__ = verb.__qualname__ = deed.__name__
        verb.__doc__ = deed.__doc__
        verb.__wrapped__ = order  # type: ignore[attr-defined]  # its signature, for `help`
        return verb

    return made


@_verb(BackupOrder)
def backup(site: Site, order: BackupOrder) -> Manifest:
    """Make a backup. `only` names groups or tables, and makes it a partial one. A backup with an error (a row
    without its file, a table that is empty or gone) is made, and raises ErrorsFound with its id."""
    from backup_pipeline.operations import audit
    from backup_pipeline.operations.backup import backup

    with _doing(site, "backup", order.system) as done:
        made = backup(site, order)
        done.learn(backup=made.manifest.id, checks=audit.checks_of(made.outcomes))
        if made.failure:
            raise made.failure
        return made.manifest


@_verb(VerifyOrder)
def verify(site: Site, order: VerifyOrder) -> Report:
    """Check what is stored of one backup (or of `all`), and remember the outcome beside it."""
    from backup_pipeline.operations.verify import verify

    with _doing(site, "verify", order.system, order.id) as done:
        report = verify(site, order)
        done.learn(backup="" if order.id == "all" else site.vault.resolve(order.system, order.id))
        done.judge("the verification failed", report.findings)
        return report


@_verb(RestoreOrder)
def restore(site: Site, order: RestoreOrder) -> RestoreResult:
    """Bring a backup back into an empty or new database. `lacking` of the result is what could not be made: nothing
    unless `keep_going` is set or the target lacks a role."""
    from backup_pipeline.operations.restore import restore

    if order.dry_run:
        return restore(site, order)
    with _doing(site, "restore", order.system, order.id) as done:
        result = restore(site, order)
        if result.lacking:
            done.judge("restored, but for some statements", [result.lacking[0].finding()])
        return result


def restore_files(
    system: str,
    id: str | None = None,
    *,
    to: str | Path,
    dry_run: bool = False,
    config: Config = None,
    **which: Any,
) -> FilesResult | FilesPlan:
    """Bring file trees back into a folder: one that is named is the folder itself, several (or none named: all) are
    folders in it. `dry_run` gives the plan. More keywords: the fields of `FilesOrder`."""
    from pathlib import Path

    from backup_pipeline.operations import files

    order, site = FilesOrder(**which), load(config)
    if dry_run:
        return files.plan_restore_files(site, system, id, Path(to), order)
    with _doing(site, "restore", system, id):
        return files.restore_files(site, system, id, Path(to), order)


@_verb(MergeOrder)
def plan_restore(site: Site, order: MergeOrder) -> PlannedRestore:
    """What it would mean to put rows of a backup back into a database that lives on (`live=True`, or `to`). Nothing is written
    before `apply` of the answer, which does exactly this plan or raises."""
    from backup_pipeline.operations import merge

    return PlannedRestore(site, order, merge.plan(site, order))


@dataclass(frozen=True, slots=True)
class PlannedRestore:
    site: Site
    order: MergeOrder
    plan: MergePlan

    def show(self) -> None:
        from backup_pipeline.operations import merge_sections

        print(
            merge_sections.as_text([merge_sections.overview(self.plan), *merge_sections.sections(self.plan)])
        )

    def apply(self) -> Merged:
        """Raises where the plan is refused, or would be another by now. Rows that are not written stand in the answer."""
        from backup_pipeline.operations import audit, merge

        self.plan.raise_if_refused()
        order = replace(self.order, id=self.plan.backup_id)
        approved = merge.Approved(self.plan.digest, self.plan.target)
        if order.dry_run:
            return merge.merge(self.site, order, approved=approved)
        with _doing(self.site, "restore", order.system, order.id) as done:
            merged = merge.merge(self.site, order, approved=approved)
            done.learn(facts=audit.of_merge(merged))
            return merged


@_verb(UndoOrder)
def undo(site: Site, order: UndoOrder) -> Merged:
    """Take a restore into a living database back: the newest that changed something, or one by its id. Raises where rows were
    changed since, unless `except_changed` undoes the rest."""
    from backup_pipeline.operations import audit
    from backup_pipeline.operations.undo import undo

    if order.dry_run:
        return undo(site, order)
    with _doing(site, "undo", order.system) as done:
        merged = undo(site, order)
        done.learn(facts=audit.of_merge(merged))
        return merged


@contextmanager
def around(system: str, *, config: Config = None, **asked: Any) -> Iterator[Work]:
    """Back the system up, and after the block compare the rows. Keywords: those of `AroundOrder`; with `undo_over=5` the work is
    undone when it changed or deleted more than 5% of the rows of a table."""
    from backup_pipeline.operations import around

    site, order = load(config), AroundOrder(system, **asked)
    with _doing(site, "around", system) as done:
        work = Work(site, order, around.before(site, order))
        done.learn(backup=work.backup)
        try:
            yield work
        finally:
            work.change = around.compare(site, order, work.backup)
            if work.change.beyond(order.undo_over):
                work.undo()
            done.learn(facts=around.figures(work.change))


@dataclass(slots=True)
class Work:
    """What is done inside of `around`."""

    site: Site
    order: AroundOrder
    #: Of before the block.
    backup: str
    #: Known after the block.
    change: Change | None = None

    def show(self) -> None:
        from backup_pipeline.operations import around, merge_sections

        print(merge_sections.as_text(around.sections(self._known())))

    def undo(self) -> Change:
        """Put the rows back as they were before the block, or raise where they were written since."""
        from backup_pipeline.operations import around

        self.change = around.undo(self.site, self.order, self._known())
        return self.change

    def _known(self) -> Change:
        if self.change is None:
            raise UsageError("the block has not ended", remedy="compare after the `with` block")
        return self.change


@_verb(DrillOrder)
def drill(site: Site, order: DrillOrder) -> DrillReport:
    """Restore into a scratch database, compare row for row, and remember that it was proven. Of file trees a sample is
    restored, or all."""
    from backup_pipeline.operations import audit
    from backup_pipeline.operations.drill import drill

    with _doing(site, "drill", order.system, order.id) as done:
        result = drill(site, order)
        done.learn(facts=audit.of_drill(result))
        done.judge("the drill failed", result.findings)
        return result


def list_backups(system: str | None = None, *, config: Config = None) -> tuple[Listed, ...]:
    """The backups of one system or of all, oldest first."""
    from backup_pipeline.operations.listing import list_backups

    return list_backups(load(config), system)


def show(system: str, id: str | None = None, *, config: Config = None) -> Manifest:
    """Everything that one backup says of itself."""
    from backup_pipeline.operations.reading import show

    return show(load(config), system, id)


def read_table(system: str, id: str | None, table: str, *, config: Config = None) -> pd.DataFrame:
    """One table of a backup as a DataFrame, without a restore."""
    from backup_pipeline.operations.query import read_table

    return read_table(load(config), system, id, table)


@_verb(QueryOrder)
def query(site: Site, order: QueryOrder) -> pd.DataFrame:
    """SQL over the tables of a backup, without a restore."""
    from backup_pipeline.operations.query import query

    return query(site, order)


@_verb(CopyOrder)
def copy(site: Site, order: CopyOrder) -> tuple[Copied, ...]:
    """Bring the copies of a system up to date: all that each lacks, unless one backup is named."""
    from backup_pipeline.operations import audit
    from backup_pipeline.operations.copy import copy

    with _doing(site, "copy", order.system, order.id) as done:
        copied = copy(site, order)
        done.acts = audit.of_copies(copied)
        return copied


@_verb(RepairOrder)
def repair(site: Site, order: RepairOrder) -> RepairReport:
    """Heal the vault, or a copy, from the other places."""
    from backup_pipeline.operations import audit
    from backup_pipeline.operations.repair import repair

    if order.dry_run:
        return repair(site, order)
    with _doing(site, "repair", order.system, place=order.place) as done:
        report = repair(site, order)
        done.learn(facts=audit.of_repair(report))
        done.judge("not all could be healed", report.findings)
        return report


def _doing(
    site: Site, verb: str, system: str, id: str | None = None, *, place: str | None = None
) -> AbstractContextManager[Doing]:
    """The act of a function has a line in the log of acts, as those of commands and of the graph have."""
    from backup_pipeline.operations import audit

    act = replace(audit.about(verb, system, id, place or site.place), origin="python")
    return audit.acting(audit.Writer(lambda: site), act)
