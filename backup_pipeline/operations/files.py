"""File trees of a Site: bringing them back, and their settings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.orders import FilesOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import diagnosing
from backup_pipeline.operations.diagnosing import diagnosed
from backup_pipeline.operations.reading import usable

__all__ = ["FilesPlan", "FilesResult", "plan_restore_files", "restore_files", "settings_of"]

if TYPE_CHECKING:
    from backup_pipeline.files.restore.files_plan import FilesPlan, FilesResult
    from backup_pipeline.operations.site import Site
    from backup_pipeline.vault.backup import Backup


def settings_of(site: Site, system: str) -> Mapping[str, FilesSettings]:
    """What the configuration says of a system's trees; nothing of a system that has left it."""
    return site.settings.systems[system].files if system in site.settings.systems else {}


@diagnosed
def plan_restore_files(
    site: Site,
    system: str,
    identifier: str | None,
    target: Path,
    order: FilesOrder,
    *,
    listener: Listener = silent,
) -> FilesPlan:
    """What a restore of files would do. Writes nothing."""
    from backup_pipeline.files.restore.run import plan_files

    backup = usable(site, system, identifier)
    with _referenced(site, backup, order, listener) as named:
        plan = plan_files(backup, target, order, referenced=named, listener=listener)
    return replace(plan, refused=diagnosing.exact_findings(site, system, plan.refused))


@diagnosed
def restore_files(
    site: Site,
    system: str,
    identifier: str | None,
    target: Path,
    order: FilesOrder,
    *,
    listener: Listener = silent,
) -> FilesResult:
    """Bring file trees back below `target`. What was restored stays when it is interrupted: run it again."""
    from backup_pipeline.files.restore.run import restore_files as restore_trees

    backup = usable(site, system, identifier)
    with _referenced(site, backup, order, listener) as named:
        return restore_trees(backup, target, order, referenced=named, listener=listener)


@contextmanager
def _referenced(
    site: Site, backup: Backup, order: FilesOrder, listener: Listener
) -> Iterator[Mapping[str, Iterable[str]] | None]:
    if not order.only_referenced:
        yield None
        return
    from backup_pipeline.files.restore.run import trees_of
    from backup_pipeline.references.file_references import paths_named

    settings = settings_of(site, backup.system)
    named: dict[str, Iterable[str]] = {}
    for tree in trees_of(backup.manifest, order.trees):
        if tree.name not in settings or not settings[tree.name].refs:
            raise ConfigError(
                f"the configuration does not say which rows name files of {tree.name}",
                remedy=f"name the columns under systems.{backup.system}.files.{tree.name}.refs, or restore all files",
            )
        named[tree.name] = paths_named(backup, tree, settings[tree.name], listener)
    yield named
