"""A user of the source database against the backup, and against the server that it is restored to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.postgres.restore import preflight
from backup_pipeline.databases.postgres.restore.definers import Definers
from backup_pipeline.databases.postgres.restore.statements import split
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import RestoreError
from backup_pipeline.restores import plan_restore, restore
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, run_sql

LENT = """
CREATE ROLE lender; CREATE ROLE low LOGIN; CREATE ROLE "user"; GRANT CREATE ON SCHEMA public TO lender, "user";
CREATE TABLE private (x text); INSERT INTO private VALUES ('hidden');
SET ROLE lender;
CREATE FUNCTION esc(cmd text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE cmd; RETURN current_user; END';
CREATE PROCEDURE closed(cmd text) LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE cmd; END';
REVOKE ALL ON PROCEDURE closed FROM PUBLIC;
GRANT EXECUTE ON PROCEDURE closed TO low;
CREATE FUNCTION fired() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE NEW.cmd; RETURN NEW; END';
CREATE FUNCTION step(text, cmd text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE cmd; RETURN cmd; END';
CREATE AGGREGATE runit(text) (SFUNC = step, STYPE = text);
CREATE FUNCTION esc(n int) RETURNS int LANGUAGE sql AS 'SELECT n';
CREATE TABLE asked (x text);
RESET ROLE;
CREATE TABLE queue (cmd text); GRANT INSERT ON queue TO PUBLIC;
CREATE TRIGGER fire BEFORE INSERT ON queue FOR EACH ROW EXECUTE FUNCTION fired();
GRANT SELECT, INSERT ON private TO lender;
SET ROLE lender;
CREATE VIEW peek AS SELECT x FROM private;
CREATE RULE also AS ON INSERT TO asked DO ALSO INSERT INTO private VALUES (NEW.x);
GRANT SELECT ON peek TO low; GRANT INSERT ON asked TO low;
SET ROLE "user";
CREATE FUNCTION begin() RETURNS text LANGUAGE sql SECURITY DEFINER AS 'SELECT current_user::text';
CREATE VIEW begin AS SELECT 1 AS function; GRANT SELECT (function) ON begin TO low;
RESET ROLE;
REVOKE ALL ON private FROM lender;
"""
GONE = 'DROP OWNED BY lender, "user" CASCADE; DROP ROLE lender, "user"'


@pytest.fixture(scope="module")
def lent(pg_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backed]:
    """A backup whose owners the target's server does not have."""
    source = pg_server.create_database("lent")
    run_sql(source, LENT)
    backed = backed_up(source, tmp_path_factory.mktemp("lent") / "vault")
    run_sql(source, GONE)
    yield backed
    pg_server.drop_database("lent")
    run_sql(pg_server.url(), "DROP ROLE low")


@pytest.fixture
def target(lent: Backed, pg_server: EmbeddedPostgres) -> Iterator[str]:
    yield pg_server.create_database("lent_target")
    pg_server.drop_database("lent_target")
    run_sql(pg_server.url(), 'DROP ROLE IF EXISTS lender, "user"')


def refused(target: str, statement: str) -> bool:
    """For the login of an ordinary user."""
    try:
        run_sql(target.replace("//postgres@", "//low@"), statement)
    except psycopg.errors.InsufficientPrivilege:
        return True
    return False


def test_what_runs_as_a_role_that_is_missing_never_runs_as_the_superuser(lent: Backed, target: str) -> None:
    """Gained before: `SELECT esc('CREATE ROLE pwned SUPERUSER')` by any login, because the function had become the
    restoring superuser's. A view read every table, a rule wrote into every table."""
    plan = plan_restore(lent.backup, target)
    foreseen = [finding for finding in plan.findings if finding.code == "owner-made"]
    assert {finding.message.partition(",")[0] for finding in foreseen} == {
        "the target has no role lender",
        "the target has no role user",
    }
    assert not [finding for finding in plan.findings if finding.code == "role-missing"]
    result = restore(lent.backup, target)
    assert result.remainder == ()
    made = (
        "SELECT rolname, rolsuper, rolcanlogin FROM pg_roles WHERE rolname IN ('lender', 'user') ORDER BY 1"
    )
    assert ask(target, made) == [("lender", False, False), ("user", False, False)]
    assert refused(target, "SELECT esc('CREATE ROLE pwned SUPERUSER')")
    assert refused(target, "CALL closed('CREATE ROLE pwned SUPERUSER')")
    assert refused(target, "SELECT * FROM peek")
    assert refused(target, "INSERT INTO asked VALUES ('x')")
    assert refused(target, "INSERT INTO queue VALUES ('CREATE ROLE pwned SUPERUSER')")
    # It works as it did.
    assert ask(target.replace("//postgres@", "//low@"), "SELECT esc('SELECT 1'), begin()") == [
        ("lender", "user")
    ]


def test_without_owners_it_is_closed_to_others_and_named(lent: Backed, target: str) -> None:
    """Gained before: the same; --no-owner would give it to the superuser knowingly. Later: `INSERT INTO queue` and `runit` by
    any login, for triggers and aggregates ran as the superuser whose EXECUTE was taken from the others."""
    terms = Terms(owner=False)
    plan = plan_restore(lent.backup, target, RestoreOptions(terms=terms))
    (named,) = [finding for finding in plan.findings if finding.code == "definer-closed"]
    assert "GRANT SELECT ON TABLE public.peek TO low;" in named.examples
    result = restore(lent.backup, target, RestoreOptions(terms=terms))
    assert refused(target, "SELECT esc('CREATE ROLE pwned SUPERUSER')")
    assert refused(target, "CALL closed('CREATE ROLE pwned SUPERUSER')")
    assert refused(target, "SELECT begin()")
    assert refused(target, "SELECT * FROM peek")
    assert refused(target, "INSERT INTO asked VALUES ('x')")
    # Neither asks who may execute its function.
    assert refused(target, "INSERT INTO queue VALUES ('CREATE ROLE pwned SUPERUSER')")
    assert refused(target, "SELECT runit('CREATE ROLE pwned SUPERUSER')")
    assert refused(target, "SELECT function FROM begin")
    assert ask(target, "SELECT x FROM private") == [("hidden",)]
    lacking = [left.sql for left in result.lacking]
    assert "ALTER FUNCTION public.esc(cmd text) OWNER TO lender" in lacking
    assert "ALTER FUNCTION public.esc(cmd text) SECURITY DEFINER" in lacking
    assert "ALTER FUNCTION public.esc(n integer) SECURITY DEFINER" not in lacking
    assert "GRANT EXECUTE ON FUNCTION public.esc(cmd text) TO PUBLIC" in lacking
    assert "GRANT EXECUTE ON PROCEDURE public.closed(cmd text) TO PUBLIC" not in lacking
    assert "GRANT SELECT ON TABLE public.peek TO low" in lacking


def test_the_login_of_a_managed_service_lends_its_rights_to_no_role_either(
    lent: Backed, pg_server: EmbeddedPostgres, target: str
) -> None:
    """Gained before: the rights of the login that owns every table of the database."""
    run_sql(
        target,
        "CREATE ROLE managed LOGIN CREATEROLE",
    )
    as_managed = target.replace("//postgres@", "//managed@")
    run_sql(target, "ALTER DATABASE lent_target OWNER TO managed")
    try:
        result = restore(lent.backup, as_managed)
        assert ask(target.replace("//postgres@", "//low@"), "SELECT esc('SELECT 1'), begin()") == [
            ("lender", "user")
        ]
        assert refused(target, "SELECT * FROM peek")
        # Tables of `postgres` are the login's, and named: it is not allowed to give them away.
        assert "ALTER TABLE public.private OWNER TO postgres" in [left.sql for left in result.lacking]
        assert not [left for left in result.lacking if "lender" in left.sql]
    finally:
        run_sql(target, "REASSIGN OWNED BY managed TO postgres; DROP OWNED BY managed CASCADE")
        run_sql(target, 'REASSIGN OWNED BY lender, "user" TO postgres; DROP OWNED BY lender, "user" CASCADE')
        run_sql(target, 'DROP ROLE lender, "user", managed')


POLICIES = """
CREATE ROLE vown; CREATE ROLE plain LOGIN; CREATE ROLE hosted LOGIN; GRANT CREATE ON SCHEMA public TO vown, hosted;
CREATE TABLE acct (tenant text); INSERT INTO acct VALUES ('a'), ('b');
ALTER TABLE acct ENABLE ROW LEVEL SECURITY; GRANT SELECT ON acct TO vown, hosted;
CREATE POLICY own ON acct TO vown USING (tenant = 'a');
SET ROLE vown; CREATE VIEW va AS SELECT * FROM acct; CREATE MATERIALIZED VIEW ma AS SELECT * FROM acct;
GRANT SELECT ON va, ma TO PUBLIC; RESET ROLE;
SET ROLE hosted; CREATE VIEW vh AS SELECT * FROM acct; GRANT SELECT ON vh TO PUBLIC; RESET ROLE;
"""


@pytest.mark.parametrize("terms", [Terms(), Terms(owner=False)], ids=["owners", "no-owner"])
def test_a_login_that_owns_tables_and_views_shows_no_row_that_a_policy_hid(
    pg_server: EmbeddedPostgres, tmp_path: Path, terms: Terms
) -> None:
    """Gained before: all rows of `acct`, through a view of a role that had seen its own only; with --no-owner not a word."""
    source, target = pg_server.create_database("policies"), pg_server.create_database("policies_target")
    try:
        run_sql(source, POLICIES)
        assert ask(source.replace("//postgres@", "//plain@"), "SELECT * FROM va") == [("a",)]
        backed = backed_up(source, tmp_path / "vault")
        run_sql(target, "ALTER DATABASE policies_target OWNER TO hosted")
        result = restore(
            backed.backup,
            target.replace("//postgres@", "//hosted@"),
            RestoreOptions(terms=terms),
        )
        lacking = [left.sql for left in result.lacking]
        for name in ("va", "ma", "vh"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                ask(target.replace("//postgres@", "//plain@"), f"SELECT * FROM {name}")
            assert f"GRANT SELECT ON TABLE public.{name} TO PUBLIC" in lacking
        assert ask(target, "SELECT count(*) FROM acct") == [(2,)]
    finally:
        pg_server.drop_database("policies_target")
        pg_server.drop_database("policies")
        run_sql(pg_server.url(), "DROP ROLE vown, plain, hosted")


def test_a_view_asks_its_reader_only_where_it_says_so() -> None:
    """Gained before: a column of that name, or the option turned off, passed for a view that is harmless."""
    text = "CREATE VIEW public.{0} AS SELECT 1 AS security_invoker; GRANT SELECT ON TABLE public.{0} TO low;"
    options = {"off": "security_invoker='off'", "bare": "security_barrier", "asks": "security_invoker=on"}
    views = "".join(
        text.format(name).replace(" AS", f" WITH ({said}) AS", 1) for name, said in options.items()
    )
    assert Definers.of(split(views)).relations == {'"public"."off"', '"public"."bare"'}


def test_an_owner_that_a_failed_restore_made_is_gone_again(
    lent: Backed, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gained before: nothing; a role that stays behind would be what the next restore believes in."""
    monkeypatch.setattr(preflight, "SMALL", 0)
    with pytest.raises(RestoreError, match="division by zero"):
        restore(lent.vault.backup_of(lent.with_sql("post-data", "SELECT 1/0;")), target)
    assert ask(target, "SELECT rolname FROM pg_roles WHERE rolname IN ('lender', 'user')") == []
