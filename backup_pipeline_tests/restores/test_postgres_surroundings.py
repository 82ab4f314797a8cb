"""What a database has besides its objects comes back: settings, rights, comment, limit, owner, and the roles."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from backup_pipeline.databases.base import DrillOptions, RestoreOptions
from backup_pipeline.databases.postgres.drill import surroundings as postgres_surroundings
from backup_pipeline.databases.postgres.export.database import read_database, read_roles
from backup_pipeline.databases.postgres.restore.surroundings import steps
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.drills import drill
from backup_pipeline.model.schema import Database, Right, Role, Setting
from backup_pipeline.restores import restore
from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, run_sql
from backup_pipeline_tests.harness.encrypted import Encrypted
from backup_pipeline_tests.harness.engines import MakePgDatabase
from backup_pipeline_tests.vault.test_recover import follow, tools

ROLES = ("sur owner", "sur_group", "sur_reader")
MADE = (
    "CREATE ROLE sur_group; CREATE ROLE \"sur owner\" CREATEDB NOINHERIT CONNECTION LIMIT 3 VALID UNTIL '2031-01-02 03:04Z';"
    "CREATE ROLE sur_reader LOGIN PASSWORD 'S3cretOfTheReader'; GRANT sur_group TO \"sur owner\" WITH ADMIN OPTION;"
    "GRANT sur_group TO sur_reader; ALTER ROLE sur_reader SET work_mem = '5MB'; COMMENT ON ROLE sur_group IS 'a ''group'''"
)
SET = (
    "CREATE SCHEMA app; CREATE TABLE app.t (a int); INSERT INTO app.t VALUES (1);"
    "CREATE FUNCTION app.f() RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER FUNCTION app.f() OWNER TO sur_group;"
    "ALTER DATABASE {0} SET search_path = app, \"$user\", public; ALTER DATABASE {0} SET timezone = 'Europe/Berlin';"
    "ALTER DATABASE {0} SET app.tenant = 'it''s, one'; ALTER DATABASE {0} SET app.jwt_secret = 'S3cretOfTheApp';"
    "ALTER DATABASE {0} SET default_transaction_read_only = on;"
    "ALTER ROLE sur_reader IN DATABASE {0} SET statement_timeout = '5s';"
    "REVOKE ALL ON DATABASE {0} FROM PUBLIC; GRANT CONNECT ON DATABASE {0} TO sur_reader WITH GRANT OPTION;"
    "COMMENT ON DATABASE {0} IS 'what it''s for'; ALTER DATABASE {0} CONNECTION LIMIT 7; ALTER DATABASE {0} OWNER TO \"sur owner\""
)
SECRET = Setting("app.jwt_secret", "S3cretOfTheApp")


def name_of(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


def looked_at(server: EmbeddedPostgres, url: str) -> tuple[Database, tuple[Role, ...]]:
    connection = psycopg2.connect(server.url())
    connection.cursor().execute("SET TimeZone = 'UTC'")
    try:
        return read_database(connection, name_of(url)), read_roles(connection, ROLES)
    finally:
        connection.close()


@pytest.fixture
def source(
    pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> Iterator[Backed]:
    url = make_pg_database(server=pg_major_server)
    run_sql(url, MADE)
    try:
        run_sql(url, SET.format(name_of(url)))
        yield backed_up(url, tmp_path / "vault")
    finally:
        # After the databases: roles that own something stay.
        for name in (name_of(url), "sur_restored", "sur_recovered"):
            pg_major_server.drop_database(name)
        run_sql(pg_major_server.url(), "; ".join(f'DROP ROLE IF EXISTS "{role}"' for role in ROLES))


def test_settings_rights_and_roles_come_back(
    source: Backed, pg_major_server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, roles = looked_at(pg_major_server, source.url)
    assert before.rights == (Right("CONNECT", "sur_reader", grantable=True),)
    assert before.connection_limit == 7
    assert SECRET in before.settings
    # A password of a role is in no vault; one in a setting is in no plain one.
    kept = source.backup.schema
    assert kept.database == replace(before, settings=tuple(s for s in before.settings if s != SECRET))
    assert "SETTING app.jwt_secret OF THE DATABASE" in [
        n for f in source.manifest.findings for n in f.examples
    ]
    for path in (*source.folder.rglob("*.json"), *source.folder.rglob("RECOVER.md")):
        assert "S3cret" not in path.read_text()
    assert "S3cret" not in str(kept)
    encrypted = Encrypted.make(tmp_path / "encrypted")
    assert encrypted.opened.backup_of(encrypted.back_up(source.url)).schema.database == before
    expected = kept.database

    # By hand, the commands alone; the roles are there.
    pg_major_server.create_database("sur_recovered")
    text = next(source.folder.rglob("RECOVER.md")).read_text()
    path = tools(tmp_path / "bin", pg_major_server.bin_dir / "psql", "zstd", "cat", "sha256sum")
    done = follow(text, f"cd '{source.folder}'\nTARGET='{pg_major_server.url('sur_recovered')}'", path)
    assert done.returncode == 0, done.stderr
    assert looked_at(pg_major_server, pg_major_server.url("sur_recovered")) == (expected, roles)
    assert 'CREATE ROLE "sur owner" NOINHERIT CREATEDB CONNECTION LIMIT 3 VALID UNTIL' in text
    pg_major_server.drop_database("sur_recovered")

    # A drill compares them, and finds what is missing.
    report = drill(source.backup, DrillOptions(scratch_url=pg_major_server.url()))
    assert report.ok, report.report.errors
    with monkeypatch.context() as patch:
        patch.setattr(
            postgres_surroundings, "steps",
            lambda *some, **more: (one for one in steps(*some, **more) if "timeout" not in one.sql),
        )  # fmt: skip
        findings = drill(source.backup, DrillOptions(scratch_url=pg_major_server.url())).report.errors
    assert [(one.code, "statement_timeout" in one.message) for one in findings] == [
        ("database-differs", True)
    ]

    # With the roles gone: named with their SQL, and made with --roles.
    pg_major_server.drop_database(name_of(source.url))
    run_sql(pg_major_server.url(), "; ".join(f'DROP ROLE "{role}"' for role in ROLES))
    (tmp_path / "backup.yaml").write_text(
        f"vault: {source.folder}\nsystems: {{shop: {{database: '{source.url}'}}}}\n"
    )
    order = ("restore", "shop", "--to", pg_major_server.url("sur_restored"), "--create")
    plan = commands.invoke(*order, "--dry-run", "--json", cwd=tmp_path).data
    (told,) = [one for one in plan["findings"] if one["code"] == "roles-as-they-were"]
    assert 'GRANT "sur_group" TO "sur owner" WITH ADMIN OPTION;' in told["examples"]
    ended = commands.invoke(*order, "--roles", cwd=tmp_path)
    assert ended.code == 0, str(ended)
    assert looked_at(pg_major_server, pg_major_server.url("sur_restored")) == (expected, roles)
    assert ask(pg_major_server.url("sur_restored"), "SELECT a FROM t") == [(1,)]  # by its search_path


def test_roles_that_a_failed_restore_made_are_gone(source: Backed, pg_major_server: EmbeddedPostgres) -> None:
    pg_major_server.drop_database(name_of(source.url))
    run_sql(pg_major_server.url(), "; ".join(f'DROP ROLE "{role}"' for role in ROLES))
    broken = source.with_sql("post-data", "SELECT 1/0;")
    with pytest.raises(Exception, match="division by zero"):
        restore(
            source.vault.backup_of(broken),
            pg_major_server.url("sur_restored"),
            RestoreOptions(create=True, terms=Terms(roles=True)),
        )
    assert ask(pg_major_server.url(), "SELECT rolname FROM pg_roles WHERE rolname LIKE 'sur%'") == []


def test_what_a_lesser_login_may_not_set_is_named_with_its_sql(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    url, target = make_pg_database(), make_pg_database()
    run_sql(url, f"CREATE TABLE t (a int); ALTER DATABASE {name_of(url)} SET log_statement = 'all'")
    run_sql(url, f"ALTER DATABASE {name_of(url)} SET timezone = 'Asia/Tokyo'")
    backed = backed_up(url, tmp_path / "vault")
    run_sql(target, f"CREATE ROLE sur_lesser LOGIN; ALTER DATABASE {name_of(target)} OWNER TO sur_lesser")
    try:
        result = restore(
            backed.backup,
            target.replace("postgres@", "sur_lesser@"),
            RestoreOptions(terms=Terms(owner=False)),
        )
        assert [left.sql for left in result.lacking if "log_statement" in left.sql] == [
            f"""ALTER DATABASE "{name_of(target)}" SET "log_statement" TO 'all'"""
        ]
        assert "permission denied" in next(one.reason for one in result.lacking if "log_statement" in one.sql)
        assert ask(target, "SHOW timezone") == [("Asia/Tokyo",)]
    finally:
        pg_server.drop_database(name_of(target))
        run_sql(pg_server.url(), "DROP ROLE sur_lesser")
