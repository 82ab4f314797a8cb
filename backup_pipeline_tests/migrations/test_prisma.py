"""A Prisma project as `prisma migrate dev` leaves it, and the states that its table can be in."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.databases.engines import open_source
from backup_pipeline.migrations import migration_state

NAMES = ("20240101090000_init", "20240215103000_add_orders", "20240301120000_orders_total")

#: As Prisma creates it on SQLite.
TABLE = """
CREATE TABLE "_prisma_migrations" (
    "id" TEXT PRIMARY KEY NOT NULL, "checksum" TEXT NOT NULL, "finished_at" DATETIME,
    "migration_name" TEXT NOT NULL, "logs" TEXT, "rolled_back_at" DATETIME,
    "started_at" DATETIME NOT NULL DEFAULT current_timestamp, "applied_steps_count" INTEGER UNSIGNED NOT NULL DEFAULT 0
)
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "app" / "prisma" / "migrations"
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        (folder / name / "migration.sql").write_text("-- CreateTable\n")
    (folder / "migration_lock.toml").write_text('provider = "sqlite"\n')
    (folder.parent / "schema.prisma").write_text(
        'datasource db { provider = "sqlite" url = "file:dev.db" }\n'
    )
    return tmp_path / "app"


@pytest.mark.parametrize("below", ["", "prisma", "prisma/migrations"])
def test_what_is_not_applied_is_pending_in_order(project: Path, below: str) -> None:
    state = migration_state("prisma", project / below, NAMES[:1])
    assert state.pending == NAMES[1:]
    assert state.heads == NAMES[2:]


def test_a_folder_without_its_file_is_no_migration(project: Path) -> None:
    (project / "prisma" / "migrations" / "20990101000000_empty").mkdir()
    assert migration_state("prisma", project, NAMES).pending == ()


def test_failed_and_rolled_back_migrations_are_pending(project: Path, tmp_path: Path) -> None:
    database = tmp_path / "dev.db"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute(TABLE)
        insert = (
            'INSERT INTO "_prisma_migrations" (id, checksum, migration_name, finished_at, rolled_back_at, started_at)'
            " VALUES (?, '', ?, ?, ?, ?)"
        )
        connection.execute(insert, ("1", NAMES[0], 1704099600000, None, 1704099600000))
        # Rolled back, tried again, failed again; the third was never started.
        connection.execute(insert, ("2", NAMES[1], None, 1707993100000, 1707993000000))
        connection.execute(insert, ("3", NAMES[1], None, None, 1707993200000))
        connection.commit()
    applied = open_source(f"sqlite:///{database}").applied_migrations("prisma")
    state = migration_state("prisma", project, applied)
    assert state.applied == NAMES[:1]
    assert state.pending == NAMES[1:]


def test_a_database_ahead_of_the_folder_is_unknown_and_what_a_squash_left_behind_is_not(
    project: Path,
) -> None:
    state = migration_state("prisma", project, (*NAMES, "20990101000000_next"))
    assert (state.known, state.pending) == (False, ())
    assert state.unknown == "the database says 20990101000000_next, which the folder does not know"
    assert migration_state("prisma", project, ("20200101000000_squashed_away", *NAMES)).known
