"""PostgreSQL and SQLite keep the contract of a target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline_tests.contracts.target_contract import TargetContract
from backup_pipeline_tests.harness.postgres_rows import LivePostgres, ask
from backup_pipeline_tests.harness.sqlite_rows import LiveSqlite, new_database


class TestPostgresTarget(TargetContract):
    @pytest.fixture
    def live(self, pg_database: str) -> LivePostgres:  # type: ignore[override]
        return LivePostgres(pg_database)

    @pytest.fixture
    def new(self, pg_server: EmbeddedPostgres) -> Iterator[str]:  # type: ignore[override]
        yield pg_server.url("target_of_contract")
        if self._exists(pg_server.url("target_of_contract")):
            pg_server.drop_database("target_of_contract")

    def rows(self, url: str) -> Counter[str] | None:
        return LivePostgres(url).rows("people") if self._exists(url) else None

    def _exists(self, url: str) -> bool:
        server = url.replace("/target_of_contract", "/postgres")
        return ask(server, "SELECT count(*) FROM pg_database WHERE datname = 'target_of_contract'") == [(1,)]


class TestSqliteTarget(TargetContract):
    @pytest.fixture
    def live(self, tmp_path: Path) -> LiveSqlite:  # type: ignore[override]
        return LiveSqlite(new_database(tmp_path / "app.db"))

    @pytest.fixture
    def new(self, tmp_path: Path) -> str:  # type: ignore[override]
        return f"sqlite:///{tmp_path / 'target.db'}"

    def rows(self, url: str) -> Counter[str] | None:
        path = Path(url.removeprefix("sqlite:///"))
        return LiveSqlite(path).rows("people") if path.exists() else None
