"""A backup that waits for a lock names the holder while it waits."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest

from backup_pipeline.databases.base import Options
from backup_pipeline.databases.postgres.export.source import PostgresSource
from backup_pipeline.errors import SourceUnavailable
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.model.progress import Advance
from backup_pipeline.model.selection import Selection
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_pipeline.databases.postgres.export.snapshot._TURNS", (0.2,))


@contextmanager
def locked(url: str) -> Iterator[int]:
    """An ALTER TABLE that is not committed: the process that holds it."""
    with closing(psycopg2.connect(url, application_name="a migration")) as connection:
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE /* secret-of-the-query */")
        yield connection.info.backend_pid


@pytest.fixture
def orders(pg_database: str) -> str:
    with closing(psycopg2.connect(pg_database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (id int PRIMARY KEY)")
    return pg_database


def test_who_is_waited_for_is_told_while_it_waits_and_then_it_goes_on(orders: str) -> None:
    heard: list[str] = []
    with locked(orders) as pid:
        released = threading.Event()

        def hear(text: str) -> None:
            heard.append(text)
            released.set()

        def work() -> None:
            with PostgresSource(orders, lock_timeout=30).snapshot(
                Selection(), Options(waiting=hear)
            ) as snapshot:
                heard.append(f"{len(snapshot.selected)} table")

        worker = threading.Thread(target=work)
        worker.start()
        assert released.wait(20)
    worker.join(20)
    assert heard[-1] == "1 table"
    assert (
        f"public.orders is locked by process {pid} (a migration, idle in transaction, since its query of 2"
        in heard[0]
    )
    assert "waits for a lock, for" in heard[0]
    assert "secret-of-the-query" not in "".join(heard)


def test_when_the_patience_ends_the_error_names_the_holder(orders: str) -> None:
    heard: list[str] = []
    with locked(orders) as pid, pytest.raises(SourceUnavailable, match=f"process {pid}"):
        with PostgresSource(orders, lock_timeout=0.5).snapshot(Selection(), Options(waiting=heard.append)):
            pytest.fail("it was locked")
    assert len(heard) == 2


def test_the_listener_of_a_backup_hears_it(orders: str, tmp_path: Path) -> None:
    (tmp_path / "backup.yaml").write_text(f"vault: ./vault\nsystems:\n  shop: {{database: '{orders}'}}\n")
    heard: list[str] = []
    with locked(orders) as pid:
        released = threading.Event()

        def hear(step: Advance) -> None:
            heard.append(step.note)
            if step.note:
                released.set()

        site = Site.load(tmp_path / "backup.yaml")
        worker = threading.Thread(target=lambda: backup(site, BackupOrder("shop"), hear).manifest)
        worker.start()
        assert released.wait(20)
    worker.join(60)
    assert f"process {pid}" in heard[0]
    assert site.vault.ids("shop")
