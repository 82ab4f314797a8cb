"""Prisma: one folder a migration, in the order of their names; the table _prisma_migrations holds those that finished.

`path` is the project, its prisma folder, or the folder of migrations. A migration that failed, or was rolled back, is
not among the applied ones, and so it is pending, as it is for `prisma migrate deploy`.
"""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.errors import ConfigError
from backup_pipeline.migrations.order import ahead
from backup_pipeline.model.manifest import Migrations, saying

_FILE = "migration.sql"


def read(path: Path, applied: tuple[str, ...] | None) -> Migrations:
    folder = _folder(path)
    names = sorted(one.name for one in folder.iterdir() if (one / _FILE).is_file())
    if not names:
        raise ConfigError(
            f"there is no Prisma migration below {path}",
            remedy="`migrations: path:` is the project, its prisma folder, or prisma/migrations",
        )
    known = applied or ()
    strange = ahead(known, names)
    if strange:
        return Migrations("prisma", known, (names[-1],), unknown=saying(strange))
    done = set(known)
    pending = tuple(name for name in names if name not in done)
    return Migrations("prisma", known, (names[-1],), pending)


def _folder(path: Path) -> Path:
    for candidate in (path / "prisma" / "migrations", path / "migrations", path):
        if candidate.is_dir() and any((one / _FILE).is_file() for one in candidate.iterdir()):
            return candidate
    return path
