"""The table of engines, the only place that knows which there are. A new engine is a folder and an entry here.

The functions of an entry import the engine when they are called, so a look at the table loads no driver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.databases.base import Source, Target
from backup_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from backup_pipeline.databases.base import DrillOptions
    from backup_pipeline.databases.merge.session import Opening, Session, SessionOptions
    from backup_pipeline.model.drill_report import DrillReport
    from backup_pipeline.model.progress import Listener
    from backup_pipeline.vault.backup import Backup


@dataclass(frozen=True, slots=True)
class DatabaseEngine:
    #: As manifests name it.
    name: str
    schemes: tuple[str, ...]
    #: The target of a restore, for a remedy.
    example: str
    #: The database is a file, and its address may be a relative path.
    is_file: bool
    source: Callable[[str], Source]
    target: Callable[[str], Target]
    drill: Callable[[Backup, DrillOptions, Listener], DrillReport]
    #: The session of a merge.
    merging: Opening


def _postgres_source(url: str) -> Source:
    from backup_pipeline.databases.postgres.export import PostgresSource

    return PostgresSource(url)


def _postgres_target(url: str) -> Target:
    from backup_pipeline.databases.postgres.restore.run import PostgresTarget

    return PostgresTarget(url)


def _postgres_drill(backup: Backup, options: DrillOptions, listener: Listener) -> DrillReport:
    from backup_pipeline.databases.postgres.drill.drill import drill

    if options.scratch_url is not None and (other := engine_at(options.scratch_url).name) != "postgres":
        raise ConfigError(
            f"the scratch server is {other}, and the backup is of a postgres database",
            remedy="give the address of a PostgreSQL server as `scratch`, or none",
        )
    return drill(backup, options, listener)


def _postgres_merging(url: str, options: SessionOptions) -> AbstractContextManager[Session]:
    from backup_pipeline.databases.postgres.merging.opening import open_session

    return open_session(url, options)


def _sqlite_source(url: str) -> Source:
    from backup_pipeline.databases.sqlite.export import SqliteSource

    return SqliteSource(url)


def _sqlite_target(url: str) -> Target:
    from backup_pipeline.databases.sqlite.restore import SqliteTarget

    return SqliteTarget(url)


def _sqlite_drill(backup: Backup, options: DrillOptions, listener: Listener) -> DrillReport:
    from backup_pipeline.databases.sqlite.drill import drill

    return drill(backup, options, listener)


def _sqlite_merging(url: str, options: SessionOptions) -> AbstractContextManager[Session]:
    from backup_pipeline.databases.sqlite.merging import open_session

    return open_session(url, options)


ENGINES = (
    DatabaseEngine(
        "postgres",
        ("postgresql", "postgres"),
        "postgresql://user@host/new_database --create",
        is_file=False,
        source=_postgres_source,
        target=_postgres_target,
        drill=_postgres_drill,
        merging=_postgres_merging,
    ),
    DatabaseEngine(
        "sqlite",
        ("sqlite",),
        "sqlite:////path/to/new.db",
        is_file=True,
        source=_sqlite_source,
        target=_sqlite_target,
        drill=_sqlite_drill,
        merging=_sqlite_merging,
    ),
)


def engine_at(url: str) -> DatabaseEngine:
    """The engine of an address. `postgresql+psycopg2://` is what SQLAlchemy applications write."""
    # Not by urlsplit: it stumbles over a "[" in a password.
    beginning, separator, _ = url.partition("://")
    scheme = beginning.partition("+")[0].lower() if separator else ""
    for engine in ENGINES:
        if scheme in engine.schemes:
            return engine
    raise ConfigError(
        f"{scheme or 'this'} is not a kind of database that can be backed up yet",
        remedy="use postgresql://user@host/name or sqlite:////path/to/file.db",
    )


def engine_named(name: str) -> DatabaseEngine:
    """The engine that a manifest names."""
    for engine in ENGINES:
        if engine.name == name:
            return engine
    raise ConfigError(
        f"this version cannot restore a {name} database",
        remedy="use the version of backup_pipeline that made the backup, or a newer one",
    )


def located(url: str, resolve: Callable[[str], Path]) -> str:
    """The address with the whole path of its file, where it names a file by a relative path."""
    scheme, separator, rest = url.partition(":///")
    if separator and not rest.startswith("/") and engine_at(url).is_file:
        return f"{scheme}:///{resolve(rest)}"
    return url


def open_source(url: str) -> Source:
    return engine_at(url).source(url)
