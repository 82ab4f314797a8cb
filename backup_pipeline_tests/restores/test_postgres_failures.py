"""What a restore refuses, and what it leaves behind when it fails: nothing."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.postgres.export import versions
from backup_pipeline.databases.postgres.restore import preflight
from backup_pipeline.databases.postgres.restore.target import Server, what_is_there
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import Damaged, RestoreError, TargetNotEmpty
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.restores import plan_restore, restore
from backup_pipeline.vault import layout
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, run_sql, schema_of
from backup_pipeline_tests.harness.engines import MakePgDatabase, wait_for

SOURCE = """
CREATE SCHEMA app;
CREATE TYPE app.mood AS ENUM ('good', 'bad');
CREATE FUNCTION app.one() RETURNS int LANGUAGE sql RETURN 1;
CREATE TABLE app.t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, m app.mood);
CREATE TABLE app.u (id int PRIMARY KEY REFERENCES app.t);
CREATE VIEW v AS SELECT * FROM app.t;
INSERT INTO app.t (m) SELECT 'good' FROM generate_series(1, 1000);
INSERT INTO app.u SELECT id FROM app.t;
COMMENT ON SCHEMA public IS 'mine';
REVOKE ALL ON SCHEMA public FROM PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC;
CREATE PUBLICATION p FOR TABLE app.t;
"""


@pytest.fixture(params=[True, False], ids=["one transaction", "parallel"])
def one_transaction(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if not request.param:
        monkeypatch.setattr(preflight, "SMALL", 0)
    return bool(request.param)


@pytest.fixture(scope="module")
def backed(pg_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    url = pg_server.create_database("failures_source")
    run_sql(url, SOURCE if pg_server.major >= 14 else SOURCE.replace("RETURN 1", "AS 'SELECT 1'"))
    yield backed_up(url, tmp_path_factory.mktemp("failures") / "vault")
    pg_server.drop_database("failures_source")


def databases(server: EmbeddedPostgres) -> set[object]:
    return {row[0] for row in ask(server.url(), "SELECT datname FROM pg_database")}


def test_a_target_that_holds_something_is_refused_and_left_alone(
    backed: Backed, pg_server: EmbeddedPostgres, pg_database: str
) -> None:
    run_sql(pg_database, "CREATE TABLE precious (x int); INSERT INTO precious VALUES (1)")
    before = schema_of(pg_server, pg_database)
    with pytest.raises(TargetNotEmpty, match=r"it holds table public\.precious") as caught:
        restore(backed.backup, pg_database, RestoreOptions(create=True))
    assert "--create" in caught.value.remedy
    assert schema_of(pg_server, pg_database) == before
    plan = plan_restore(backed.backup, pg_database)
    assert [finding.code for finding in plan.refused] == ["target-not-empty"]


@pytest.mark.parametrize(
    "something",
    [
        "CREATE SCHEMA s",
        "CREATE TYPE t AS ENUM ('x')",
        "CREATE DOMAIN d AS int",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SEQUENCE s",
        "CREATE VIEW v AS SELECT 1 AS x",
        "CREATE PUBLICATION p FOR ALL TABLES",
        "SELECT lo_create(0)",
        'CREATE COLLATION c FROM "C"',
        "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC",
    ],
)
def test_anything_at_all_makes_a_target_not_empty(backed: Backed, pg_database: str, something: str) -> None:
    run_sql(pg_database, something)
    assert plan_restore(backed.backup, pg_database).refused[0].code == "target-not-empty"


def test_a_server_outside_the_supported_versions_is_refused_or_warned_of(
    backed: Backed, pg_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(versions, "NEWEST", 12)
    plan = plan_restore(backed.backup, pg_database)
    assert plan.refused == ()
    assert "server-too-new" in {finding.code for finding in plan.findings}
    monkeypatch.setattr(versions, "OLDEST", 99)
    with pytest.raises(RestoreError, match="the server is PostgreSQL"):
        restore(backed.backup, pg_database)
    assert ask(pg_database, "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == [
        (0,)
    ]


def test_an_extension_and_the_public_schema_do_not_count(backed: Backed, pg_database: str) -> None:
    # The wheel's servers have one of them, all others the other.
    ((extension,),) = ask(
        pg_database, "SELECT max(name) FROM pg_available_extensions WHERE name IN ('vector', 'hstore')"
    )
    run_sql(pg_database, f"CREATE EXTENSION IF NOT EXISTS {extension}")
    assert plan_restore(backed.backup, pg_database).refused == ()
    restore(backed.backup, pg_database)
    assert ask(pg_database, "SELECT count(*) FROM app.t") == [(1000,)]


def test_a_database_that_does_not_exist_is_made_only_when_asked(
    backed: Backed, pg_server: EmbeddedPostgres
) -> None:
    with pytest.raises(RestoreError, match="does not exist") as caught:
        restore(backed.backup, pg_server.url("not_there"))
    assert "--create" in caught.value.remedy
    assert "not_there" not in databases(pg_server)


def test_a_backup_of_another_engine_is_refused(backed: Backed, tmp_path: Path) -> None:
    with pytest.raises(RestoreError, match="a postgres database, and the target is sqlite"):
        restore(backed.backup, f"sqlite:///{tmp_path}/x.db")


def test_a_failure_late_in_the_restore_drops_the_database_that_was_made(
    backed: Backed, pg_server: EmbeddedPostgres, one_transaction: bool
) -> None:
    broken = backed.with_sql("post-data", "SELECT 1/0;")
    with pytest.raises(RestoreError, match=r"(?s)division by zero.*SELECT 1/0"):
        restore(backed.vault.backup_of(broken), pg_server.url("made_and_failed"), RestoreOptions(create=True))
    assert "made_and_failed" not in databases(pg_server)


@pytest.mark.parametrize("section", ["pre-data", "post-data"])
def test_a_failure_leaves_an_empty_database_as_it_was(
    backed: Backed, pg_server: EmbeddedPostgres, pg_database: str, one_transaction: bool, section: str
) -> None:
    before = schema_of(pg_server, pg_database)
    public = "SELECT nspacl, nspowner, obj_description(oid) FROM pg_namespace WHERE nspname = 'public'"
    rights = ask(pg_database, public)
    with pytest.raises(RestoreError, match="division by zero"):
        restore(backed.vault.backup_of(backed.with_sql(section, "SELECT 1/0;")), pg_database)
    with Server.of(pg_database).open() as connection:
        assert what_is_there(connection) == ()
    assert schema_of(pg_server, pg_database) == before
    assert ask(pg_database, public) == rights
    restore(backed.backup, pg_database)


def test_everything_that_is_difficult_is_taken_back(
    torture: Backed, pg_major_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "SMALL", 0)
    url = pg_major_server.create_database("torture_undone")
    try:
        before = schema_of(pg_major_server, url)
        with pytest.raises(RestoreError, match="division by zero") as caught:
            restore(torture.vault.backup_of(torture.with_sql("post-data", "SELECT 1/0;")), url)
        assert "stay" not in caught.value.message
        assert schema_of(pg_major_server, url) == before
    finally:
        pg_major_server.drop_database("torture_undone")


#: Fails when another session holds a lock, as a sign that it has made what it wants; and after a minute.
OTHERS_FIRST = """
DO $$ BEGIN
  FOR i IN 1..1200 LOOP
    EXIT WHEN EXISTS (SELECT FROM pg_catalog.pg_locks WHERE locktype = 'advisory' AND objid = 4711);
    PERFORM pg_catalog.pg_sleep(0.05);
  END LOOP;
