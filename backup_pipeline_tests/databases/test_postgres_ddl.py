"""The definitions: pg_dump's where there is one, else the catalog's, and never less without a word."""

from __future__ import annotations

import difflib
import re
import subprocess
import threading
from pathlib import Path

import pytest

from backup_pipeline.databases.base import Options
from backup_pipeline.databases.postgres import server as embedded
from backup_pipeline.databases.postgres.export import PostgresSource, ddl, reflection
from backup_pipeline.databases.postgres.server import EmbeddedPostgres, pg_dump_for
from backup_pipeline.errors import SourceError, SourceUnavailable
from backup_pipeline.model.selection import Selection
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.engines import MakePgDatabase, wait_for
from backup_pipeline_tests.harness.postgres_rows import ask, run
from backup_pipeline_tests.harness.torture_postgres import torture_sql

Sections = tuple[tuple[str, str, bytes], ...]


def definitions(url: str) -> Sections:
    with PostgresSource(url).snapshot(Selection(), Options()) as snapshot:
        return snapshot.ddl()


def apply(url: str, sections: Sections) -> None:
    psql = embedded.psql()
    assert psql
    for _, _, text in sections:
        argv = [str(psql.path), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]
        done = subprocess.run(argv, input=text, capture_output=True)
        assert done.returncode == 0, done.stderr.decode()


def difference(one: Sections, other: Sections) -> list[str]:
    lines = [b"\n".join(text for _, _, text in sections).decode().splitlines() for sections in (one, other)]
    kept = [[line for line in side if line and not line.startswith("--")] for side in lines]
    return [line for line in difflib.ndiff(sorted(kept[0]), sorted(kept[1])) if line[0] in "+-"]


def test_the_definitions_make_an_equal_database(
    pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase
) -> None:
    one, other = make_pg_database(server=pg_major_server), make_pg_database(server=pg_major_server)
    run(one, torture_sql(pg_major_server.major))
    made = definitions(one)
    assert [name for name, _, _ in made] == ["pre-data", "post-data"]
    nearest = pg_dump_for(pg_major_server.major)
    assert nearest
    assert re.fullmatch(rf"pg_dump {nearest.major}\.\d+", made[0][1])
    apply(other, made)
    assert difference(made, definitions(other)) == []
    text = b"".join(text for _, _, text in made)
    for kept in (
        b"OWNER TO torture_owner",
        b"GRANT SELECT ON TABLE public.accounts",
        b"COMMENT ON TABLE public.accounts",
    ):
        assert kept in text


