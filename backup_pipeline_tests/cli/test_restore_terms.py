"""A restore whose target cannot have everything: as the login of a managed service, without owners, rights or code."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.backups import ask, run_sql

#: What a managed service gives its customers.
LOGIN = "CREATE ROLE managed LOGIN CREATEDB CREATEROLE"
SOURCE = """
CREATE ROLE terms_app; CREATE ROLE terms_reader;
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE TABLE t (id int PRIMARY KEY, n int);
INSERT INTO t SELECT i, i FROM generate_series(1, 100) i;
CREATE VIEW v AS SELECT id FROM t;
CREATE VIEW w AS SELECT f(id) FROM t;
CREATE INDEX t_f ON t (f(n));
CREATE FUNCTION g() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch ON sql_drop EXECUTE FUNCTION g();
ALTER TABLE t OWNER TO terms_app; ALTER VIEW v OWNER TO terms_app;
GRANT SELECT ON t, v TO terms_reader;
REVOKE ALL ON FUNCTION f FROM PUBLIC;
"""


@pytest.fixture
def managed(pg_database: str, pg_server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Folder]:
    run_sql(pg_database, f"{LOGIN}; {SOURCE}")
    (tmp_path / "backup.yaml").write_text(
        "vault: ./vault\nsystems:\n  shop:\n    database: ${env:SHOP_URL}\n"
    )
    name = f"{urlsplit(pg_database).path.lstrip('/')}_managed"
    yield Folder(
        tmp_path, {"SHOP_URL": pg_database}, pg_server.url(name).replace("//postgres@", "//managed@")
    )
    pg_server.drop_database(name)
    pg_server.drop_database(urlsplit(pg_database).path.lstrip("/"))
    for role in ("managed", "terms_app", "terms_reader"):
        run_sql(pg_server.url(), f"DROP ROLE {role}")


def test_a_managed_login_gets_the_rows_and_a_list_of_what_it_cannot_have(managed: Folder) -> None:
    managed.backup()
    to = ("restore", "shop", "--to", managed.restored, "--create", "--json")
    plan = managed.good(*to, "--dry-run").data
    named = {one["message"]: one["examples"] for one in plan["findings"] if one["code"] == "role-not-member"}
    assert sorted(message.split(":")[0].split()[-1] for message in named) == ["postgres", "terms_app"]
    assert any("ALTER TABLE public.t OWNER TO terms_app;" in examples for examples in named.values())
    assert plan["code"] == {"function": 2, "event trigger": 1}
    # All or nothing, and the remedy says what else there is.
    refused = managed.run(*to)
    assert refused.code == 9, str(refused)
    assert "permission denied to create event trigger" in refused.error["message"]
    assert "--keep-going" in refused.error["remedy"]
    with pytest.raises(psycopg.OperationalError):
        ask(managed.restored, "SELECT 1")
    ended = managed.run(*to, "--keep-going", "--remainder", "left.sql")
    assert ended.code == 10, str(ended)
    file = managed.path / "left.sql"
    assert ended.document["data"]["remainder_file"] == str(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    left = file.read_text()
    assert "CREATE EVENT TRIGGER watch" in left
    assert "ALTER TABLE public.t OWNER TO terms_app;" in left
    assert "GRANT SELECT ON TABLE public.t TO terms_reader" not in left
    assert left.rstrip().endswith("COMMIT;")
    assert ask(managed.restored, "SELECT count(*), max(id) FROM t") == [(100, 100)]
    # A superuser gives it the rest, with the file as it is.
    as_superuser = managed.restored.replace("//managed@", "//postgres@")
    run_sql(as_superuser, left)
    assert ask(as_superuser, "SELECT evtname FROM pg_event_trigger") == [("watch",)]
    owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 't'"
    assert ask(as_superuser, owner) == [("terms_app",)]


def test_without_owners_rights_and_code_a_managed_login_gets_all_that_it_asked_for(managed: Folder) -> None:
    managed.backup()
    to = ("restore", "shop", "--to", managed.restored, "--create", "--no-owner", "--no-privileges")
    assert managed.run(*to, "--no-code", "--json", "--dry-run").data["code"] == {}
    ended = managed.run(*to, "--no-code", "--json")
    assert ask(managed.restored, "SELECT count(*) FROM t JOIN v USING (id)") == [(100,)]
    assert ask(managed.restored, "SELECT proname FROM pg_proc WHERE oid >= 16384") == []
    lacking = {
        left["sql"].split("\n")[0] for left in ended.document["data"]["remainder"] if not left["asked"]
    }
    assert lacking == {
        "CREATE VIEW public.w AS",
        "CREATE INDEX t_f ON public.t USING btree (public.f(n))",
    }
    # They were not asked to be left out by name: what is not as it was is never silent.
    assert ended.code == 10, str(ended)
    # Before: "but for 2 statements: they stand in" a file that held all of them.
    remainder = ended.document["data"]["remainder"]
    assert f"2 statements (and {len(remainder) - 2} that you asked to leave out): " in ended.error["message"]
    assert "CREATE FUNCTION public.f" in next(managed.path.glob("shop-*-remainder.sql")).read_text()


def test_what_the_login_may_not_make_is_not_put_down_to_the_code_that_was_left_out(managed: Folder) -> None:
    """Before: --no-owner --no-privileges was the advice to a restore that had said it; and a server was missing `(--no-code)`."""
    run_sql(
        managed.env["SHOP_URL"],
        "CREATE FOREIGN DATA WRAPPER wrapper; CREATE SERVER far FOREIGN DATA WRAPPER wrapper;"
        "CREATE USER MAPPING FOR PUBLIC SERVER far",
    )
    managed.backup()
    to = ("restore", "shop", "--to", managed.restored, "--create", "--no-owner", "--no-privileges", "--json")
    refused = managed.run(*to)
    assert refused.code == 9, str(refused)
    assert "permission denied to create foreign-data wrapper" in refused.error["message"]
    assert "--keep-going" in refused.error["remedy"]
    assert "--no-owner" not in refused.error["remedy"]
    ended = managed.run(*to, "--no-code", "--keep-going")
    reasons = {left["sql"].split(" ", 3)[1]: left["reason"] for left in ended.document["data"]["remainder"]}
    assert "permission denied" in reasons["FOREIGN"]
    assert not any("--no-code" in reasons[kind] for kind in ("FOREIGN", "SERVER", "USER"))
    assert "(--no-code)" in reasons["VIEW"]


def test_a_file_of_sqlite_is_restored_whole_or_not_at_all(shop: Folder) -> None:
    shop.backup()
    refused = shop.run("restore", "shop", "--to", shop.restored, "--no-code")
    assert refused.code == 2, str(refused)
    assert "restored as the file that it was" in refused.stderr
    shop.good("restore", "shop", "--to", shop.restored, "--no-owner", "--no-privileges", "--keep-going")


def test_rows_that_break_a_rule_are_restored_and_their_values_not_told(managed: Folder) -> None:
    """Before: a CHECK that had become untrue ended the restore, and its message quoted the row."""
    run_sql(
        managed.env["SHOP_URL"],
        """DROP EVENT TRIGGER watch;
        CREATE TABLE sick (id int PRIMARY KEY, what text, until timestamptz); INSERT INTO sick VALUES (1, 'AIDS', '2020-01-01');
        ALTER TABLE sick ADD CONSTRAINT not_over CHECK (until > now()) NOT VALID;
        UPDATE pg_constraint SET convalidated = true WHERE conname = 'not_over';
        UPDATE pg_index SET indisunique = false WHERE indexrelid = 'sick_pkey'::regclass;
        INSERT INTO sick VALUES (1, 'ALS', 'infinity')""",
    )
    found = managed.run("backup", "shop", "--no-record", "--json")
    assert found.code == 10, str(found)
    assert found.error["message"].startswith("the backup "), "it is there, and its rows are told of"
    found = managed.run("verify", "shop", "--json")
    assert found.code == 10, str(found)
    assert [one["code"] for one in found.document["data"]["report"]["findings"]] == ["key-not-unique"]
    to = managed.restored.replace("//managed@", "//postgres@")
    ended = managed.run("restore", "shop", "--to", to, "--create", "--remainder", "left.sql")
    assert ended.code == 10, str(ended)
    assert "rows break the check not_over (1 of them); it was made NOT VALID" in ended.stdout
    # Made before its table was given to a role that may not call the function.
    assert "public.t: the index t_f: permission denied for function f; it was left out" in ended.stdout
    assert "rows share values of the primary key sick_pkey (2 of them)" in ended.stdout
    assert "ADD CONSTRAINT sick_pkey PRIMARY KEY (id);" in (managed.path / "left.sql").read_text()
    assert ask(to, "SELECT what FROM sick ORDER BY 1") == [("AIDS",), ("ALS",)]
    drilled = managed.run("drill", "shop", "--no-record")
    assert drilled.code != 0, str(drilled)
    for output in (ended, drilled):
        assert "AIDS" not in output.stdout + output.stderr
