"""Applied and pending migrations, read from the project's migration files.

Belongs here: a file for each tool. It finds the migrations below a path, reads them as text, and compares them with
the database's record of applied ones. Not here: the record itself (`databases`). A file of the application is never executed.
"""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.errors import ConfigError
from backup_pipeline.migrations import alembic, django, prisma
from backup_pipeline.model.manifest import Migrations

_TOOLS = {"alembic": alembic.read, "django": django.read, "prisma": prisma.read}


def migration_state(tool: str, path: Path, applied: tuple[str, ...] | None) -> Migrations:
    """`applied` is what the tool's own table says (None: there is no such table, so nothing was applied)."""
    if tool not in _TOOLS:
        raise ConfigError(
            f"{tool!r} is no migration tool known here", remedy=f"use one of {', '.join(sorted(_TOOLS))}"
        )
    if not path.exists():
        raise ConfigError(
            f"there is no folder of migrations at {path}",
            remedy="`migrations: path:` is the project's folder, or the folder of its migrations, from backup.yaml",
        )
    return _TOOLS[tool](path, applied)
