"""The functions of `import backup_pipeline`: each makes the order of its verb from the keywords, and has it done."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from backup_pipeline.errors import BackupError as BackupError
from backup_pipeline.model.orders import (
    BackupOrder,
    Config,
    CopyOrder,
    DrillOrder,
    FilesOrder,
    Order,
    RepairOrder,
    RestoreOrder,
    VerifyOrder,
)
from backup_pipeline.operations import Project as Project

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pandas as pd

    from backup_pipeline.model.findings import Report
    from backup_pipeline.model.manifest import Manifest
    from backup_pipeline.operations import Listed
    from backup_pipeline.operations.copying import Copied, RepairReport
    from backup_pipeline.operations.drill import DrillReport
    from backup_pipeline.operations.files import FilesPlan, FilesResult
    from backup_pipeline.operations.restore import RestoreResult
    from backup_pipeline.state.acts import Doing

P = ParamSpec("P")
O = TypeVar("O", bound=Order)  # noqa: E741
R = TypeVar("R")


def load(config: Config = None) -> Project:
    """What a backup.yaml describes, ready to be worked with."""
    if isinstance(config, Project):
        return config
    return Project.load(config)  # type: ignore[arg-type]  # there is no other `Loaded`


def _verb(order: Callable[P, O]) -> Callable[[Callable[[Project, O], R]], Callable[P, R]]:
    """The function takes the keywords of the order, and does what that order asks for."""

    def made(deed: Callable[[Project, O], R]) -> Callable[P, R]:
        def verb(*args: P.args, **kwargs: P.kwargs) -> R:
            asked = order(*args, **kwargs)
            return deed(load(asked.config), asked)

        verb.__name__ = verb.__qualname__ = deed.__name__
        verb.__doc__ = deed.__doc__
        verb.__wrapped__ = order  # type: ignore[attr-defined]  # its signature, for `help`
        return verb

    return made


@_verb(BackupOrder)
def backup(project: Project, order: BackupOrder) -> Manifest:
    """Make a backup. `only` names groups or tables, and makes it a partial one. A backup that is made and has an error (a
    row without its file, a table that is empty or gone) raises ErrorsFound, which names it."""
    from backup_pipeline.operations import acted
    from backup_pipeline.operations.backup import backup

    with _doing(project, "backup", order.system) as done:
        made = backup(project, order)
        done.learn(backup=made.manifest.id, checks=acted.checks_of(made.outcomes))
        if made.failure:
            raise made.failure
        return made.manifest


@_verb(VerifyOrder)
def verify(project: Project, order: VerifyOrder) -> Report:
    """Check what is stored of one backup (or of `all`), and remember the outcome beside it."""
    from backup_pipeline.operations.verify import verify

    with _doing(project, "verify", order.system, order.id) as done:
        report = verify(project, order)
        done.learn(backup="" if order.id == "all" else project.vault.resolve(order.system, order.id))
        done.judge("the verification failed", report.findings)
        return report


@_verb(RestoreOrder)
def restore(project: Project, order: RestoreOrder) -> RestoreResult:
    """Bring a backup back into an empty or new database. `lacking` of the result is what could not be made: nothing
    unless `keep_going` is set or the target lacks a role."""
    from backup_pipeline.operations.restore import restore

    if order.dry_run:
        return restore(project, order)
    with _doing(project, "restore", order.system, order.id) as done:
        result = restore(project, order)
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

    order, project = FilesOrder(**which), load(config)
    if dry_run:
        return files.plan_restore_files(project, system, id, Path(to), order)
    with _doing(project, "restore", system, id):
        return files.restore_files(project, system, id, Path(to), order)


@_verb(DrillOrder)
def drill(project: Project, order: DrillOrder) -> DrillReport:
    """Restore into a scratch database, compare row for row, and remember that it was proven. Of file trees a sample is
    restored, or all."""
    from backup_pipeline.operations import acted
    from backup_pipeline.operations.drill import drill

    with _doing(project, "drill", order.system, order.id) as done:
        result = drill(project, order)
        done.learn(facts=acted.of_drill(result))
        done.judge("the drill failed", result.findings)
        return result


def list_backups(system: str | None = None, *, config: Config = None) -> tuple[Listed, ...]:
    """The backups of one system or of all, oldest first."""
    return load(config).list(system)


def show(system: str, id: str | None = None, *, config: Config = None) -> Manifest:
    """Everything that one backup says of itself."""
    return load(config).show(system, id)


def read_table(system: str, id: str | None, table: str, *, config: Config = None) -> pd.DataFrame:
    """One table of a backup as a DataFrame, without a restore."""
    return load(config).read_table(system, id, table)


def query(system: str, id: str | None, sql: str, *, config: Config = None) -> pd.DataFrame:
    """SQL over the tables of a backup, without a restore."""
    return load(config).query(system, id, sql)


@_verb(CopyOrder)
def copy(project: Project, order: CopyOrder) -> tuple[Copied, ...]:
    """Bring the copies of a system up to date: all that each lacks, unless one backup is named."""
    from backup_pipeline.operations import acted
    from backup_pipeline.operations.copying import copy_to_all

    with _doing(project, "copy", order.system, order.id) as done:
        copied = copy_to_all(project, order)
        done.acts = acted.of_copies(copied)
        return copied


@_verb(RepairOrder)
def repair(project: Project, order: RepairOrder) -> RepairReport:
    """Heal the vault, or a copy, from the other places."""
    from backup_pipeline.operations import acted
    from backup_pipeline.operations.copying import repair_place

    if order.dry_run:
        return repair_place(project, order)
    with _doing(project, "repair", order.system, place=order.place) as done:
        report = repair_place(project, order)
        done.learn(facts=acted.of_repair(report))
        done.judge("not all could be healed", report.findings)
        return report


def _doing(
    project: Project, verb: str, system: str, id: str | None = None, *, place: str | None = None
) -> AbstractContextManager[Doing]:
    """What these functions do stands in the log of acts, beside what the commands and the graph do."""
    from backup_pipeline.state import acts

    return acts.doing(project.settings, verb, system, id, place=place or project.place, clock=project.clock)
