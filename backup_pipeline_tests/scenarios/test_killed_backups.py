"""A backup may be killed with -9 at any moment, workers and all: nothing half-done is ever listed, what is
listed verifies, and the next run succeeds and builds on what the killed ones had finished."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import psycopg
import pytest

from backup_pipeline import config
from backup_pipeline.model.orders import BackupOrder, VerifyOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.operations.listing import list_backups
from backup_pipeline.operations.verify import verify
from backup_pipeline.stores.base import Stat
from backup_pipeline.vault import layout
from backup_pipeline_tests.harness import warm
from backup_pipeline_tests.harness.processes import kill_tree, run_for
from backup_pipeline_tests.harness.soak import SEED, time_is_over

_BACKUP = """
import sys
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
backup(Site.load(sys.argv[1]), BackupOrder("shop"))
"""

FEW = 20_000

#: Notes come by their number alone: on a busy machine three seconds go by before there are many chunks.
_NOTING = "from backup_pipeline.vault import journal; journal.EVERY_SECONDS = 3600.0; "

_ROWS = """
CREATE TABLE big (id bigint PRIMARY KEY, payload text NOT NULL);
INSERT INTO big SELECT n, repeat(md5(n::text), 8) FROM generate_series(1, %d) AS n;
CREATE TABLE small (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, big bigint REFERENCES big);
INSERT INTO small (big) SELECT n FROM generate_series(1, 2000) AS n;
"""


@pytest.fixture
def rows(request: pytest.FixtureRequest) -> int:
    """How many there are to be read when the run is killed."""
    return 60_000 if request.node.get_closest_marker("soak") else FEW


@pytest.fixture
def postgres_project(tmp_path: Path, pg_database: str, rows: int) -> Path:
    with psycopg.connect(pg_database, autocommit=True) as connection:
        connection.execute((_ROWS % rows).encode())
        connection.execute("VACUUM ANALYZE")
    # Small chunks and workers even for so little data: the more seams, the more moments to be killed at.
    return _configured(tmp_path, pg_database, "    workers: 2\n    chunk_size: 256KB\n")


@pytest.fixture
def sqlite_project(tmp_path: Path, rows: int) -> Path:
    path = tmp_path / "app.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE big (id INTEGER PRIMARY KEY, payload BLOB)")
        connection.executemany("INSERT INTO big VALUES (?, randomblob(400))", ((n,) for n in range(rows)))
    connection.close()
    return _configured(tmp_path, f"sqlite:///{path}", "")


def _configured(folder: Path, url: str, more: str) -> Path:
    path = folder / "backup.yaml"
    path.write_text(f"vault: ./vault\nsystems:\n  shop:\n    database: {url}\n{more}", encoding="utf-8")
    return path


def _whole_run(path: Path) -> float:
    began = time.monotonic()
    assert not run_for(120, _BACKUP, str(path))
    return time.monotonic() - began


def _assert_sound(project: Site) -> None:
    for line in list_backups(project, "shop"):
        report = verify(project, VerifyOrder("shop", line.id, quick=True))
        assert report.errors == (), line.id


def _scenario(path: Path, times: int, change: object, seed: int = 20261121) -> None:
    project = Site(config.load(path))
    seconds = _whole_run(path)
    (first,) = list_backups(project, "shop")
    dice = random.Random(seed)
    assert callable(change)
    killed = 0
    for _ in range(4 * times):
        change(dice)
        if run_for(dice.uniform(0.1, 1.0) * seconds, _BACKUP, str(path)):
            killed += 1
        else:
            seconds *= 0.9  # the machine is quicker than it was when the first run was timed
        _assert_sound(project)
        if killed == times or time_is_over():
            break
    assert killed == times or time_is_over(), (
        f"only {killed} of {times} runs were killed: this proved too little"
    )
    change(dice)
    manifest = backup(project, BackupOrder("shop")).manifest
    assert verify(project, VerifyOrder("shop", manifest.id)).errors == ()
    assert verify(project, VerifyOrder("shop", "all")).ok
    assert manifest.rows >= first.rows
    assert project.vault.interrupted("shop") == ()
    assert list(project.vault.store.staging().iterdir()) == []


def _postgres_change(url: str) -> object:
    def change(dice: random.Random) -> None:
        with psycopg.connect(url) as connection:
            connection.execute(
                "UPDATE big SET payload = md5(random()::text) || payload WHERE id BETWEEN %s AND %s",
                (start := dice.randrange(FEW), start + 50),
            )

    return change


def _sqlite_change(path: Path) -> object:
    def change(dice: random.Random) -> None:
        with sqlite3.connect(path) as connection:
            start = dice.randrange(FEW)
            connection.execute(
                "UPDATE big SET payload = randomblob(400) WHERE id BETWEEN ? AND ?", (start, start + 50)
            )
        connection.close()

    return change


def test_a_killed_postgres_backup_is_never_listed_and_the_next_run_succeeds(
    postgres_project: Path, pg_database: str
) -> None:
    _scenario(postgres_project, 8, _postgres_change(pg_database))


def test_a_killed_sqlite_backup_is_never_listed_and_the_next_run_succeeds(
    sqlite_project: Path, tmp_path: Path
) -> None:
    _scenario(sqlite_project, 6, _sqlite_change(tmp_path / "app.sqlite3"))


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_postgres_backup_survives_a_hundred_kills(postgres_project: Path, pg_database: str) -> None:
    _scenario(postgres_project, 100, _postgres_change(pg_database), SEED)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_sqlite_backup_survives_a_hundred_kills(sqlite_project: Path, tmp_path: Path) -> None:
    _scenario(sqlite_project, 100, _sqlite_change(tmp_path / "app.sqlite3"), SEED)


def test_what_a_killed_first_run_had_finished_is_not_read_again(
    postgres_project: Path, pg_database: str
) -> None:
    """The run is killed when its first note lies in the vault; the next one takes those chunks as they are."""
    text = postgres_project.read_text(encoding="utf-8")
    postgres_project.write_text(text.replace("chunk_size: 256KB", "chunk_size: 64KB"), encoding="utf-8")
    project = Site(config.load(postgres_project))
    with warm.start(_NOTING + _BACKUP, str(postgres_project)) as process:
        while not _notes(project):
            assert process.poll() is None, (
                "the backup ended without a note: there are too few chunks to be killed among"
            )
            time.sleep(0.002)
        kill_tree(process)
    assert list_backups(project, "shop") == ()
    assert _notes(project)
    manifest = backup(project, BackupOrder("shop")).manifest
    reused = sum(table.reused_chunks for table in manifest.tables)
    assert reused >= 32, f"only {reused} chunks were taken from the killed run"
    assert verify(project, VerifyOrder("shop")).ok


def _notes(project: Site) -> list[Stat]:
    store = project.vault.store
    names = project.vault.interrupted("shop")
    return [stat for name in names for stat in store.list(layout.journal_prefix("shop", name))]
