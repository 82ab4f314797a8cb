"""Backups you can prove.

    import backup_pipeline as bp

    bp.backup("shop")                                    # a backup now; its manifest
    bp.verify("shop", "latest").ok                       # every byte still there and right
    bp.drill("shop").report.ok                           # restored for real, compared row for row
    bp.read_table("shop", "latest", "orders")            # one table as a pandas DataFrame
    bp.query("shop", "latest", "select count(*) from orders")
    bp.restore("shop", "latest", to="postgresql://…/shop_new", create=True)
    bp.restore_files("shop", to="/srv/media/restored", trees=["media"])
    bp.copy("shop")                                      # what its copies lack
    bp.restore("shop", to="…", config=bp.load().at("offsite"))   # straight from a copy

Every function takes `config=`, the path of a backup.yaml (else $BACKUP_CONFIG, else the current folder) or a
loaded `Project`; `load` gives that object, which can do all of this and more. Importing this module loads
nothing: the parts come when they are used.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from backup_pipeline.model.version import __version__

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

    import pandas as pd

    from backup_pipeline.copies import RepairReport
    from backup_pipeline.drills import DrillReport
    from backup_pipeline.errors import BackupError
    from backup_pipeline.files.restore import FilesPlan, FilesResult
    from backup_pipeline.health.outcome import Outcome
    from backup_pipeline.model.findings import Report
    from backup_pipeline.model.manifest import Kind, Manifest
    from backup_pipeline.operations import Listed, Project
    from backup_pipeline.operations.copying import Copied
    from backup_pipeline.restores import RestoreResult
    from backup_pipeline.state.acts import Doing

    Config: TypeAlias = str | Path | Project | None

__all__ = [
    "BackupError",
    "Project",
    "__version__",
    "backup",
    "copy",
    "drill",
    "list_backups",
    "load",
    "query",
    "read_table",
    "repair",
    "restore",
    "restore_files",
    "show",
    "verify",
]


def load(config: Config = None) -> Project:
    """What a backup.yaml describes, ready to be worked with."""
    from backup_pipeline.operations import Project

    return config if isinstance(config, Project) else Project.load(config)


def backup(
    system: str,
    *,
    kind: Kind = "manual",
    full: bool = False,
    only: Iterable[str] = (),
    config: Config = None,
) -> Manifest:
    """Make a backup. `only` names groups or tables, and makes it a partial one. A backup that is made and has an error (a
    row without its file, a table that is empty or gone) raises ErrorsFound, which names it."""
    from backup_pipeline.health.outcome import errors_found, found_by
    from backup_pipeline.operations import acted

    outcomes: list[Outcome] = []
    project = load(config)
    with _doing(project, "backup", system) as done:
        made = project.backup(system, kind=kind, full=full, only=only, judged=outcomes.extend)
        done.learn(backup=made.id, checks=acted.checks_of(outcomes))
        if bad := errors_found(f"the backup {made.id} is made, with an error", found_by(outcomes)):
            raise bad
        return made


def verify(system: str, id: str | None = None, *, quick: bool = False, config: Config = None) -> Report:
    """Check what is stored of one backup (or of `all`), and remember the outcome beside it."""
    project = load(config)
    with _doing(project, "verify", system, id) as done:
        report = project.verify(system, id, quick=quick)
        done.learn(backup="" if id == "all" else project.vault.resolve(system, id))
        done.judge("the verification failed", report.findings)
        return report


def restore(
    system: str,
    id: str | None = None,
    *,
    to: str,
    create: bool = False,
    dry_run: bool = False,
    owner: bool = True,
    privileges: bool = True,
    code: bool = True,
    keep_going: bool = False,
    roles: bool = False,
    config: Config = None,
) -> RestoreResult:
    """Bring a backup back into an empty or new database. `lacking` of the result is what could not be made: nothing
    unless `keep_going` is set or the target lacks a role."""
    from backup_pipeline.databases.postgres.restore.terms import Terms

    project = load(config)
    terms = Terms(owner=owner, privileges=privileges, code=code, keep_going=keep_going, roles=roles)
    if dry_run:
        return project.restore(system, id, to, create=create, dry_run=True, terms=terms)
    with _doing(project, "restore", system, id) as done:
        result = project.restore(system, id, to, create=create, terms=terms)
        if result.lacking:
            done.judge("restored, but for some statements", [result.lacking[0].finding()])
        return result


def restore_files(
    system: str,
    id: str | None = None,
    *,
    to: str | Path,
    trees: Iterable[str] = (),
    globs: Iterable[str] = (),
    only_referenced: bool = False,
    overwrite: bool = False,
    leave: bool = False,
    keep: bool = True,
    dry_run: bool = False,
    config: Config = None,
) -> FilesResult | FilesPlan:
    """Bring file trees back into a folder: one that is named is the folder itself, several (or none named: all) are
    folders in it. `dry_run` gives the plan."""
    from pathlib import Path

    from backup_pipeline.files.restore import FilesOrder
    from backup_pipeline.operations import files

    order = FilesOrder(tuple(trees), tuple(globs), only_referenced, overwrite, leave, keep)
    project = load(config)
    if dry_run:
        return files.plan_restore_files(project, system, id, Path(to), order)
    with _doing(project, "restore", system, id):
        return files.restore_files(project, system, id, Path(to), order)


def drill(
    system: str,
    id: str | None = None,
    *,
    scratch: str | None = None,
    all_files: bool = False,
    config: Config = None,
) -> DrillReport:
    """Restore into a scratch database, compare row for row, and remember that it was proven. Of file trees a sample is
    restored, or all."""
    from backup_pipeline.operations import acted

    project = load(config)
    with _doing(project, "drill", system, id) as done:
        result = project.drill(system, id, scratch=scratch, all_files=all_files)
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


def copy(
    system: str,
    id: str | None = None,
    *,
    to: Iterable[str] = (),
    source: str = "vault",
    config: Config = None,
) -> tuple[Copied, ...]:
    """Bring the copies of a system up to date: all that each lacks, unless one backup is named."""
    from backup_pipeline.operations import acted
    from backup_pipeline.operations.copying import copy_to_all

    project = load(config)
    with _doing(project, "copy", system, id) as done:
        copied = copy_to_all(project, system, id, names=tuple(to), source=source)
        done.acts = acted.of_copies(copied)
        return copied


def repair(
    system: str,
    *,
    place: str = "vault",
    sources: Iterable[str] = (),
    quick: bool = False,
    dry_run: bool = False,
    config: Config = None,
) -> RepairReport:
    """Heal the vault, or a copy, from the other places."""
    from backup_pipeline.operations import acted
    from backup_pipeline.operations.copying import repair_place

    project = load(config)

    def healed() -> RepairReport:
        return repair_place(
            project, system, place=place, sources=tuple(sources), quick=quick, dry_run=dry_run
        )

    if dry_run:
        return healed()
    with _doing(project, "repair", system, place=place) as done:
        report = healed()
        done.learn(facts=acted.of_repair(report))
        done.judge("not all could be healed", report.findings)
        return report


def _doing(
    project: Project, verb: str, system: str, id: str | None = None, *, place: str | None = None
) -> AbstractContextManager[Doing]:
    """What these functions do stands in the log of acts, beside what the commands and the graph do."""
    from backup_pipeline.state import acts

    return acts.doing(project.settings, verb, system, id, place=place or project.place, clock=project.clock)


def __getattr__(name: str) -> Any:
    if name == "Project":
        from backup_pipeline.operations import Project

        return Project
    if name == "BackupError":
        from backup_pipeline.errors import BackupError

        return BackupError
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
