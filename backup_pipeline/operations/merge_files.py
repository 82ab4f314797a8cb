"""`--with-files`: files that rows of the backup name (`refs:`) and that are missing come back into the folders of their trees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.errors import UsageError
from backup_pipeline.model.merge_orders import MergeOrder
from backup_pipeline.model.orders import FilesOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations.files import plan_restore_files, restore_files, settings_of

if TYPE_CHECKING:
    from backup_pipeline.operations.files import FilesPlan, FilesResult
    from backup_pipeline.operations.site import Site
    from backup_pipeline.vault.backup import Backup


def plan(site: Site, order: MergeOrder, backup: Backup, listener: Listener = silent) -> tuple[FilesPlan, ...]:
    return tuple(
        plan_restore_files(site, order.system, backup.id, folder, wanted, listener=listener)
        for wanted, folder in _trees(site, order, backup)
    )


def restore(
    site: Site, order: MergeOrder, backup: Backup, listener: Listener = silent
) -> tuple[FilesResult, ...]:
    return tuple(
        restore_files(site, order.system, backup.id, folder, wanted, listener=listener)
        for wanted, folder in _trees(site, order, backup)
    )


def _trees(site: Site, order: MergeOrder, backup: Backup) -> Iterator[tuple[FilesOrder, Path]]:
    if not order.with_files:
        return
    known = settings_of(site, order.system)
    named = [tree.name for tree in backup.manifest.files if tree.name in known and known[tree.name].refs]
    if not named or not order.live:
        raise UsageError(
            "--with-files: no file tree of the living system is known whose files rows name",
            remedy="say --live, and name the columns of the rows under `files: TREE: refs:`",
        )
    for name in named:
        tree = known[name]
        if tree.path is None and not tree.paths:
            raise UsageError(
                f"--with-files: the tree {name} is no folder of this host",
                remedy="leave --with-files out, and restore its files with `restore --files`",
            )
        folder = site.settings.resolve(tree.path.get()) if tree.path else site.settings.base
        # A file that is there and differs belongs to the living system.
        yield FilesOrder(trees=(name,), only_referenced=True, leave=True), folder
