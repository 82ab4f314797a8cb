"""What was backed up is what is there after a restore: definitions, rows, sequences; and it can be written to."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.postgres.restore import preflight
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.restores import plan_restore, restore
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, rows_of, run_sql, schema_of
from backup_pipeline_tests.harness.engines import ENDS, MAJORS, MakePgDatabase, Servers
from backup_pipeline_tests.harness.torture_postgres import INSERTS, ROLES, torture_sql


@pytest.fixture(params=[True, False], ids=["one transaction", "parallel"])
def one_transaction(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(preflight, "SMALL", 0)
    return bool(request.param)


def test_a_restored_database_is_the_source_again_and_takes_new_rows(
    torture: Backed,
    pg_major_server: EmbeddedPostgres,
    make_pg_database: MakePgDatabase,
    one_transaction: bool,
) -> None:
    target = make_pg_database(server=pg_major_server)

    result = restore(torture.backup, target, RestoreOptions(jobs=2))

    assert result.plan.one_transaction is one_transaction
    assert result.rows == torture.manifest.rows > 100
    assert [finding for finding in result.findings if finding.severity == "error"] == []
    assert schema_of(pg_major_server, target) == schema_of(pg_major_server, torture.url)
    assert rows_of(target) == rows_of(torture.url)
    for insert in INSERTS:
        run_sql(target, insert)


def test_a_database_is_made_with_the_encoding_and_collation_of_the_source(
    pg_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    run_sql(
        pg_server.url(),
        "CREATE DATABASE made_latin1 TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    try:
        url = pg_server.url("made_latin1")
        run_sql(
            url,
            "COMMENT ON DATABASE made_latin1 IS 'a comment'; CREATE TABLE t (ä text); INSERT INTO t VALUES ('é')",
        )
        backed = backed_up(url, tmp_path / "vault")
        target = pg_server.url("made_again")
        plan = plan_restore(backed.backup, target, RestoreOptions(create=True))
        assert plan.create
        restore(backed.backup, target, RestoreOptions(create=True))
        query = "SELECT pg_encoding_to_char(encoding), datcollate, shobj_description(oid, 'pg_database') FROM pg_database"
        assert ask(target, f"{query} WHERE datname = 'made_again'") == [("LATIN1", "C", "a comment")]
        assert ask(target, "SELECT ä FROM t") == [("é",)]
    finally:
        pg_server.drop_database("made_latin1")
        pg_server.drop_database("made_again")


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "EUC_JP"])
def test_text_in_an_encoding_that_utf8_does_not_hold_exactly_comes_back_byte_for_byte(
    pg_server: EmbeddedPostgres, tmp_path: Path, encoding: str
) -> None:
    run_sql(
        pg_server.url(),
        f"CREATE DATABASE made_bytes TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    try:
        url = pg_server.url("made_bytes")
        run_sql(url, 'CREATE TABLE "日本" (t text DEFAULT \'日本\'); INSERT INTO "日本" DEFAULT VALUES')
        if encoding == "SQL_ASCII":
            run_sql(url, r"INSERT INTO 日本 VALUES (E'\xff\xe9')")
        backed = backed_up(url, tmp_path / "vault")
        target = pg_server.url("made_bytes_again")
        restore(backed.backup, target, RestoreOptions(create=True))
        query = "SELECT encode(t::bytea, 'hex') FROM 日本 ORDER BY 1"
        assert ask(target, query) == ask(url, query)
        assert schema_of(pg_server, target) == schema_of(pg_server, url)
    finally:
        pg_server.drop_database("made_bytes")
        pg_server.drop_database("made_bytes_again")


def test_a_backup_of_an_older_major_version_restores_to_a_newer_one(
    pg_servers: Servers, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    if ENDS[0] == MAJORS[-1]:
        pytest.skip("only one major version on this machine")
    source = make_pg_database("older", server=pg_servers[ENDS[0]])
    # Not every server can hold XML, so a copy on another one may fail for that alone.
    run_sql(source, torture_sql(ENDS[0]) + "DROP TABLE IF EXISTS markup;")
    backed = backed_up(source, tmp_path / "vault")
    target = make_pg_database("newer", server=pg_servers[MAJORS[-1]])
    run_sql(target, ROLES)
    result = restore(backed.backup, target)
    assert rows_of(target) == rows_of(source)
    assert "newer-server" in {finding.code for finding in result.findings}
    assert [finding for finding in result.findings if finding.severity == "error"] == []
    for insert in INSERTS:
        run_sql(target, insert)


def test_a_materialized_view_that_was_not_populated_stays_so(
    make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source, target = make_pg_database(), make_pg_database()
    run_sql(
        source,
        "CREATE TABLE t (x int); INSERT INTO t VALUES (1);"
        "CREATE MATERIALIZED VIEW full_one AS SELECT * FROM t;"
        "CREATE VIEW between AS SELECT * FROM full_one; CREATE MATERIALIZED VIEW on_it AS SELECT * FROM between;"
        "CREATE MATERIALIZED VIEW empty_one AS SELECT * FROM t WITH NO DATA",
    )
    backed = backed_up(source, tmp_path / "vault")
    restore(backed.backup, target)
    query = "SELECT relname, relispopulated FROM pg_class WHERE relkind = 'm' ORDER BY 1"
    assert ask(target, query) == [("empty_one", False), ("full_one", True), ("on_it", True)]
    assert ask(target, "SELECT * FROM on_it") == [(1,)]


def test_rows_that_break_a_foreign_key_are_restored_and_reported(
    make_pg_database: MakePgDatabase, tmp_path: Path, one_transaction: bool
) -> None:
    source, target = make_pg_database(), make_pg_database()
    run_sql(
        source,
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p_id int CONSTRAINT to_p REFERENCES p);"
        "SET session_replication_role = replica; INSERT INTO c VALUES (7)",
    )
    backed = backed_up(source, tmp_path / "vault")
    result = restore(backed.backup, target)
    (finding,) = [found for found in result.findings if found.severity == "error"]
    assert finding.code == "dangling-reference"
    assert finding.table == "public.c"
    assert "constraint to_p" in finding.message
    # A value of a row: findings are written down.
    assert "(p_id)=(7)" not in finding.message
    assert "`verify` names" in finding.remedy
    assert ask(target, "SELECT p_id FROM c") == [(7,)]
    assert ask(target, "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f'") == [
        ("to_p", False)
    ]


def test_a_foreign_key_to_a_table_that_was_left_out_holds_for_new_rows(
    make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    from backup_pipeline.model.selection import Selection

    source, target = make_pg_database(), make_pg_database()
    run_sql(
        source,
        "CREATE TABLE p (id int PRIMARY KEY); CREATE TABLE c (p_id int REFERENCES p);"
        "INSERT INTO p VALUES (1); INSERT INTO c VALUES (1)",
    )
    backed = backed_up(source, tmp_path / "vault", selection=Selection(exclude=("p",)))
    result = restore(backed.backup, target)
    assert {finding.code for finding in result.findings} >= {"tables-without-rows", "foreign-key-not-checked"}
    assert ask(target, "SELECT p_id FROM c") == [(1,)]
    assert {plan.table.name: plan.action for plan in result.plan.tables} == {"c": "load", "p": "no rows here"}


@pytest.mark.slow
@pytest.mark.parametrize("tables", [1000, pytest.param(2000, marks=pytest.mark.soak)])
def test_more_tables_than_one_transaction_may_lock_are_restored(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path, tables: int
) -> None:
    source, target = make_pg_database(), make_pg_database()
    with_psql = "".join(
        f"CREATE TABLE t{n} (id serial PRIMARY KEY, x text UNIQUE); INSERT INTO t{n} (x) VALUES ('{n}');\n"
        for n in range(tables)
    )
    for start in range(0, tables, 250):
        run_sql(source, "\n".join(with_psql.splitlines()[start : start + 250]))
    backed = backed_up(source, tmp_path / "vault")
    result = restore(backed.backup, target, RestoreOptions(jobs=2))
    assert not result.plan.one_transaction
    assert rows_of(target) == rows_of(source)
    assert schema_of(pg_server, target) == schema_of(pg_server, source)
