"""SQLite keeps the contract of a source, in both of the ways in which it keeps its journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline_tests.contracts.source_contract import SourceContract
from backup_pipeline_tests.harness.sqlite_rows import LiveSqlite, new_database


class TestSqliteSource(SourceContract):
    @pytest.fixture(params=["delete", "wal"])
    def live(self, request: pytest.FixtureRequest, tmp_path: Path) -> LiveSqlite:  # type: ignore[override]
        return LiveSqlite(new_database(tmp_path / "app.db", f"journal_mode = {request.param}"))
