"""Fixtures for every test. They live beside what they are about, in `harness/`; this file only offers them."""

from hypothesis import settings

from backup_pipeline_tests.harness.backups import torture
from backup_pipeline_tests.harness.engines import (
    make_pg_database,
    pg_database,
    pg_major_database,
    pg_major_server,
    pg_server,
    pg_servers,
    sqlite_file,
)

__all__ = [
    "make_pg_database",
    "pg_database",
    "pg_major_database",
    "pg_major_server",
    "pg_server",
    "pg_servers",
    "sqlite_file",
    "torture",
]

# Two shared cores: an example's wall time says nothing about the code.
settings.register_profile("backup_pipeline", deadline=None, print_blob=True)
settings.load_profile("backup_pipeline")
