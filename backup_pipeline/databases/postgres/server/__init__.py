"""PostgreSQL's programs on this machine, and private servers that are thrown away.

What belongs here: finding psql, pg_dump and servers, and running a server of our own for a drill, the demo or a
test. What does not: anything that knows about backups. Standard library only, so that the smallest install can
use it.
"""

from backup_pipeline.databases.postgres.server.programs import (
    INSTALL,
    Program,
    find_programs,
    pg_dump_for,
    psql,
    servers,
)
from backup_pipeline.databases.postgres.server.server import THROW_AWAY_SETTINGS, EmbeddedPostgres

__all__ = [
    "INSTALL",
    "THROW_AWAY_SETTINGS",
    "EmbeddedPostgres",
    "Program",
    "find_programs",
    "pg_dump_for",
    "psql",
    "servers",
]
