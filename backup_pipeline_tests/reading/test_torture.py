"""Every table of the torture set verifies, is read and is queried."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.base import Options
from backup_pipeline.databases.postgres.export import PostgresSource
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.reading import query, read_table, rows_of
from backup_pipeline.reading.loading import sql_name
from backup_pipeline.verification.verify import verify
from backup_pipeline_tests.harness.handmade import prepared
from backup_pipeline_tests.harness.torture_postgres import torture_sql


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::backup_pipeline.reading.frames.NotExact")
def test_every_awkward_table_is_verified_read_and_queried(
    tmp_path: Path, pg_major_server: EmbeddedPostgres, pg_major_database: str
) -> None:
    import psycopg2

    with closing(psycopg2.connect(pg_major_database)) as connection:
        connection.autocommit = True
        connection.cursor().execute(torture_sql(pg_major_server.major))
    vault = prepared(tmp_path / "vault")
    order = Order("torture", options=Options(large_objects="exclude"))
    made = back_up(vault, PostgresSource(pg_major_database), order)
    report = verify(vault.backup("torture", made.id))
    assert report.findings == ()
    assert report.counted["rows"] == made.rows
    assert len(made.tables) > 30
    for table in made.tables:
        name = f"{sql_name(table.schema)}.{sql_name(table.name)}"
        assert len(read_table(vault.backup_of(made), name)) == table.rows
        assert sum(1 for _ in rows_of(vault.backup_of(made), name)) == table.rows
        assert len(query(vault.backup_of(made), f"FROM {name}")) == table.rows
