"""A table is excluded that others refer to: that was asked for, so no night is red because of it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from backup_pipeline.databases.postgres.export import ddl
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness.backups import ask, run_sql


def test_an_excluded_table_that_others_refer_to_fails_no_drill(pg_shop: Folder) -> None:
    config = pg_shop.path / "backup.yaml"
    config.write_text(config.read_text().replace("exclude: [audit_log]", "exclude: [audit_log, customers]"))
    found = pg_shop.good("doctor", "shop", "--json").data["systems"]["shop"]["findings"]
    (named,) = [one for one in found if one["code"] == "reference-left-out"]
    assert "1 foreign key refers to public.customers" in named["message"]
    pg_shop.backup()
    for verb in ("verify", "drill"):
        ended = pg_shop.run(verb, "shop", "--json", *(["--no-record"] if verb == "drill" else []))
        assert ended.code == 0, str(ended)
    (kept,) = [one for one in ended.data["report"]["findings"] if one["code"] == "foreign-key-not-checked"]
    assert "exclude: customers" in kept["message"]


SECRET = """
CREATE ROLE nosecret LOGIN;
CREATE TYPE grade AS ENUM ('high', 'low');
CREATE TABLE secret (id serial PRIMARY KEY, code text UNIQUE, grade grade DEFAULT 'high', "Ö" int CHECK ("Ö" > 0));
CREATE INDEX secret_lower ON secret (lower(code));
INSERT INTO secret (code) VALUES ('never backed up');
CREATE TABLE agents (id int PRIMARY KEY, secret_id int REFERENCES secret, code text REFERENCES secret (code));
INSERT INTO agents VALUES (1, 1, 'never backed up');
CREATE VIEW seen AS SELECT s.grade, a.id FROM secret s JOIN agents a ON a.secret_id = s.id;
CREATE FUNCTION first_of(secret) RETURNS int LANGUAGE sql AS 'SELECT $1.id';
GRANT SELECT ON agents, customers, orders, audit_log TO nosecret;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO nosecret;
"""


@pytest.fixture
def without_secret(pg_shop: Folder, pg_server: EmbeddedPostgres) -> Iterator[Folder]:
    """A table that the login may not read is excluded, as the README advises. Others refer to it."""
    url = pg_shop.env["SHOP_URL"]
    run_sql(url, SECRET)
    config = pg_shop.path / "backup.yaml"
    config.write_text(config.read_text().replace("exclude: [audit_log]", "exclude: [audit_log, secret]"))
    yield Folder(pg_shop.path, {"SHOP_URL": url.replace("//postgres@", "//nosecret@")}, pg_shop.restored)
    pg_server.drop_database(urlsplit(pg_shop.restored).path.lstrip("/"))
    run_sql(url, "DROP OWNED BY nosecret; DROP ROLE nosecret")


def test_a_table_that_the_login_may_not_read_is_made_without_rows(without_secret: Folder) -> None:
    without_secret.backup()
    without_secret.good("restore", "shop", "--to", without_secret.restored, "--create")
    assert ask(without_secret.restored, "SELECT id, code FROM agents") == [(1, "never backed up")]
    made = "SELECT count(*), count(nextval(pg_get_serial_sequence('secret', 'id'))) FROM secret"
    assert ask(without_secret.restored, made) == [(0, 0)]
    assert ask(without_secret.restored, "SELECT count(*) FROM seen") == [(0,)]
    keys = "SELECT conname, convalidated FROM pg_constraint WHERE conrelid = 'agents'::regclass AND contype = 'f' ORDER BY 1"
    assert ask(without_secret.restored, keys) == [
        ("agents_code_fkey", False),
        ("agents_secret_id_fkey", False),
    ]
    assert ask(without_secret.restored, "SELECT to_regclass('secret_lower')::text") == [("secret_lower",)]
    without_secret.good("drill", "shop", "--no-record")


def test_what_refers_to_a_table_that_an_older_backup_does_not_define_is_listed(
    without_secret: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ddl, "with_tables", lambda sections, *_: sections)
    without_secret.backup()
    ended = without_secret.run("restore", "shop", "--to", without_secret.restored, "--create", "--json")
    assert ended.code == 10, str(ended)
    lacking = [left["sql"].partition("(")[0] for left in ended.document["data"]["remainder"]]
    assert [sql for sql in lacking if "FUNCTION" in sql or "VIEW" in sql][:2] == [
        "CREATE FUNCTION public.first_of",
        "CREATE VIEW public.seen AS\n SELECT s.grade,\n    a.id\n   FROM ",
    ]
    assert len([sql for sql in lacking if "FOREIGN KEY" in sql]) == 2
    assert ask(without_secret.restored, "SELECT id, code FROM agents") == [(1, "never backed up")]
