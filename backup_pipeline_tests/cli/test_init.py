"""`init`: a configuration that fits the database, that works as it stands, and that holds no password."""

from __future__ import annotations

import secrets
import stat
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from backup_pipeline import config
from backup_pipeline.config import initial
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.cli.test_secrets import MARKER, with_password
from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.harness.engines import MakeSqliteFile

DJANGO = """
CREATE TABLE django_migrations (id INTEGER PRIMARY KEY, app TEXT, name TEXT, applied TEXT);
INSERT INTO django_migrations (app, name, applied) VALUES ('blog', '0001_initial', '2026-01-01');
CREATE TABLE auth_user (id INTEGER PRIMARY KEY);
CREATE TABLE auth_group (id INTEGER PRIMARY KEY);
CREATE TABLE "evil: ""[x]*
name" (id INTEGER PRIMARY KEY);
"""

MIGRATION = """
from django.db import migrations
class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = []
"""


def test_what_it_writes_works_as_it_stands(sqlite_file: MakeSqliteFile) -> None:
    folder = Folder(sqlite_file("blog.sqlite3", script=DJANGO).parent, {})
    (folder.path / "manage.py").touch()
    (folder.path / "blog" / "migrations").mkdir(parents=True)
    (folder.path / "blog" / "migrations" / "__init__.py").touch()
    (folder.path / "blog" / "migrations" / "0001_initial.py").write_text(MIGRATION)
    ended = folder.good("init", "--database", "sqlite:///blog.sqlite3")
    assert ended.stdout.splitlines()[-2:] == ["  backup-pipeline doctor", "  backup-pipeline backup blog"]
    written = (folder.path / "backup.yaml").read_text()
    assert 'database: "sqlite:///blog.sqlite3"' in written
    assert 'migrations:\n      tool: django\n      path: "."' in written
    assert '    #   auth: ["auth_*"]' in written
    folder.good("doctor")
    folder.good("backup", "blog", "--no-record")
    assert "django: 1 applied, at blog.0001_initial; none pending" in folder.good("show", "blog").stdout
    (folder.path / "blog" / "migrations" / "0002_more.py").write_text(
        MIGRATION.replace("[]", '[("blog", "0001_initial")]', 1)
    )
    folder.good("backup", "blog", "--no-record")
    assert "django: 1 applied; pending: blog.0002_more" in folder.good("show", "blog").stdout


def test_the_key_that_it_speaks_of_is_the_one_that_keygen_makes(sqlite_file: MakeSqliteFile) -> None:
    folder = Folder(sqlite_file("blog.sqlite3", script=DJANGO).parent, {})
    folder.good("init", "--database", "sqlite:///blog.sqlite3")
    folder.path.chmod(0o700)
    recipient = folder.good("keygen", "--json").data["recipient"]
    text = (folder.path / "backup.yaml").read_text().replace("age1…", recipient)
    for line in ("encryption:", "  recipients:", "  identity:"):
        assert f"\n# {line}" in text
        text = text.replace(f"\n# {line}", f"\n{line}")
    (folder.path / "backup.yaml").write_text(text)
    folder.good("backup", "blog", "--no-record")
    folder.good("verify", "blog")


def test_migrations_that_cannot_be_read_are_said_and_do_not_stop_a_backup(
    sqlite_file: MakeSqliteFile,
) -> None:
    folder = Folder(sqlite_file("blog.sqlite3", script=DJANGO).parent, {})
    (folder.path / "backup.yaml").write_text(
        "vault: ./vault\nsystems:\n  blog:\n    database: sqlite:///blog.sqlite3\n"
        "    migrations: {tool: django, path: moved-away}\n"
    )
    doctor = folder.run("doctor")
    assert doctor.code == 14, "it is the configuration that is wrong"
    assert "migrations-unreadable" in doctor.stdout
    made = folder.good("backup", "blog", "--no-record", "--json").data
    assert [finding["code"] for finding in made["findings"]] == ["migrations-unreadable"]


