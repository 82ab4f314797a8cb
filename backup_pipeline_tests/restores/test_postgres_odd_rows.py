"""Rows that their own definitions do not take (any more): they are restored, and the definition is named."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from backup_pipeline.backups.making import Order, back_up
from backup_pipeline.databases.base import DrillOptions, Options, RestoreOptions
from backup_pipeline.databases.engines import open_source
from backup_pipeline.databases.postgres.restore import preflight
from backup_pipeline.databases.postgres.restore.own_names import OwnPath
from backup_pipeline.databases.postgres.restore.runner import attempt
from backup_pipeline.databases.postgres.restore.statements import Statement
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.databases.restore_plan import RestoreResult
from backup_pipeline.drills import drill
from backup_pipeline.model.findings import Finding
from backup_pipeline.restores import restore
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.backups import ask, backed_up, rows_of, run_sql
from backup_pipeline_tests.harness.engines import MAJORS, NEWEST, MakePgDatabase, Servers

#: From PostgreSQL 17 on an index is built with a search_path of the server's own, in the source as well.
OLD = next((major for major in MAJORS if major < 17), None)

#: The usual recipe, and all that calls such functions.
NAMES = """
CREATE SCHEMA app; SET search_path = app, public;
CREATE TABLE rates (cur text); INSERT INTO rates VALUES ('EUR');
CREATE FUNCTION un(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
CREATE FUNCTION f_un(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT un($1)';
CREATE FUNCTION known(text) RETURNS bool LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM rates WHERE cur = $1)';
CREATE FUNCTION twice(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN length(un(repeat(''x'', $1 * 2))); END';
CREATE TABLE names (id int PRIMARY KEY, name text, cur text CHECK (known(cur)), n int,
                    n2 int NOT NULL GENERATED ALWAYS AS (twice(n)) STORED);
INSERT INTO names SELECT n, 'name ' || n, 'EUR', n FROM generate_series(1, 300) n;
CREATE INDEX by_name ON names (f_un(name)); CREATE UNIQUE INDEX ON names (f_un(name), id) WHERE f_un(name) <> 'X';
CREATE MATERIALIZED VIEW loud AS SELECT f_un(name) AS name FROM names;
"""

#: What holds was true when the rows were written, or was got around.
BROKEN = """
CREATE TABLE until (id int PRIMARY KEY, secret text, ends timestamptz);
INSERT INTO until VALUES (1, 'AIDS', '2020-01-01'), (2, 'flu', 'infinity');
ALTER TABLE until ADD CONSTRAINT not_over CHECK (ends > now()) NOT VALID;
CREATE TABLE root (id int, CONSTRAINT small CHECK (id < 10)) PARTITION BY LIST (id);
CREATE TABLE leaf PARTITION OF root FOR VALUES IN (1, 2); INSERT INTO root VALUES (1), (2);
ALTER TABLE root DROP CONSTRAINT small; ALTER TABLE root ADD CONSTRAINT small CHECK (id < 2) NOT VALID;
CREATE TABLE twice (id int PRIMARY KEY, v int NOT NULL CONSTRAINT once UNIQUE); CREATE TABLE heir (twice_id int REFERENCES twice);
INSERT INTO twice VALUES (1, 1), (2, 2); INSERT INTO heir VALUES (1);
CREATE VIEW grouped AS SELECT id, v, count(*) FROM twice GROUP BY id;
COMMENT ON CONSTRAINT once ON twice IS 'never twice';
UPDATE pg_index SET indisunique = false WHERE indexrelid IN ('twice_pkey'::regclass, 'once'::regclass);
INSERT INTO twice VALUES (1, 2);
CREATE DOMAIN word AS text; CREATE TABLE said (w word); INSERT INTO said VALUES ('shh'), (NULL), ('hello');
ALTER DOMAIN word ADD CONSTRAINT polite CHECK (VALUE <> 'shh') NOT VALID;
CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
CREATE TABLE computed (n int, g int NOT NULL GENERATED ALWAYS AS (f(n)) STORED, CHECK (f(n) > 0)); INSERT INTO computed VALUES (7);
CREATE INDEX by_f ON heir (f(twice_id));
CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE ''not %'', $1; END';
CREATE MATERIALIZED VIEW base AS SELECT 1 AS x; CREATE MATERIALIZED VIEW above AS SELECT * FROM base;
REFRESH MATERIALIZED VIEW base WITH NO DATA;
UPDATE pg_constraint SET convalidated = true; UPDATE pg_type SET typnotnull = true WHERE typname = 'word';
"""


@pytest.fixture(params=[True, False], ids=["one transaction", "parallel"])
def one_transaction(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(preflight, "SMALL", 0)
    return bool(request.param)


def in_app(url: str) -> str:
    """With the search_path of the application."""
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3Dapp,public"


def said(result: RestoreResult, code: str) -> set[str]:
    return {one.message for one in result.findings if one.code == code}


@pytest.mark.skipif(OLD is None, reason="only servers before version 17 build such an index")
def test_functions_that_name_things_without_a_schema_find_them(
    pg_servers: Servers, make_pg_database: MakePgDatabase, tmp_path: Path, one_transaction: bool
) -> None:
    assert OLD is not None
    server = pg_servers[OLD]
    source, target = make_pg_database(server=server), make_pg_database(server=server)
    run_sql(source, NAMES)
    run_sql(
        source,
        "ALTER TABLE app.rates SET SCHEMA public; DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = "
        '"$user", app, public\', current_database()); END $$',
    )
    backed = backed_up(source, tmp_path / "vault")
    result = restore(backed.backup, target, RestoreOptions(jobs=2))
    assert {(one.severity, one.code) for one in result.findings} == {("info", "own-search-path")}
    assert result.remainder == ()
    for rows in ("SELECT * FROM names ORDER BY 1", "SELECT * FROM loud ORDER BY 1", "TABLE rates"):
        assert ask(in_app(target), rows) == ask(in_app(source), rows) != []
    assert ask(
        target, "SELECT count(*) FROM pg_index WHERE indisvalid AND indrelid = 'app.names'::regclass"
    ) == [(3,)]
    assert ask(
        target, "SELECT conname, convalidated FROM pg_constraint WHERE contypid = 0 AND contype = 'c'"
    ) == [("names_cur_check", True)]
    report = drill(backed.backup, DrillOptions(scratch_url=server.url()))
    assert [one for one in report.findings if one.severity != "info"] == []
    if one_transaction and NEWEST is not None and NEWEST >= 17:
        newer = make_pg_database()
        result = restore(backed.backup, newer)
        assert sorted(left.what.split(" ON ")[0] for left in result.lacking) == [
            "CREATE INDEX by_name",
            "CREATE UNIQUE INDEX names_f_un_id_idx",
            'REFRESH MATERIALIZED VIEW "app"."loud"',
        ]
        assert ask(newer, "SELECT count(*), sum(n2) FROM app.names") == [(300, 90300)]


def test_rows_that_break_their_rules_come_back_and_the_rules_are_named(
    make_pg_database: MakePgDatabase, tmp_path: Path, one_transaction: bool
) -> None:
    source, target = make_pg_database(), make_pg_database()
    run_sql(source, BROKEN)
    backed = backed_up(source, tmp_path / "vault")
    result = restore(backed.backup, target, RestoreOptions(jobs=2))
    before, after = rows_of(source), rows_of(target)
    # What a function computes is in no backup.
    before["public.computed"], before["public.above"] = [b"7\t\\N\n"], []
    after.setdefault("public.above", [])
    assert after == before
    broken = said(result, "rows-break-rule")
    assert {one.severity for one in result.findings if one.code == "rows-break-rule"} == {"error"}, (
        "exit code 10"
    )
    for part in (
        "public.until: rows break the check not_over (1 of them); it was made NOT VALID",
        "public.root: rows break the check small (1 of them); it was made NOT VALID",
        "public.twice: rows share values of the primary key twice_pkey (2 of them); it was left out",
        "public.twice: rows share values of the unique constraint once (2 of them); it was left out",
        "the domain public.word: NOT NULL: ",
        "the domain public.word: the check polite: ",
        "public.computed: the check computed_n_check: a function of the database raised",
        "public.computed.g: its computed values",
    ):
        assert [one for one in broken if one.startswith(part)], (part, broken)
    assert len(broken) == 8
    assert len(said(result, "rule-not-made")) == 3  # the key to what is not unique, by_f, above
    left = [one.sql for one in result.lacking]
    for part in (
        "twice_pkey PRIMARY KEY",
        "once UNIQUE",
        "heir_twice_id_fkey",
        "INDEX by_f",
        "VIEW public.grouped",
        "never twice",
    ):
        assert [one for one in left if part in one], part
    everything = repr((result.findings, [one.reason for one in result.remainder]))
    assert "AIDS" not in everything
    assert "2020-01-01" not in everything
    assert "not 7" not in everything
    # They hold for what is new.
    for statement in (
        "INSERT INTO until VALUES (3, 'x', '2020-01-01')",
        "INSERT INTO root VALUES (2)",
        "INSERT INTO said VALUES ('shh')",
    ):
        with pytest.raises(Exception, match="violates check constraint"):
            run_sql(target, statement)


def test_a_drill_proves_a_backup_whose_rows_outlived_their_check(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    """Before: exit 10 each night, with an error and a `definition-differs` for a rule that was right when it was asked."""
    source = make_pg_database()
    run_sql(
        source,
        """CREATE TABLE coupon (id int PRIMARY KEY, ends timestamptz); INSERT INTO coupon VALUES (1, '2020-01-01');
        ALTER TABLE coupon ADD CONSTRAINT not_over CHECK (ends > now()) NOT VALID;
        COMMENT ON CONSTRAINT not_over ON coupon IS 'new ones only';
        CREATE TABLE root (id int) PARTITION BY LIST (id); CREATE TABLE leaf PARTITION OF root FOR VALUES IN (1, 2);
        INSERT INTO root VALUES (1), (2); ALTER TABLE root ADD CONSTRAINT small CHECK (id < 2) NOT VALID;
        UPDATE pg_constraint SET convalidated = true""",
    )
    backed = backed_up(source, tmp_path / "vault")
    found = drill(backed.backup, DrillOptions(scratch_url=pg_server.url())).findings
    told = [(one.severity, one.code, one.table) for one in found if one.severity != "info"]
    assert told == [
        ("warning", "rows-break-rule", "public.coupon"),
        ("warning", "rows-break-rule", "public.root"),
    ]
    # The remedy works: a source that says so is no reason for a word.
    assert all("DROP CONSTRAINT" in one.remedy for one in found if one.severity == "warning")
    for table, name, check in (("coupon", "not_over", "ends > now()"), ("root", "small", "id < 2")):
        run_sql(
            source,
            f"ALTER TABLE {table} DROP CONSTRAINT {name}; ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({check}) NOT VALID",
        )
    backed = backed_up(source, tmp_path / "vault")
    found = drill(backed.backup, DrillOptions(scratch_url=pg_server.url())).findings
    assert [one for one in found if one.severity != "info"] == []


@pytest.mark.skipif(OLD is None, reason="only servers before version 17 build such an index")
def test_a_foreign_key_is_not_said_to_call_the_function_of_an_index(
    pg_servers: Servers, make_pg_database: MakePgDatabase
) -> None:
    """Before: `the foreign key loan_of calls a function`; it was an index of `names` that did."""
    assert OLD is not None
    url = make_pg_database(server=pg_servers[OLD])
    run_sql(url, NAMES + "CREATE TABLE loan (of int); INSERT INTO loan VALUES (1);")
    text = "ALTER TABLE ONLY app.loan ADD CONSTRAINT loan_of FOREIGN KEY (of) REFERENCES app.names(id)"
    # A session that made the index would know its function.
    with (
        psycopg.connect(url, autocommit=True, options="-csearch_path=") as connection,
        connection.transaction(),
    ):
        (told,) = attempt(connection, Statement(text, 1), "post-data", Terms(path=OwnPath(("app",))))
    assert isinstance(told, Finding)
    assert told.message == (
        'app.loan: the foreign key loan_of was made with the search_path "app", because a function that ran names things '
        'without a schema (function un(text) does not exist (SQLSTATE 42883); SQL function "f_un" during inlining)'
    )


@pytest.mark.skipif(OLD is None, reason="only servers before version 17 build such an index")
def test_a_table_on_which_no_query_can_be_planned_is_backed_up_night_after_night(
    pg_servers: Servers, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    """Before: above 16 MiB (here: a page) such a table failed each backup: function un(text) does not exist."""
    assert OLD is not None
    source = make_pg_database(server=pg_servers[OLD])
    run_sql(source, NAMES)
    vault, order = Vault(LocalStore(tmp_path / "vault")), Order("shop", options=Options(chunk_bytes=8192))
    for _ in range(2):
        manifest = back_up(vault, open_source(source), order)
        (names,) = [entry for entry in manifest.tables if entry.name == "names"]
        assert (names.rows, len(names.chunks)) == (300, 1)
