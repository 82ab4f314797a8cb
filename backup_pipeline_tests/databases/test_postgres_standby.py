"""A standby as the source: what it has is backed up, and what it cannot have is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.databases.postgres.export import PostgresSource
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.drills import drill
from backup_pipeline.model.selection import Selection
from backup_pipeline_tests.harness.backups import ask, backed_up, run_sql
from backup_pipeline_tests.harness.engines import ENDS


@pytest.mark.parametrize("major", ENDS)
def test_the_unlogged_tables_of_a_standby_are_left_out_by_name_and_end_no_backup(
    major: int, tmp_path: Path
) -> None:
    with EmbeddedPostgres.create(
        major=major, settings={"wal_level": "replica", "max_wal_senders": "1"}
    ) as server:
        url = server.create_database("shop")
        unlogged = "UNLOGGED SEQUENCE" if major >= 15 else "SEQUENCE"
        run_sql(
            url,
            "CREATE TABLE t (id serial PRIMARY KEY); INSERT INTO t DEFAULT VALUES;"
            "CREATE UNLOGGED TABLE cache (id int PRIMARY KEY, t int REFERENCES t); INSERT INTO cache VALUES (1, 1);"
            f"CREATE {unlogged} lost; SELECT nextval('lost')",
        )
        server.stop()
        (server.data_dir / "standby.signal").touch()
        server.start()
        assert ask(url, "SELECT pg_is_in_recovery()") == [(True,)]

        told = {finding.code: finding for finding in PostgresSource(url).diagnose(Selection()).findings}
        assert told["unlogged-on-standby"].examples == ("public.cache",)
        backed = backed_up(url, tmp_path / "vault")
        report = drill(backed.backup)

    assert [str(table.id) for table in backed.manifest.tables] == ["public.t"]
    assert [(one.name, one.reason) for one in backed.manifest.left_out] == [
        ("cache", "unlogged: a standby has none of its rows")
    ]
    assert "unlogged-on-standby" in {finding.code for finding in backed.manifest.findings}
    assert report.ok, report.report.errors
