"""PostgreSQL keeps the contract of a source, on the oldest and the newest version there is."""

from __future__ import annotations

import pytest

from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import Selection
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import SourceContract, Taken
from backup_pipeline_tests.harness.postgres_rows import LivePostgres


class TestPostgresSource(SourceContract):
    @pytest.fixture
    def live(self, pg_major_database: str) -> LivePostgres:  # type: ignore[override]
        return LivePostgres(pg_major_database)

    def test_an_index_says_its_collation_and_that_nulls_are_equal(
        self, live: LivePostgres, vault: Vault
    ) -> None:
        version = live.source.inventory(Selection()).engine.version
        nulls = "NULLS NOT DISTINCT" if int(version.partition(".")[0]) >= 15 else ""
        live.run(
            f'CREATE TABLE people (mail text, name text COLLATE "C", UNIQUE {nulls} (mail))',
            'CREATE UNIQUE INDEX a ON people (name, mail COLLATE "POSIX", lower(name) COLLATE "C") INCLUDE (mail)',
            f"CREATE UNIQUE INDEX b ON people (name) {nulls}",
        )
        table = Taken(live, vault).schema.table(TableId("public", "people"))
        assert table is not None
        assert [part.collation for part in table.indexes[0].parts] == [None, "POSIX", "C"]
        assert [table.uniques[0].nulls_equal, table.indexes[1].nulls_equal] == [bool(nulls)] * 2
