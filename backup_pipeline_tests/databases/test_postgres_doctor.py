"""The doctor sees what stands in a backup's way before the night does, and says what to do about it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup_pipeline.databases.base import Options
from backup_pipeline.databases.postgres.export import PostgresSource, doctor, versions
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import NotSupported, SourceChanged, SourceUnavailable
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.selection import Selection
from backup_pipeline.restores import restore
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.contracts.source_contract import Taken
from backup_pipeline_tests.harness.backups import ask, backed_up
from backup_pipeline_tests.harness.engines import MakePgDatabase, wait_for
from backup_pipeline_tests.harness.postgres_rows import LivePostgres, run, session


def found(url: str) -> dict[str, Finding]:
    return {finding.code: finding for finding in PostgresSource(url).diagnose(Selection()).findings}


@pytest.fixture
def limited(pg_server: EmbeddedPostgres) -> Iterator[str]:
    role = f"limited_{os.getpid()}"
    run(pg_server.url(), f"CREATE ROLE {role} LOGIN CONNECTION LIMIT 2")
    yield role
    run(pg_server.url(), f"DROP ROLE {role}")


def test_a_healthy_database_gives_no_finding_but_of_the_login(
    pg_major_server: EmbeddedPostgres, pg_major_database: str
) -> None:
    run(pg_major_database, "CREATE TABLE t (id int PRIMARY KEY)")
    # The oldest supported version lacks something; that is said, and is no reason to worry.
    expected = {"one-chunk-a-table": "info"} if pg_major_server.major == 13 else {}
    warned = found(pg_major_database)
    assert {code: finding.severity for code, finding in warned.items()} == {
        **expected,
        "superuser-login": "warning",
    }


def test_a_superuser_is_told_of_a_lesser_role_and_its_grants_are_enough(
    pg_server: EmbeddedPostgres, pg_database: str, tmp_path: Path
) -> None:
    run(
        pg_database,
        "CREATE TABLE t (id serial)",
        "INSERT INTO t DEFAULT VALUES",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "CREATE ROLE another",
        "CREATE TABLE of_another ()",
        "ALTER TABLE of_another OWNER TO another",
        # What the doctor prints must let the new login in as well.
        "DO $$ BEGIN EXECUTE format('REVOKE CONNECT ON DATABASE %I FROM PUBLIC', current_database()); END $$",
    )
    warned = found(pg_database)["superuser-login"]
    assert "1 tables of other owners" in warned.message
    assert warned.examples == ("public.of_another",)
    grants = [line.replace("backup", "lesser") for line in warned.remedy.splitlines() if line[:2] != "--"]
    try:
        run(pg_database, *grants)
        url = pg_database.replace("postgresql://postgres@", "postgresql://lesser@")
        assert found(url) == {}
        (tmp_path / "vault").mkdir()
        taken = Taken(LivePostgres(url), Vault(LocalStore(tmp_path / "vault")))
        assert {entry.name: entry.rows for entry in taken.export.tables} == {"t": 1, "of_another": 0}
    finally:
        run(pg_database, "DROP TABLE of_another", "DROP OWNED BY lesser", "DROP ROLE another, lesser")


def test_a_server_without_the_guard_is_named(pg_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backup_pipeline.databases.postgres.export.snapshot.GUARD", "no_such_setting")
    assert "CVE-2024-7348" in found(pg_database)["server-unpatched"].message


def test_a_login_with_few_connections_is_warned_of(pg_database: str, limited: str) -> None:
    url = pg_database.replace("postgresql://postgres@", f"postgresql://{limited}@")
    assert "2 connections" in found(url)["connection-limit"].message


def test_a_server_that_hides_its_identity_is_backed_up_in_full_each_time(
    pg_database: str, limited: str, tmp_path: Path
) -> None:
    run(
        pg_database,
        # A session that was closed may still count for a moment.
        f"ALTER ROLE {limited} CONNECTION LIMIT 20",
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",
        "CREATE TABLE t (id int)",
        "INSERT INTO t VALUES (1)",
        f"GRANT SELECT ON t TO {limited}",
    )
    url = pg_database.replace("postgresql://postgres@", f"postgresql://{limited}@")
    try:
        assert "GRANT EXECUTE" in found(url)["no-incremental"].remedy
        (tmp_path / "vault").mkdir()
        vault = Vault(LocalStore(tmp_path / "vault"))
        first = Taken(LivePostgres(url), vault)
        assert first.state == {}
        assert Taken(LivePostgres(url), vault, baselines=first.baselines("one")).entry("t").reused_chunks == 0
    finally:
        run(pg_database, f"DROP OWNED BY {limited}")


def test_the_catalog_is_compared_where_the_server_has_no_session_to_spare(
    pg_database: str, limited: str, tmp_path: Path
) -> None:
    run(
        pg_database,
        "CREATE TYPE mood AS ENUM ('sad')",
        "CREATE TABLE t (m mood)",
        "INSERT INTO t VALUES ('sad')",
        f"GRANT SELECT ON t TO {limited}",
    )
    url = pg_database.replace("postgresql://postgres@", f"postgresql://{limited}@")
    (tmp_path / "vault").mkdir()
    vault = Vault(LocalStore(tmp_path / "vault"))
    try:
        with PostgresSource(url).snapshot(Selection(), Options()) as taken:
            with session(url):  # now the login has its two
                assert taken.export(vault.writer, baselines={}).tables[0].rows == 1
        # A session that was closed may still count for a moment.
        left = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{limited}'"
        assert wait_for(lambda: ask(pg_database, left) == [(0,)])
        with PostgresSource(url).snapshot(Selection(), Options()) as taken, session(url):
            run(pg_database, "ALTER TYPE mood RENAME VALUE 'sad' TO 'gloomy'")
            with pytest.raises(SourceChanged, match="label sad"):
                taken.export(vault.writer, baselines={})
    finally:
        run(pg_database, f"DROP OWNED BY {limited}")


def test_tables_with_a_catch_are_named(pg_database: str) -> None:
    run(pg_database, "CREATE TABLE names (c regclass)", "CREATE UNLOGGED TABLE fleeting (id int)")
    codes = found(pg_database)
    assert codes["always-read"].examples == ("public.names",)
    assert codes["unlogged-table"].examples == ("public.fleeting",)
    assert {finding.severity for code, finding in codes.items() if code != "superuser-login"} == {"info"}


def test_a_server_that_is_too_old_is_an_error_and_is_not_backed_up(
    pg_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "OLDEST", 99)
    assert {code: finding.severity for code, finding in found(pg_database).items()} == {
        "server-too-old": "error"
    }
    with (
        pytest.raises(NotSupported, match="99 to 18 are supported"),
        PostgresSource(pg_database).snapshot(Selection(), Options()),
    ):
        raise AssertionError("a snapshot was taken")
    with pytest.raises(NotSupported, match="99 to 18 are supported"):
        PostgresSource(pg_database).inventory(Selection())


def test_a_server_that_is_newer_than_what_was_tested_is_a_warning_in_every_backup(
    pg_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "NEWEST", 12)
    assert found(pg_database)["server-too-new"].severity == "warning"
    (tmp_path / "vault").mkdir()
    taken = Taken(LivePostgres(pg_database), Vault(LocalStore(tmp_path / "vault")))
    assert [finding.code for finding in taken.export.findings] == ["server-too-new"]


def test_the_doctor_waits_for_no_lock(pg_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A doctor that waits would wait for an hour, and the test's own time would be over.
    monkeypatch.setattr(doctor, "PATIENCE", 3600.0)
    # To show a default or a check, the catalog's functions lock their table.
    run(pg_database, "CREATE TABLE t (id int DEFAULT 1 CHECK (id > 0))")
    live = LivePostgres(pg_database)
    with live.writer() as other:
        other.run("LOCK TABLE t")
        assert "public.t is locked by process" in found(pg_database)["locked"].message


def test_an_inventory_does_not_wait_for_ever_either(
    pg_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 0.5)
    run(pg_database, "CREATE TABLE t (id int DEFAULT 1)")
    with LivePostgres(pg_database).writer() as other:
        other.run("LOCK TABLE t")
        with pytest.raises(SourceUnavailable, match="lock timeout"):
            PostgresSource(pg_database).inventory(Selection())


def test_a_partitioned_table_counts_by_its_partitions_and_unknown_rows_are_not_called_none(
    pg_database: str,
) -> None:
    run(pg_database, "CREATE TABLE p (id int) PARTITION BY RANGE (id)")
    run(pg_database, "CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (9)")
    run(pg_database, "INSERT INTO p VALUES (1)")
    source = PostgresSource(pg_database)
    counted = source.diagnose(Selection()).counted
    assert (counted["tables"], counted["selected"]) == (1, 1)
    guess = {table.id.name: table.rows for table in source.inventory(Selection()).tables}
    assert guess["p1"] < 0


def test_functions_that_a_restore_could_not_call_are_foreseen(pg_database: str) -> None:
    """Of what is called while rows are loaded or indexes are built; nothing of it is run to find out."""
    run(
        pg_database,
        """CREATE TABLE rates (cur text);
        CREATE FUNCTION un(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
        CREATE FUNCTION f_bad(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT $1';
        CREATE FUNCTION f_good(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT public.un($1) -- not un';
        CREATE FUNCTION f_set(text) RETURNS text LANGUAGE sql IMMUTABLE SET search_path = public AS 'SELECT un($1)';
        CREATE FUNCTION f_free(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT un($1)';
        CREATE FUNCTION known(text) RETURNS bool LANGUAGE plpgsql STABLE AS
          'BEGIN RETURN EXISTS (SELECT FROM "rates" WHERE cur = $1); END';
        CREATE DOMAIN currency AS text CHECK (known(VALUE));
        CREATE TABLE t (a text, g text GENERATED ALWAYS AS (f_bad(a)) STORED, CHECK (f_set(a) <> 'x'));
        CREATE INDEX by_bad ON t (f_bad(a)); CREATE INDEX by_good ON t (f_good(a));
        CREATE VIEW v AS SELECT f_free(a) FROM t; CREATE TABLE d (a text DEFAULT f_free('x'));
        CREATE OR REPLACE FUNCTION f_bad(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT un($1)'""",
    )
    finding = found(pg_database)["search-path-needed"]
    assert finding.severity == "warning"
    bad, known = finding.examples
    assert bad.startswith("public.f_bad(text) names un; called by ")
    assert "index public.by_bad" in bad
    assert known.startswith("public.known(text) names rates; called by constraint")


def test_options_of_user_mappings_that_the_login_cannot_read_are_told_everywhere(
    pg_database: str, make_pg_database: MakePgDatabase, limited: str, tmp_path: Path
) -> None:
    """The view shows them to superusers only: a restore made the mapping without its password, and no word said so."""
    run(
        pg_database,
        f"GRANT pg_read_all_data TO {limited}",
        "CREATE TABLE t (id int)",
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE SERVER crm FOREIGN DATA WRAPPER w",
        "CREATE USER MAPPING FOR postgres SERVER crm OPTIONS (\"user\" 'u', password 'p')",
        "CREATE USER MAPPING FOR PUBLIC SERVER crm OPTIONS (\"user\" 'u')",
    )
    named = ("USER MAPPING FOR postgres SERVER crm", "USER MAPPING FOR public SERVER crm")
    try:
        assert "mapping-options-unread" not in found(pg_database), "a superuser reads them"
        url = pg_database.replace("postgresql://postgres@", f"postgresql://{limited}@")
        told = found(url)["mapping-options-unread"]
        assert (told.severity, told.examples) == ("warning", named)
        assert "ALTER USER MAPPING" in told.remedy
        backed = backed_up(url, tmp_path / "vault")
        assert named in [one.examples for one in backed.manifest.findings if one.code == told.code]
        recover = next((tmp_path / "vault").rglob("RECOVER.md")).read_text()
        assert f"its login could not read them. Set them again:\n\n- `{named[0]}`" in recover
        restored = restore(backed.backup, make_pg_database())
        (again,) = [one for one in restored.findings if one.code == told.code]
        assert "have to be set again: 2" in again.message
    finally:
        run(pg_database, f"REVOKE pg_read_all_data FROM {limited}", f"DROP OWNED BY {limited}")
