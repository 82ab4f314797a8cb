"""What is applied and what is pending, for a caller that has a Site."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.databases.patience import patiently
from backup_pipeline.errors import BackupError, ConfigError, PermissionMissing
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Migrations
from backup_pipeline.model.progress import Listener, silent

if TYPE_CHECKING:
    from backup_pipeline.operations.site import Site


def state_of(site: Site, system: str, pending: tuple[str, ...] = ()) -> Migrations | None:
    """None without `migrations:`. `pending`: what a caller knows to be applied next. Raises ConfigError where the folder
    cannot be read."""
    settings = site.system(system).migrations
    if settings is None:
        return None
    from backup_pipeline.migrations import migration_state

    applied = site.source(system).applied_migrations(settings.tool)
    state = migration_state(settings.tool, site.settings.resolve(settings.path), applied)
    return replace(state, pending=pending) if pending else state


def known(
    site: Site, system: str, pending: tuple[str, ...] = (), listener: Listener = silent
) -> tuple[Migrations | None, tuple[Finding, ...]]:
    """A folder that moved, or that is behind the database, is no reason for a night without a backup: it is said in the
    backup instead. So is a table that the login may not read; where it is to be backed up, the backup names every right
    that is missing."""
    settings = site.system(system).migrations
    try:
        state = patiently(lambda: state_of(site, system, pending), system, listener)
    except ConfigError as error:
        assert settings is not None
        applied = site.source(system).applied_migrations(settings.tool) or ()
        return _unreadable(Migrations(settings.tool, applied, pending=pending, unknown=error.message), error)
    except PermissionMissing as error:
        assert settings is not None
        return _unreadable(Migrations(settings.tool, (), pending=pending, unknown=error.message), error)
    if state is None or state.known:
        return state, ()
    return state, (Finding.of("migrations-unknown", unknown=state.unknown),)


def _unreadable(state: Migrations, error: BackupError) -> tuple[Migrations, tuple[Finding, ...]]:
    return state, (Finding.of("migrations-unreadable", why=error.message, remedy=error.remedy),)