def test_its_comments_are_settings_that_work_when_uncommented(sqlite_file: MakeSqliteFile) -> None:
    folder = Folder(sqlite_file("blog.sqlite3", script=DJANGO).parent, {})
    folder.good("init", "--database", "sqlite:///blog.sqlite3")
    lines = (folder.path / "backup.yaml").read_text().splitlines()
    keys = ("alerts:", "exclude:", "groups:", "  auth:", "migrations:", "  tool:", "  path:", "invariants:", "  no order",
            "scratch:", "fresh_within:", "proven_within:")  # fmt: skip
    text = "\n".join(
        line.replace("# ", "", 1)
        if line.strip().removeprefix("# ").startswith(tuple(k.strip() for k in keys))
        else line
        for line in lines
    )
    assert text.count("# ") < "\n".join(lines).count("# ")
    text = text.replace("#   auth", "  auth").replace("#   tool", "  tool").replace("#   path", "  path")
    settings = config.parse(
        text.replace("#   no order", "  no order"), name="x", base=folder.path, environ={}
    )
    assert settings.system("blog").groups == {"auth": ("auth_*",)}
    assert settings.system("blog").fresh_within == 36 * 3600


def test_the_password_is_not_written_and_the_variable_is_named(pg_database: str, tmp_path: Path) -> None:
    url = with_password(pg_database, MARKER)
    folder = Folder(tmp_path, {})
    data = folder.good("init", "--database", url, "--system", "shop", "--json").data
    written = (tmp_path / "backup.yaml").read_text()
    assert data["variable"] == "SHOP_DATABASE_PASSWORD"
    assert data["next"][0] == "export SHOP_DATABASE_PASSWORD=…"
    assert MARKER not in written
    assert "postgres:${env:SHOP_DATABASE_PASSWORD}@" in written
    settings = config.load(tmp_path / "backup.yaml", environ={"SHOP_DATABASE_PASSWORD": MARKER})
    assert settings.system("shop").url == url
    assert "error" in folder.run("inventory", "shop", "--json").document
    Folder(tmp_path, {"SHOP_DATABASE_PASSWORD": MARKER}).good("inventory", "shop")


def test_a_variable_that_holds_the_whole_address_is_used_as_it_is(pg_database: str, tmp_path: Path) -> None:
    url = with_password(pg_database, MARKER)
    folder = Folder(tmp_path, {"SHOP_URL": url})
    data = folder.good("init", "--database", url, "--system", "shop", "--json").data
    assert data["variable"] == "SHOP_URL"
    assert 'database: "${env:SHOP_URL}"' in (tmp_path / "backup.yaml").read_text()
    assert data["next"][0] == "backup-pipeline doctor"
    folder.good("inventory", "shop")


