"""From a URL to the source that reads it. The only place that knows which engines there are."""

from __future__ import annotations

from backup_pipeline.databases.base import Source
from backup_pipeline.errors import ConfigError

POSTGRES = ("postgresql", "postgres")
SQLITE = ("sqlite",)


def engine_of(url: str) -> str:
    """postgres or sqlite. `postgresql+psycopg2://` is what SQLAlchemy applications write."""
    # Not by urlsplit: it stumbles over a "[" in a password.
    beginning, separator, _ = url.partition("://")
    scheme = beginning.partition("+")[0].lower() if separator else ""
    if scheme in POSTGRES:
        return "postgres"
    if scheme in SQLITE:
        return "sqlite"
    raise ConfigError(
        f"{scheme or 'this'} is not a kind of database that can be backed up yet",
        remedy="use postgresql://user@host/name or sqlite:////path/to/file.db",
    )


def open_source(url: str) -> Source:
    if engine_of(url) == "postgres":
        from backup_pipeline.databases.postgres.export import PostgresSource

        return PostgresSource(url)
    from backup_pipeline.databases.sqlite.export import SqliteSource

    return SqliteSource(url)