def test_a_newer_pg_dump_writes_nothing_that_the_server_does_not_know(
    pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = embedded.find_programs("pg_dump")[-1]
    monkeypatch.setattr("backup_pipeline.databases.postgres.export.source.pg_dump_for", lambda _: newest)
    one, other = make_pg_database(server=pg_major_server), make_pg_database(server=pg_major_server)
    run(one, torture_sql(pg_major_server.major))
    made = definitions(one)
    assert made[0][1] == ddl.made_by(newest)
    apply(other, made)
    assert (b"SET transaction_timeout" in made[0][2]) is (pg_major_server.major >= 17)


def test_no_line_is_a_command_that_an_older_psql_does_not_know(
    pg_server: EmbeddedPostgres, pg_database: str
) -> None:
    run(pg_database, torture_sql(pg_server.major))
    for _, _, text in definitions(pg_database):
        assert not re.search(rb"^\\(un)?restrict", text, re.MULTILINE)
        assert text.rstrip().endswith(b"-- PostgreSQL database dump complete\n--")


def test_a_function_body_that_looks_like_a_command_of_psql_is_kept(pg_database: str) -> None:
    body = "\n\\restrict abc\n\\unrestrict abc\n\\! true\n"
    run(pg_database, f"CREATE FUNCTION odd() RETURNS text LANGUAGE sql AS $f$ SELECT $${body}$$ $f$")
    (pre, _) = definitions(pg_database)
    assert body.encode() in pre[2]


def test_definitions_are_of_the_snapshots_moment(pg_database: str) -> None:
    run(pg_database, "CREATE TABLE a (id int)")
    with PostgresSource(pg_database).snapshot(Selection(), Options()) as snapshot:
        run(pg_database, "CREATE TABLE later (id int)")
        assert b"later" not in snapshot.ddl()[0][2]
        assert snapshot.schema.table(snapshot.selected[0])
        assert len(snapshot.schema.tables) == 1


def test_a_truncated_definition_is_never_taken_for_a_whole_one(tmp_path: Path) -> None:
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("pg_dump", "pg_restore"):
        (folder / name).write_text("#!/bin/sh\necho '-- half a dump'\n")
        (folder / name).chmod(0o755)
    program = embedded.Program((18, 0), folder / "pg_dump")
    with pytest.raises(SourceError, match="ends too early"):
        ddl.dump(program, {"dbname": "x"}, "00000003-1", "UTF8", 1.0)
    (folder / "pg_dump").write_text("#!/bin/sh\necho 'out of luck' >&2; exit 1\n")
    with pytest.raises(SourceError, match="out of luck"):
        ddl.dump(program, {"dbname": "x"}, "00000003-1", "UTF8", 1.0)


def test_the_password_is_in_the_childs_environment_and_on_no_command_line() -> None:
    parameters = {"host": "h", "user": "u", "dbname": "it's", "password": "hunter2", "sslmode": "require"}
    assert "hunter2" not in ddl.conninfo(parameters)
    assert "dbname='it\\'s'" in ddl.conninfo(parameters)
    assert ddl.environment(parameters)["PGPASSWORD"] == "hunter2"


def test_definitions_do_not_wait_for_ever_behind_a_lock_queue(pg_database: str) -> None:
    run(pg_database, "CREATE TABLE a (id int)")
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with PostgresSource(pg_database, lock_timeout=0.5).snapshot(Selection(), Options()) as snapshot:
        # Waits for our lock, and later sessions wait behind it.
        waiter = threading.Thread(target=run, args=(pg_database, "ALTER TABLE a ADD COLUMN b int"))
        waiter.start()
        assert wait_for(lambda: ask(pg_database, waiting) == [(1,)])
        with pytest.raises(SourceUnavailable, match="timeout"):
            snapshot.ddl()
    waiter.join()


# ── without pg_dump

#: What the torture database has and reflection says that it does not cover.
_SAID = (
    *(
        "COLLATION",
        "AGGREGATE",
        "SFUNC",
        "STYPE",
        "INITCOND",
        "TEXT SEARCH",
        "PARSER",
        "MAPPING",
        "PUBLICATION",
        "EVENT TRIGGER",
    ),
    *(
        "DEFAULT PRIVILEGES",
        "SET COMPRESSION",
        "SET STATISTICS",
        "SET STORAGE",
        "REPLICA IDENTITY",
        "UNLOGGED SEQUENCE",
    ),
    *(
        "CREATE SEQUENCE public.unlogged_id_seq",
        "NOT NULL",
        "WHEN TAG",
        "EXECUTE FUNCTION public.notice",
        ");",
    ),
)


@pytest.fixture
def no_pg_dump(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("source", "doctor"):
        monkeypatch.setattr(f"backup_pipeline.databases.postgres.export.{module}.pg_dump_for", lambda _: None)


def test_without_pg_dump_all_that_is_promised_is_made(
    pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make_pg_database(server=pg_major_server), make_pg_database(server=pg_major_server)
    run(one, torture_sql(pg_major_server.major))
    with PostgresSource(one).snapshot(Selection(), Options()) as snapshot:
        apply(other, reflection.sections(snapshot.schema))
    unsaid = [
        line for line in difference(definitions(one), definitions(other)) if not any(s in line for s in _SAID)
    ]
    assert unsaid == []


@pytest.mark.usefixtures("no_pg_dump")
def test_without_pg_dump_the_backup_warns_of_what_is_not_covered(pg_database: str, tmp_path: Path) -> None:
    run(
        pg_database,
        "CREATE TABLE t (id int)",
        "CREATE AGGREGATE product(numeric) (SFUNC = numeric_mul, STYPE = numeric)",
    )
    (tmp_path / "vault").mkdir()
    with PostgresSource(pg_database).snapshot(Selection(), Options()) as snapshot:
        assert [made_by for _, made_by, _ in snapshot.ddl()] == ["reflection", "reflection"]
        assert "pg_dump" not in snapshot.tools
        (finding,) = snapshot.export(Vault(LocalStore(tmp_path / "vault")).writer, baselines={}).findings
    assert (finding.severity, finding.code) == ("warning", "no-pg-dump")
    assert "publication" in finding.message
    assert finding.examples == ("aggregate public.product(numeric)",)
    assert "no-pg-dump" in {f.code for f in PostgresSource(pg_database).diagnose(Selection()).findings}