def test_schemas_become_groups_and_every_migrations_tool_is_seen(pg_database: str, tmp_path: Path) -> None:
    with closing(psycopg2.connect(pg_database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(
            "CREATE SCHEMA billing; CREATE TABLE billing.invoices (id int); CREATE TABLE users (id int)"
        )
        cursor.execute("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    (tmp_path / "alembic" / "versions").mkdir(parents=True)
    revision = "revision = 'ae1027a6acf'\ndown_revision = None\ndef upgrade(): pass\n"
    (tmp_path / "alembic" / "versions" / "ae1027a6acf_first.py").write_text(revision)
    data = Folder(tmp_path, {}).good("init", "--database", pg_database, "--system", "erp", "--json").data
    written = (tmp_path / "backup.yaml").read_text()
    assert data["migrations"] == "alembic"
    assert 'tool: alembic\n      path: "alembic"' in written
    assert '#   billing: ["billing.*"]' in written


def test_a_role_without_rights_gets_a_file_and_is_told_what_is_missing(
    pg_database: str, tmp_path: Path
) -> None:
    role = f"reader_{secrets.token_hex(4)}"
    with closing(psycopg2.connect(pg_database)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE django_migrations (id int, app text, name text)")
        cursor.execute(f"CREATE ROLE {role} LOGIN")
    (tmp_path / "manage.py").touch()
    folder = Folder(tmp_path, {})
    ended = folder.good(
        "init", "--database", pg_database.replace("postgres@", f"{role}@"), "--system", "shop"
    )
    assert f'GRANT SELECT ON TABLE "public"."django_migrations" TO "{role}"' in ended.stdout
    assert "tool: django" in (tmp_path / "backup.yaml").read_text()
    assert folder.run("doctor").code == 14


def test_a_configuration_that_is_there_is_not_touched(shop: Folder) -> None:
    before = (shop.path / "backup.yaml").read_bytes()
    ended = shop.run("init", "--database", "sqlite:///shop.db", "--json")
    assert (ended.code, ended.error["code"]) == (5, "already-exists")
    assert "--force" in ended.error["remedy"]
    assert (shop.path / "backup.yaml").read_bytes() == before
    shop.good("init", "--database", "sqlite:///shop.db", "--force")
    assert (shop.path / "backup.yaml").read_bytes() != before
    assert [path.name for path in shop.path.iterdir() if path.name.startswith(".backup.yaml")] == []


def test_the_file_is_for_its_owner_alone(shop: Folder) -> None:
    shop.good("init", "--database", "sqlite:///shop.db", "--output", "mine.yaml")
    assert stat.S_IMODE((shop.path / "mine.yaml").stat().st_mode) == 0o600


def test_paths_of_the_command_line_become_paths_of_the_file(shop: Folder) -> None:
    (shop.path / "etc").mkdir()
    shop.good(
        "init", "--database", "sqlite:///shop.db", "--vault", "here/vault", "--output", "etc/backup.yaml"
    )
    settings = config.load(shop.path / "etc" / "backup.yaml", environ={})
    assert settings.resolve(settings.vault.url) == shop.path / "here" / "vault"
    assert settings.system("shop").url == f"sqlite:///{shop.path}/shop.db"
    shop.good("--config", "etc/backup.yaml", "backup", "shop", "--no-record")


@pytest.mark.parametrize(
    "database", ["mysql://h/d", "sqlite:///missing.db", "shop.db", "postgresql://nobody@127.0.0.1:1/x"]
)
def test_a_database_that_cannot_be_read_writes_nothing(database: str, tmp_path: Path) -> None:
    ended = commands.invoke("init", "--database", database, "--json", cwd=tmp_path)
    assert ended.code in (2, 4)
    assert ended.error["remedy"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("database", "folder", "name"),
    [
        ("shop", "x", "shop"),
        ("Shop-Prod", "x", "shop_prod"),
        ("/srv/db.sqlite3", "blog", "blog"),
        ("postgres", "My Project", "my_project"),
        ("2fast", "x", "db_2fast"),
        ("objects", "tmp", "app"),
        ("日本", "x", "x"),
        ("", "", "app"),
    ],
)
def test_a_name_is_guessed_that_is_allowed(database: str, folder: str, name: str) -> None:
    assert initial.system_name(database, Path("/") / folder) == name


@pytest.mark.parametrize(
    ("url", "written"),
    [
        ("postgresql://app:app@h/app", "postgresql://app:${env:S_DATABASE_PASSWORD}@h/app"),
        ("postgresql://u@h/d?password=x1&a=b", "postgresql://u@h/d?password=${env:S_DATABASE_PASSWORD}&a=b"),
        ("postgresql://u:p%40s@h/d", "postgresql://u:${env:S_DATABASE_PASSWORD}@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
    ],
)
def test_only_the_password_is_replaced(url: str, written: str) -> None:
    assert initial.without_password(url, "s", ())[0] == written


def test_tables_that_rules_know_become_the_groups_admin_images_and_analytics(
    sqlite_file: MakeSqliteFile,
) -> None:
    script = f"{DJANGO}CREATE TABLE system_prompts (id INTEGER PRIMARY KEY); CREATE TABLE generated_images (id INTEGER PRIMARY KEY);"
    folder = Folder(sqlite_file("blog.sqlite3", script=script).parent, {})
    folder.good("init", "--database", "sqlite:///blog.sqlite3")
    text = (folder.path / "backup.yaml").read_text()
    assert '#   images: ["generated_images"]' in text
    assert '"system_prompts"' in text.partition("#   admin: [")[2].partition("]")[0]