END $$;
SELECT 1/0;
"""


@pytest.mark.parametrize("create", [False, True], ids=["empty", "made"])
def test_a_restore_that_failed_drops_only_what_it_made(
    backed: Backed,
    pg_server: EmbeddedPostgres,
    pg_database: str,
    create: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "SMALL", 0)
    target = pg_server.url("made_by_two") if create else pg_database
    there = "SELECT count(*) FROM pg_database WHERE datname = 'made_by_two'"
    made = "SELECT count(*) FROM pg_publication"
    manifest = backed.with_sql("post-data", OTHERS_FIRST)
    with ThreadPoolExecutor(1) as side:
        failing = side.submit(
            restore, backed.vault.backup_of(manifest), target, RestoreOptions(create=create)
        )
        try:
            assert not create or wait_for(lambda: ask(pg_server.url(), there) == [(1,)], seconds=60)
            sleeping = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
            assert wait_for(lambda: ask(target, sleeping) == [(1,)], seconds=60)
        finally:
            with psycopg.connect(target, autocommit=True) as other:
                other.execute("CREATE TABLE theirs (id int REFERENCES app.u); INSERT INTO theirs VALUES (7)")
                other.execute("CREATE TABLE untouched (x int); INSERT INTO untouched VALUES (1)")
                other.execute("CREATE VIEW their_view AS SELECT * FROM v")
                other.execute("SELECT pg_advisory_lock(4711)")
                error = failing.exception(timeout=90)
    try:
        assert isinstance(error, RestoreError)
        assert "division by zero" in error.message
        assert "table app.u (because of table constraint" in error.message
        assert "view public.v (because of view public.their_view)" in error.message
        assert ask(target, "SELECT id FROM theirs UNION ALL SELECT x FROM untouched") == [(7,), (1,)]
        assert ask(target, "SELECT count(*) FROM their_view") == [(1000,)]
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            run_sql(target, "INSERT INTO theirs VALUES (-1)")
        assert ask(target, made) == [(0,)]
        assert ask(target, "SELECT to_regproc('app.one')") == [(None,)]
    finally:
        if create:
            pg_server.drop_database("made_by_two")


def test_a_damaged_chunk_is_never_committed(
    backed: Backed, pg_database: str, one_transaction: bool, tmp_path: Path
) -> None:
    entry = next(table for table in backed.manifest.tables if table.name == "t")
    path = backed.folder / layout.object_key(entry.chunks[0].object)
    good = path.read_bytes()
    # The checksum at the end of the frame: every row comes out right before the damage is noticed.
    path.chmod(0o600)
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    try:
        with pytest.raises(Damaged, match=r"app\.t: object"):
            restore(backed.backup, pg_database)
    finally:
        path.write_bytes(good)
    with Server.of(pg_database).open() as connection:
        assert what_is_there(connection) == ()


def test_a_missing_object_is_found_before_anything_is_written(backed: Backed, pg_database: str) -> None:
    path = backed.folder / layout.object_key(backed.manifest.tables[0].chunks[0].object)
    away = path.with_suffix(".away")
    path.rename(away)
    try:
        plan = plan_restore(backed.backup, pg_database)
        assert [finding.code for finding in plan.refused] == ["object-missing"]
    finally:
        away.rename(path)


def test_a_dry_run_does_everything_and_keeps_nothing(
    backed: Backed, pg_server: EmbeddedPostgres, pg_database: str
) -> None:
    before = schema_of(pg_server, pg_database)
    result = restore(backed.backup, pg_database, RestoreOptions(dry_run=True))
    assert result.dry_run
    assert result.rows == 0
    assert result.plan.rows == 2000
    assert "load" in result.seconds
    assert schema_of(pg_server, pg_database) == before
    # What only shows when the statement is run shows in a dry run as well.
    with pytest.raises(RestoreError, match="division by zero"):
        restore(
            backed.vault.backup_of(backed.with_sql("post-data", "SELECT 1/0;")),
            pg_database,
            RestoreOptions(dry_run=True),
        )


def test_a_dry_run_makes_no_database(backed: Backed, pg_server: EmbeddedPostgres) -> None:
    before = databases(pg_server)
    result = restore(backed.backup, pg_server.url("dry"), RestoreOptions(create=True, dry_run=True))
    assert [finding.code for finding in result.findings] == ["dry-run-partial"]
    assert databases(pg_server) == before


def test_an_extension_that_the_server_lacks_is_named_with_what_to_do(
    backed: Backed, pg_database: str
) -> None:
    manifest = backed.with_sql("pre-data", 'CREATE EXTENSION IF NOT EXISTS "no-such" WITH SCHEMA public;')
    with pytest.raises(RestoreError, match="extension no-such") as caught:
        restore(backed.vault.backup_of(manifest), pg_database)
    assert "postgresql-NN-no-such" in caught.value.remedy


def test_settings_of_a_newer_version_are_left_out(backed: Backed, pg_database: str) -> None:
    manifest = backed.with_sql("pre-data", "SET a_setting_of_version_99 = 0;\nSET default_tablespace = fast;")
    result = restore(backed.vault.backup_of(manifest), pg_database)
    assert {finding.code for finding in result.findings} == {"setting-unknown", "tablespace-missing"}


def test_roles_that_the_target_lacks_are_named_with_the_exact_sql(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source, target = make_pg_database("roles_source"), make_pg_database()
    run_sql(
        source,
        """
        CREATE ROLE "Gone Role"; CREATE ROLE gone_two;
        CREATE TABLE t (x int); ALTER TABLE t OWNER TO "Gone Role";
        CREATE TABLE u (x int); GRANT SELECT, INSERT ON u TO gone_two WITH GRANT OPTION;
        CREATE ROLE "user"; GRANT SELECT ON u TO "user";
        SET SESSION AUTHORIZATION gone_two; GRANT SELECT ON u TO postgres; RESET SESSION AUTHORIZATION;
        ALTER TABLE u ENABLE ROW LEVEL SECURITY;
        CREATE POLICY p ON u TO gone_two USING (x > 0);
        ALTER DEFAULT PRIVILEGES FOR ROLE "Gone Role" IN SCHEMA public GRANT SELECT ON TABLES TO gone_two;
        INSERT INTO t VALUES (1)
        """,
    )
    backed = backed_up(source, tmp_path / "vault")
    for statement in (
        'DROP OWNED BY "Gone Role" CASCADE',
        "DROP OWNED BY gone_two CASCADE",
        'DROP OWNED BY "user" CASCADE',
        'DROP ROLE "Gone Role", gone_two, "user"',
    ):
        run_sql(source, statement)
    plan = plan_restore(backed.backup, target)
    result = restore(backed.backup, target)
    found = [finding for finding in result.findings if finding.code == "role-missing"]
    assert found == [finding for finding in plan.findings if finding.code == "role-missing"]
    examples = {example for finding in found for example in finding.examples}
    assert 'ALTER TABLE public.t OWNER TO "Gone Role";' in examples
    assert "GRANT SELECT,INSERT ON TABLE public.u TO gone_two WITH GRANT OPTION;" in examples
    # A role that has the name of a word of the language.
    assert 'GRANT SELECT ON TABLE public.u TO "user";' in examples
    assert {left.sql + ";" for left in result.lacking} == examples
    assert "CREATE POLICY p ON public.u TO gone_two USING ((x > 0));" in examples
    assert any(example.startswith('ALTER DEFAULT PRIVILEGES FOR ROLE "Gone Role"') for example in examples)
    assert ask(target, "SELECT x FROM t") == [(1,)]
    assert ask(target, "SELECT relrowsecurity FROM pg_class WHERE relname = 'u'") == [(True,)]


def test_a_password_never_appears_in_an_error_or_a_plan(backed: Backed, pg_server: EmbeddedPostgres) -> None:
    url = pg_server.url("not_there").replace("postgres@", "postgres:s3cr3t-pw@")
    plan = plan_restore(backed.backup, url, RestoreOptions(create=True))
    assert "s3cr3t" not in repr(plan)
    with pytest.raises(RestoreError) as caught:
        restore(backed.backup, url)
    assert "s3cr3t" not in str(caught.value)
    assert "s3cr3t" not in repr(Server.of(url))


_INTERRUPTED = """
import pickle, sys
from backup_pipeline.restores.run import restore
from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.postgres.restore import preflight
preflight.SMALL = int(sys.argv[3])
with open(sys.argv[1], "rb") as file:
    vault, manifest = pickle.load(file)
