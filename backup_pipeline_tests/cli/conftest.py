"""A project for the commands: a folder with a database in it and a configuration beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from backup_pipeline.cli import progress
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.harness.commands import Ended
from backup_pipeline_tests.harness.engines import MakeSqliteFile

SHOP = """
CREATE TABLE customers (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE orders (
    id INTEGER PRIMARY KEY AUTOINCREMENT, customer_id INTEGER NOT NULL REFERENCES customers (id), total INTEGER
);
CREATE TABLE audit_log (line TEXT);
INSERT INTO customers (name) VALUES ('Ann'), ('Bob');
INSERT INTO orders (customer_id, total) VALUES (1, 10), (2, 20), (2, 30);
INSERT INTO audit_log VALUES ('secret-of-the-log');
"""

CONFIG = """\
vault: ./vault
systems:
  shop:
    database: %s
    schedule: "0 2 * * *"
    timezone: Europe/Berlin
    exclude: [audit_log]
    groups:
      sales: [orders, customers]
"""


@dataclass(frozen=True, slots=True)
class Folder:
    path: Path
    env: Mapping[str, str]
    #: Where a restore may go: nothing is there yet, and what is made there goes with the test.
    restored: str = "sqlite:///restored.db"

    def run(self, *arguments: str, **env: str) -> Ended:
        """In this process: a fifth of the time."""
        return commands.invoke(*arguments, cwd=self.path, env={**self.env, **env})

    def good(self, *arguments: str) -> Ended:
        ended = self.run(*arguments)
        assert ended.code == 0, str(ended)
        return ended

    def shell(self, *arguments: str, **env: str) -> Ended:
        """In a process of its own, as users do."""
        return commands.run(*arguments, cwd=self.path, env={**self.env, **env})

    def backup(self) -> str:
        """Make one, without Dagster: its id."""
        found: str = self.good("backup", "shop", "--no-record", "--json").data["backup"]["id"]
        return found

    def accept_that_nothing_runs(self) -> None:
        """In a test no daemon runs the schedule, and no person waits for an alert."""
        for code in ("schedule-not-run", "no-alert-route"):
            self.good("ack", "shop", code, "--because", "a test")


@pytest.fixture
def no_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """No line of a log says how far it is: on a slow machine the first one is due in the middle of the smallest backup."""
    monkeypatch.setattr(progress, "LOG_PAUSES", (3600.0,))


@pytest.fixture
def shop(sqlite_file: MakeSqliteFile) -> Folder:
    """A small shop on SQLite, with nothing backed up yet."""
    path = sqlite_file("shop.db", script=SHOP).parent
    (path / "backup.yaml").write_text(CONFIG % "sqlite:///shop.db")
    return Folder(path, {})


@pytest.fixture
def pg_shop(tmp_path: Path, pg_database: str, pg_server: EmbeddedPostgres) -> Iterator[Folder]:
    """The same on PostgreSQL, its address in a variable."""
    script = SHOP.replace(
        "INTEGER PRIMARY KEY AUTOINCREMENT", "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
    )
    with closing(psycopg2.connect(pg_database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(script.replace("INTEGER PRIMARY KEY", "serial PRIMARY KEY"))
    (tmp_path / "backup.yaml").write_text(CONFIG % "${env:SHOP_URL}")
    name = f"{urlsplit(pg_database).path.lstrip('/')}_restored"
    yield Folder(tmp_path, {"SHOP_URL": pg_database}, pg_server.url(name))
    pg_server.drop_database(name)
