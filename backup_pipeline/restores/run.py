"""The way in: from a manifest and an address to the engine that can do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backup_pipeline.databases.opening import engine_of
from backup_pipeline.databases.plan import RestorePlan, RestoreResult
from backup_pipeline.errors import ConfigError, RestoreError
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.progress import Listener, silent

if TYPE_CHECKING:
    # Not loaded here, because a worker process that loads this package needs none of it.
    from backup_pipeline.databases.postgres.restore.terms import Terms
    from backup_pipeline.vault.vault import Vault

_EXAMPLES = {
    "postgres": "postgresql://user@host/new_database --create",
    "sqlite": "sqlite:////path/to/new.db",
}


def plan_restore(
    vault: Vault,
    manifest: Manifest,
    target_url: str,
    *,
    create: bool = False,
    jobs: int = 2,
    terms: Terms | None = None,
) -> RestorePlan:
    """Look at the target and the backup, and say what a restore would do. Writes nothing, raises only where the
    question itself is wrong; what speaks against the restore is in `refused`."""
    vault.need_identity()
    _same_engine(manifest, target_url)
    if manifest.engine.name == "sqlite":
        from backup_pipeline.databases.sqlite import restore as sqlite

        _only_of_postgres(terms)
        return sqlite.plan(vault, manifest, target_url)
    from backup_pipeline.databases.postgres.restore.plan import plan
    from backup_pipeline.databases.postgres.restore.target import Server
    from backup_pipeline.databases.postgres.restore.terms import Terms

    server = Server.of(target_url)
    return plan(vault, manifest, server, create=create, jobs=jobs, terms=terms or Terms())


def restore(
    vault: Vault,
    manifest: Manifest,
    target_url: str,
    *,
    create: bool = False,
    jobs: int = 2,
    listener: Listener = silent,
    dry_run: bool = False,
    terms: Terms | None = None,
) -> RestoreResult:
    """Rebuild the database. When it fails, or is interrupted, the target is as it was. `terms`: what is left out, and
    whether what cannot be made ends it."""
    vault.need_identity()
    _same_engine(manifest, target_url)
    if manifest.engine.name == "sqlite":
        from backup_pipeline.databases.sqlite import restore as sqlite

        _only_of_postgres(terms)
        return sqlite.restore(vault, manifest, target_url, listener=listener, dry_run=dry_run)
    from backup_pipeline.databases.postgres.restore.run import restore as restore_postgres
    from backup_pipeline.databases.postgres.restore.target import Server

    server = Server.of(target_url)
    return restore_postgres(
        vault, manifest, server, create=create, jobs=jobs, listener=listener, dry_run=dry_run, terms=terms
    )


def _only_of_postgres(terms: Terms | None) -> None:
    if terms is not None and not terms.code:
        raise ConfigError(
            "--no-code is about PostgreSQL: a SQLite database is restored as the file that it was",
            remedy="leave it out; no trigger or view of the file runs in the restore",
        )


def _same_engine(manifest: Manifest, target_url: str) -> None:
    engine = engine_of(target_url)
    if engine != manifest.engine.name:
        raise RestoreError(
            f"this is a backup of a {manifest.engine.name} database, and the target is {engine}",
            remedy=f"restore it to {_EXAMPLES.get(manifest.engine.name, 'a database of the same kind')}",
        )
