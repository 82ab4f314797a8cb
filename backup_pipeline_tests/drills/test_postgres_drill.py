"""A drill proves what it says: it passes on what is whole, finds what is not, and leaves nothing behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.databases.base import DrillOptions
from backup_pipeline.databases.engines import open_source
from backup_pipeline.databases.postgres.drill import rows as postgres_rows
from backup_pipeline.databases.postgres.drill.drill import drill as drill_postgres
from backup_pipeline.databases.postgres.drill.scratch import MARK, PREFIX, sweep
from backup_pipeline.databases.postgres.drill.writes import compare_sequences
from backup_pipeline.databases.postgres.restore.target import Server
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.drills import drill
from backup_pipeline.errors import BackupError, ConfigError, RestoreError, ToolMissing
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import timestamp
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.progress import silent
from backup_pipeline.model.selection import Selection
from backup_pipeline.restores import restore
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, run_sql
from backup_pipeline_tests.harness.engines import MakePgDatabase, wait_for

SOURCE = """
CREATE TABLE t (id serial PRIMARY KEY, v text NOT NULL, UNIQUE (v));
INSERT INTO t (v) SELECT 'value ' || n FROM generate_series(1, 500) n;
CREATE TABLE nothing_in_it (x int);
CREATE SEQUENCE alone; SELECT nextval('alone');
"""


@pytest.fixture(scope="module")
def backed(pg_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    url = pg_server.create_database("drill_source")
    run_sql(url, SOURCE)
    yield backed_up(url, tmp_path_factory.mktemp("drill") / "vault")
    pg_server.drop_database("drill_source")


@pytest.fixture(autouse=True)
def nothing_is_left(pg_server: EmbeddedPostgres) -> Iterator[None]:
    yield
    assert scratch_databases(pg_server) == set()


def scratch_databases(server: EmbeddedPostgres) -> set[object]:
    return {
        row[0] for row in ask(server.url(), f"SELECT datname FROM pg_database WHERE datname LIKE '{PREFIX}%'")
    }


def run(
    backed: Backed, server: EmbeddedPostgres, manifest: Manifest | None = None, **invariants: str
) -> list[Finding]:
    report = drill(
        backed.vault.backup_of(manifest or backed.manifest),
        DrillOptions(scratch_url=server.url(), invariants=invariants),
    )
    return [finding for finding in report.findings if finding.severity != "info"]


def test_a_drill_of_everything_that_is_difficult_passes(
    torture: Backed, pg_major_server: EmbeddedPostgres
) -> None:
    report = drill(torture.backup, DrillOptions(scratch_url=pg_major_server.url()))
    assert report.ok, report.report.errors
    assert [finding for finding in report.findings if finding.severity == "warning"] == []
    assert report.report.counted["tables"] == len(torture.manifest.tables)
    assert report.report.counted["rows"] == torture.manifest.rows
    assert report.report.counted["sequences"] == len(torture.manifest.sequences) > 10
    assert report.report.counted["constraints"] > 30
    assert report.report.counted["writes"] > 10
    assert 0 < report.recovery_seconds < report.report.seconds


def test_without_a_scratch_server_a_private_one_is_used_and_rights_are_proven_too(torture: Backed) -> None:
    report = drill(torture.backup)
    assert report.ok, report.report.errors
    assert report.scratch == f"PostgreSQL {torture.manifest.engine.version.split()[0]} at a private server"
    assert "rights-not-compared" not in {finding.code for finding in report.findings}


@pytest.mark.parametrize("alone", [True, False], ids=["in this process", "by workers"])
def test_a_value_that_changes_between_restore_and_compare_is_found_with_both_rows(
    backed: Backed, pg_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, alone: bool
) -> None:
    if not alone:
        monkeypatch.setattr(postgres_rows, "_ALONE", 0)
    tampered = backed.with_sql("post-data", "UPDATE public.t SET v = 'value X' WHERE id = 77;")
    (finding,) = run(backed, pg_server, tampered)
    assert (finding.severity, finding.code, finding.table) == ("error", "rows-differ", "public.t")
    assert finding.examples == (
        "only in the backup: 77\tvalue 77",
        "only in the restored database: 77\tvalue X",
    )


@pytest.mark.parametrize(
    ("tampering", "codes"),
    [
        ("DELETE FROM public.t WHERE id = 1;", {"rows-differ"}),
        ("INSERT INTO public.nothing_in_it VALUES (NULL), (NULL);", {"rows-differ"}),
        ("ALTER TABLE public.t DROP CONSTRAINT t_v_key;", {"definition-missing"}),
        ("ALTER TABLE public.t ALTER COLUMN v DROP NOT NULL;", {"definition-differs"}),
        ("CREATE INDEX surplus ON public.t (v);", {"definition-surplus"}),
        ("CREATE VIEW public.surplus AS SELECT 1 AS x;", {"definition-surplus"}),
        ("ALTER SEQUENCE public.alone INCREMENT 5;", {"definition-differs"}),
        (
            "CREATE FUNCTION public.f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
            "CREATE TRIGGER g BEFORE INSERT ON public.t FOR EACH ROW EXECUTE FUNCTION public.f();",
            {"definition-surplus"},
        ),
    ],
)
def test_every_difference_is_found(
    backed: Backed, pg_server: EmbeddedPostgres, tampering: str, codes: set[str]
) -> None:
    found = run(backed, pg_server, backed.with_sql("post-data", tampering))
    assert {finding.code for finding in found} == codes
    assert any(finding.severity == "error" for finding in found)


def test_a_sequence_that_is_not_where_it_was_is_found(
    backed: Backed, pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase
) -> None:
    target = make_pg_database()
    restore(backed.backup, target)
    with Server.of(target).open() as connection:
        assert compare_sequences(connection, backed.manifest.sequences) == ()
        connection.execute("SELECT nextval('public.alone')")
        (finding,) = compare_sequences(connection, backed.manifest.sequences)
    assert (finding.severity, finding.code) == ("error", "sequence-differs")
    assert "public.alone" in finding.message


def test_a_sequence_that_was_behind_in_the_source_is_a_warning(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source = make_pg_database()
    run_sql(
        source, "CREATE TABLE t (id serial PRIMARY KEY, v text NOT NULL); INSERT INTO t VALUES (1, 'given')"
    )
    (finding,) = run(backed_up(source, tmp_path / "vault"), pg_server)
    assert (finding.severity, finding.code, finding.table) == ("warning", "sequence-behind", "public.t")


def test_invariants_are_asked(backed: Backed, pg_server: EmbeddedPostgres) -> None:
    found = run(
        backed,
        pg_server,
        holds="SELECT * FROM t WHERE v IS NULL",
        broken="SELECT id, v FROM t WHERE id < 3 ORDER BY id",
        wrong="SELECT * FROM no_such_table",
        no_query="DELETE FROM t",
        percent="SELECT 1 WHERE 'a' LIKE '%b%'",
    )
    assert {
        finding.code: finding.message.split("'")[1] for finding in found if finding.code == "invariant-broken"
    } == {"invariant-broken": "broken"}
    (broken,) = [finding for finding in found if finding.code == "invariant-broken"]
    assert broken.examples == ("(1, 'value 1')", "(2, 'value 2')")
    failed = {finding.message.split("'")[1] for finding in found if finding.code == "invariant-fails"}
    assert failed == {"wrong", "no_query"}
    assert all(finding.severity == "error" for finding in found)


def test_an_empty_database_passes_and_says_so(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source = make_pg_database()
    run_sql(source, "CREATE TABLE t (id int)")
    empty = backed_up(source, tmp_path / "vault")
    report = drill(empty.backup, DrillOptions(scratch_url=pg_server.url()))
    assert report.ok
    assert "nothing-in-it" in {finding.code for finding in report.findings}


def test_a_restore_that_fails_leaves_no_scratch_database(backed: Backed, pg_server: EmbeddedPostgres) -> None:
    with pytest.raises(RestoreError, match="division by zero"):
        run(backed, pg_server, backed.with_sql("post-data", "SELECT 1/0;"))


def test_a_missing_extension_is_a_failure_and_not_a_pass(backed: Backed, pg_server: EmbeddedPostgres) -> None:
    with pytest.raises(RestoreError, match="extension no_such") as caught:
        run(backed, pg_server, backed.with_sql("pre-data", "CREATE EXTENSION no_such;"))
    assert "restore to a server that has it" in caught.value.remedy


def test_a_table_without_its_rows_is_not_a_difference_but_is_said(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source = make_pg_database()
    run_sql(
        source, "CREATE TABLE kept (x int); CREATE TABLE left_out (x serial); INSERT INTO left_out VALUES (1)"
    )
    backed = backed_up(source, tmp_path / "vault", selection=Selection(exclude=("left_out",)))
    assert {finding.code for finding in run(backed, pg_server)} <= {"tables-without-rows", "left-out"}


LEFT_OUT = """
CREATE TABLE customer (id int PRIMARY KEY);
CREATE TABLE visit (id int, customer_id int REFERENCES customer, day int) PARTITION BY RANGE (day);
CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM (0) TO (10);
CREATE TABLE rental (id int PRIMARY KEY, customer_id int REFERENCES customer);
CREATE TABLE customer_note (customer_id int REFERENCES customer);
CREATE TABLE payment (rental_id int CONSTRAINT of_rental REFERENCES rental);
INSERT INTO customer VALUES (1); INSERT INTO visit VALUES (1, 1, 1); INSERT INTO rental VALUES (1, 1);
INSERT INTO customer_note VALUES (1); INSERT INTO payment VALUES (1);
"""


def test_keys_to_rows_that_are_left_out_are_asked_for_and_others_are_not(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source = make_pg_database()
    run_sql(source, LEFT_OUT)
    chosen = Selection(exclude=("customer", "customer_note"))
    warned = [one for one in open_source(source).diagnose(chosen).findings if one.severity == "warning"]
    (named,) = [one for one in warned if one.code != "superuser-login"]
    assert (named.code, named.table) == ("reference-left-out", "public.customer")
    assert {example.partition(" ")[0] for example in named.examples} == {
        "public.visit",
        "public.visit_1",
        "public.rental",
    }
    backed = backed_up(source, tmp_path / "vault", selection=chosen)
    found = run(backed, pg_server)
    assert {(one.code, one.severity) for one in found} == {
        ("tables-without-rows", "warning"),
        ("foreign-key-not-checked", "warning"),
    }
    assert all("exclude: customer" in one.message for one in found if one.code == "foreign-key-not-checked")
    # What points nowhere for another reason is an error, with or without tables that are left out.
    run_sql(source, "SET session_replication_role = replica; INSERT INTO payment VALUES (7)")
    backed = backed_up(source, tmp_path / "vault", selection=chosen)
    errors = [one for one in run(backed, pg_server) if one.severity == "error"]
    assert {one.code for one in errors} == {"dangling-reference", "definition-differs"}
    assert all("of_rental" in one.message for one in errors)


def test_what_pg_dump_does_not_keep_either_is_no_difference(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source = make_pg_database()
    run_sql(
        source,
        """CREATE TABLE parent (a int); CREATE TABLE child (b int, c int) INHERITS (parent);
        ALTER TABLE parent ADD COLUMN late text;
        INSERT INTO child VALUES (1, 2, 3, 'four');
        CREATE TABLE late_heir (late text, a int); ALTER TABLE late_heir INHERIT parent; INSERT INTO late_heir VALUES ('x', 1);
        CREATE TABLE twice (x int); INSERT INTO twice VALUES (1), (1)""",
    )
    with pytest.raises(psycopg.errors.UniqueViolation):
        run_sql(source, "CREATE UNIQUE INDEX CONCURRENTLY failed ON twice (x)")
    codes = {one.code for one in open_source(source).diagnose(Selection()).findings}
    assert codes == {"invalid-index", "superuser-login"}
    backed = backed_up(source, tmp_path / "vault")
    assert [(one.code, one.examples) for one in backed.manifest.findings] == [
        ("invalid-index", ("public.failed",))
    ]
    report = drill(backed.backup, DrillOptions(scratch_url=pg_server.url()))
    assert [one for one in report.findings if one.severity != "info"] == []
    notes = {one.table: one.examples for one in report.findings if one.code == "column-order"}
    assert notes["public.child"] == ("backup: a, b, c, late", "restored: a, late, b, c")
    assert notes.keys() == {"public.child", "public.late_heir"}


def test_a_database_without_a_public_schema_comes_back_without_one(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source, target = make_pg_database(), make_pg_database()
    run_sql(source, "CREATE SCHEMA app; CREATE TABLE app.t (x int); DROP SCHEMA public")
    backed = backed_up(source, tmp_path / "vault")
    assert run(backed, pg_server) == []
    assert restore(backed.backup, target).findings == ()
    assert ask(target, "SELECT to_regnamespace('public'), to_regclass('app.t')") == [(None, "app.t")]


@pytest.mark.parametrize("new", ["", "CREATE SCHEMA public; CREATE TABLE public.u (x int)"])
def test_a_public_schema_that_was_renamed_keeps_its_rights(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path, new: str
) -> None:
    source, target = make_pg_database(), make_pg_database()
    run_sql(
        source,
        f"CREATE TABLE t (x int); GRANT CREATE ON SCHEMA public TO pg_monitor; ALTER SCHEMA public RENAME TO app; {new}",
    )
    backed = backed_up(source, tmp_path / "vault")
    assert run(backed, pg_server) == []
    assert restore(backed.backup, target).findings == ()
    rights = (
        "SELECT nspname, pg_get_userbyid(nspowner), array(SELECT x::text FROM unnest(nspacl) x WHERE nspname = 'app' ORDER BY 1)"
        " FROM pg_namespace WHERE nspname IN ('app', 'public') ORDER BY 1"
    )
    assert ask(target, rights) == ask(source, rights)
    assert "=U/" in str(ask(target, rights))


def test_a_scratch_address_of_another_engine_is_refused(backed: Backed) -> None:
    with pytest.raises(ConfigError, match="the scratch server is sqlite"):
        drill(backed.backup, DrillOptions(scratch_url="sqlite:///x.db"))


def test_a_backup_of_a_version_that_no_server_here_can_take_says_what_to_do(backed: Backed) -> None:
    future = replace(backed.manifest, engine=replace(backed.manifest.engine, version="99.1"))
    with pytest.raises(ToolMissing, match="PostgreSQL 99") as caught:
        drill(backed.vault.backup_of(future))
    assert "--scratch" in caught.value.remedy


def test_only_old_scratch_databases_of_ours_are_swept(pg_server: EmbeddedPostgres) -> None:
    now = datetime.now(UTC)
    old, young = timestamp(now - timedelta(days=2)), timestamp(now - timedelta(hours=2))
    comments = {
        "bp_drill_old": f"'{MARK}{old}'",
        "bp_drill_young": f"'{MARK}{young}'",
        "bp_drill_theirs": "'the name is like ours'",
        "bp_drill_silent": "NULL",
        "other_old": f"'{MARK}{old}'",
    }
    for name, comment in comments.items():
        pg_server.create_database(name)
        run_sql(pg_server.url(), f"COMMENT ON DATABASE {name} IS {comment}")
    try:
        assert sweep(Server.of(pg_server.url()), now) == 1
        assert scratch_databases(pg_server) == {"bp_drill_young", "bp_drill_theirs", "bp_drill_silent"}
        assert ask(pg_server.url(), "SELECT datname FROM pg_database WHERE datname = 'other_old'") == [
            ("other_old",)
        ]
    finally:
        for name in comments:
            pg_server.drop_database(name)


def test_the_next_drill_drops_what_a_killed_one_left(
    backed: Backed, pg_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    process = sleeping(backed, pg_server, tmp_path)
    process.kill()
    process.communicate()
    assert len(scratch_databases(pg_server)) == 1
    later = datetime.now(UTC) + timedelta(days=2)
    report = drill_postgres(
        backed.backup,
        DrillOptions(scratch_url=pg_server.url(), jobs=1, now=later),
        silent,
    )
    assert report.ok


def test_ctrl_c_leaves_no_scratch_database(
    backed: Backed, pg_server: EmbeddedPostgres, tmp_path: Path
) -> None:
    process = sleeping(backed, pg_server, tmp_path)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert b"KeyboardInterrupt" in said


_SCRIPT = """
import pickle, sys
from backup_pipeline.databases.base import DrillOptions
from backup_pipeline.drills import drill
with open(sys.argv[1], "rb") as file:
    vault, manifest = pickle.load(file)
drill(vault.backup_of(manifest), DrillOptions(scratch_url=sys.argv[2]))
"""


def sleeping(backed: Backed, server: EmbeddedPostgres, folder: Path) -> subprocess.Popen[bytes]:
    manifest = backed.with_sql("post-data", "SELECT pg_sleep(62);")
    order = folder / "order"
    order.write_bytes(pickle.dumps((backed.vault, manifest)))
    process = subprocess.Popen(
        [sys.executable, "-c", _SCRIPT, str(order), server.url()], stderr=subprocess.PIPE
    )
    asleep = (
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(62)%' AND pid <> pg_backend_pid()"
    )
    assert wait_for(lambda: ask(server.url(), asleep) == [(1,)], seconds=120)
    return process


def test_what_a_worker_cannot_read_is_an_error(
    backed: Backed, pg_server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_rows, "_ALONE", 0)
    with pytest.raises(BackupError, match="nothing_in_it"):
        run(backed, pg_server, backed.with_sql("post-data", "DROP TABLE public.nothing_in_it;"))