restore(vault.backup_of(manifest), sys.argv[2], RestoreOptions(create=True, jobs=2))
"""


def interrupted(
    backed: Backed, manifest: Manifest, url: str, folder: Path, small: int
) -> subprocess.Popen[bytes]:
    """A restore in a process of its own, which sleeps at its end."""
    order = folder / "order"
    order.write_bytes(pickle.dumps((backed.vault, manifest)))
    argv = [sys.executable, "-c", _INTERRUPTED, str(order), url, str(small)]
    process = subprocess.Popen(argv, stderr=subprocess.PIPE, start_new_session=True)
    server_url = url.replace("/interrupted", "/postgres")
    # Asleep, and not only with that word in its last statement, as who defines a function that will sleep.
    sleeping = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(61)%' AND wait_event = 'PgSleep'"
    )
    assert wait_for(lambda: ask(server_url, sleeping) == [(1,)], seconds=120)
    return process


@pytest.mark.parametrize("small", [0, 1 << 30], ids=["parallel", "one transaction"])
def test_ctrl_c_leaves_no_database(
    backed: Backed, pg_server: EmbeddedPostgres, tmp_path: Path, small: int
) -> None:
    manifest = backed.with_sql("post-data", "SELECT pg_sleep(61);")
    process = interrupted(backed, manifest, pg_server.url("interrupted"), tmp_path, small)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in said
    assert "interrupted" not in databases(pg_server)


def test_ctrl_c_while_a_worker_builds_an_index_leaves_no_database(
    backed: Backed, pg_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """The worker is killed; its statement would go on in the server and hold its locks."""
    manifest = backed.with_sql(
        "pre-data",
        "CREATE FUNCTION app.slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql"
        " AS 'BEGIN PERFORM pg_catalog.pg_sleep(61); RETURN 1; END';",
    )
    again = Backed(backed.url, backed.folder, backed.vault, manifest)
    manifest = again.with_sql("post-data", "CREATE INDEX slow ON app.t (app.slow(id)) /* pg_sleep(61) */;")
    process = interrupted(backed, manifest, pg_server.url("interrupted"), tmp_path, 0)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in said
    assert "interrupted" not in databases(pg_server)


def test_the_workers_of_a_restore_that_was_killed_end(
    backed: Backed, pg_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    manifest = backed.with_sql("post-data", "SELECT pg_sleep(61);")
    process = interrupted(backed, manifest, pg_server.url("interrupted"), tmp_path, 0)
    try:
        process.kill()
        process.communicate()
        sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'interrupted' AND query NOT LIKE '%pg_sleep%'"
        assert wait_for(lambda: ask(pg_server.url(), sessions) == [(0,)], seconds=15)
        comment = (
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = 'interrupted'"
        )
        assert "not complete" in str(ask(pg_server.url(), comment))
    finally:
        pg_server.drop_database("interrupted")
