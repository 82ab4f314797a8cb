"""The way in: from a backup and an address to the target that can take it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backup_pipeline.databases.base import RestoreOptions, Target
from backup_pipeline.databases.engines import engine_at, engine_named
from backup_pipeline.databases.restore_plan import RestorePlan, RestoreResult
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.progress import Listener, silent

if TYPE_CHECKING:
    # Not loaded here, because a worker process that loads this package needs none of it.
    from backup_pipeline.vault.backup import Backup


def plan_restore(backup: Backup, target_url: str, options: RestoreOptions | None = None) -> RestorePlan:
    """The target and the backup, looked at: what a restore would do. Writes nothing, and raises only where the question
    itself is wrong; `refused` holds each reason against the restore."""
    backup.vault.need_identity()
    return _target(backup.manifest, target_url).plan(backup, options or RestoreOptions())


def restore(
    backup: Backup,
    target_url: str,
    options: RestoreOptions | None = None,
    *,
    listener: Listener = silent,
) -> RestoreResult:
    """Rebuild the database. When the restore fails, or is interrupted, the target is as it was."""
    backup.vault.need_identity()
    return _target(backup.manifest, target_url).restore(backup, options or RestoreOptions(), listener)


def _target(manifest: Manifest, url: str) -> Target:
    engine, wanted = engine_at(url), manifest.engine.name
    if engine.name != wanted:
        raise RestoreError(
            f"this is a backup of a {wanted} database, and the target is {engine.name}",
            remedy=f"restore it to {engine_named(wanted).example}",
        )
    return engine.target(url)
