"""PostgreSQL keeps the contract of a source, on the oldest and the newest version there is."""

from __future__ import annotations

import pytest

from backup_pipeline_tests.contracts.source_contract import SourceContract
from backup_pipeline_tests.harness.postgres_rows import LivePostgres


class TestPostgresSource(SourceContract):
    @pytest.fixture
    def live(self, pg_major_database: str) -> LivePostgres:  # type: ignore[override]
        return LivePostgres(pg_major_database)
