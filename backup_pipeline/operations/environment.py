"""The environment marker: rows of a backup go into a living database only where both have the same one.

A restore into an empty or a new database asks nothing of it.
"""

from __future__ import annotations

from backup_pipeline.config.values import NOT_ENVIRONMENTS
from backup_pipeline.databases.engines import engine_at, open_source
from backup_pipeline.errors import BackupError
from backup_pipeline.model.findings import Finding
from backup_pipeline.operations.site import Site

#: A database without a marker, and one that may be a marked system's or not.
NONE, UNKNOWN = NOT_ENVIRONMENTS


def marker_of_target(site: Site, system: str, url: str, live: bool) -> str:
    """The configured marker of the database at `url`. `live`: it is the database of `system`. Empty where it is that of no
    system with a marker."""
    if live:
        return site.system(system).environment
    location, missed = open_source(url).location, False
    for name, settings in site.settings.systems.items():
        if not settings.environment:
            continue
        try:
            other = site.url(name)
            if engine_at(other) is engine_at(url) and open_source(other).location == location:
                return settings.environment
        except BackupError:  # a variable or a secret that is not here
            missed = True
    return UNKNOWN if missed else ""


def refusal(backup_marker: str, target_marker: str, from_environment: str | None) -> Finding | None:
    """Why rows of a backup with this marker must not go into a database that is not empty. None: they may."""
    backup = backup_marker or NONE
    if from_environment not in (None, backup):
        return Finding.of("environment-differs/named", said=from_environment, backup=backup)
    if backup_marker == target_marker or from_environment is not None:
        return None
    return Finding.of("environment-differs", backup=backup, target=target_marker or NONE)
