"""Another account of the host that backs up: it reads what the product wrote down."""

from __future__ import annotations

import io
import re
from contextlib import closing
from pathlib import Path

import psycopg
import psycopg2
import pytest

from backup_pipeline.cli import ending
from backup_pipeline.cli.call import Call
from backup_pipeline.databases.postgres.export.connect import translated
from backup_pipeline.databases.postgres.restore.failure import failure
from backup_pipeline.databases.postgres.restore.screening import without_passwords
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.orchestration.metadata import findings_table
from backup_pipeline.restores import restore
from backup_pipeline_tests.cli.test_secrets import no_files_hold
from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.harness.backups import ask, backed_up, run_sql
from backup_pipeline_tests.harness.encrypted import Encrypted
from backup_pipeline_tests.harness.engines import MakePgDatabase

MARKER = "S3cretMarker"

DEFINITIONS = (
    f"""CREATE FOREIGN DATA WRAPPER w;
    CREATE SERVER crm FOREIGN DATA WRAPPER w OPTIONS (host 'h', "API_Key" '{MARKER}', dsn 'host=h password=''{MARKER} x'' user=u');
    CREATE USER MAPPING FOR CURRENT_USER SERVER crm OPTIONS (user 'me', password '{MARKER}''x', password_required 'false');
    CREATE TABLE t (a text DEFAULT 'password=kept')""",
    f"""CREATE SUBSCRIPTION s CONNECTION 'host=127.0.0.1 port=1 password={MARKER} dbname=x' PUBLICATION p
    WITH (connect = false, slot_name = NONE, enabled = false)""",
    f"DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET myapp.key = %L', current_database(), '{MARKER}'); END $$",
)


def drop_subscription(*urls: str) -> None:
    for url in urls:
        run_sql(url, "ALTER SUBSCRIPTION s DISABLE")
        run_sql(url, "ALTER SUBSCRIPTION s SET (slot_name = NONE)")
        run_sql(url, "DROP SUBSCRIPTION s")


def test_a_plain_vault_holds_no_password_of_the_definitions(
    make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    """Gained: the passwords of user mappings and subscriptions, in clear in the definitions."""
    url, target = make_pg_database(), make_pg_database()
    for script in DEFINITIONS:
        run_sql(url, script)
    try:
        backed = backed_up(url, tmp_path / "vault")
        text = b"".join(backed.vault.content(reference) for reference in backed.manifest.objects()).decode()
        assert MARKER not in text
        assert "password_required 'false'" in text
        assert "'password=kept'" in text
        (found,) = [one for one in backed.manifest.findings if one.code == "password-taken-out"]
        assert [re.sub(r"FOR \w+", "FOR me", name) for name in found.examples] == [
            "SERVER crm", "USER MAPPING FOR me SERVER crm", "SUBSCRIPTION s", "SETTING myapp.key OF THE DATABASE",
        ]  # fmt: skip
        recover = next((tmp_path / "vault").rglob("RECOVER.md")).read_text()
        assert "- `SUBSCRIPTION s`" in recover
        restored = restore(backed.vault.backup_of(backed.manifest), target)
        assert "have to be set again" in str([one.message for one in restored.findings])
        assert ask(
            target,
            "SELECT subconninfo FROM pg_subscription JOIN pg_database d ON d.oid = subdbid AND datname = current_database()",
        ) == [("host=127.0.0.1 port=1 password=not-in-this-backup dbname=x",)]
        # Encrypted, they stay; and no message shows them.
        encrypted = Encrypted.make(tmp_path / "encrypted")
        made = encrypted.back_up(url)
        kept = b"".join(encrypted.opened.content(section.object) for section in made.ddl).decode()
        assert kept.count(MARKER) == 4
        assert "password-taken-out" not in {one.code for one in made.findings}
        drop_subscription(target)
        setting = 'ALTER ROLE "a.secret" IN DATABASE "d" SET "app"."jwt_secret" TO \'%s\''
        assert without_passwords(setting % MARKER) == setting % "not-in-this-backup"
        recover = next((tmp_path / "vault").rglob("RECOVER.md")).read_text()
        assert MARKER not in recover
        assert "SETTING myapp.key OF THE DATABASE" in recover
        plain = 'ALTER DATABASE "secret" SET "password_encryption" TO \'scram-sha-256\''
        assert without_passwords(plain) == plain
        assert MARKER not in without_passwords(kept[kept.index("CREATE SERVER") :].partition(";\n")[0])
    finally:
        drop_subscription(url)


SAYING = f"""
CREATE FUNCTION f(v text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
  IF v = '{MARKER}' AND current_database() <> '%s' THEN RAISE EXCEPTION 'not here: %%', v; END IF; RETURN true; END $$;
CREATE DOMAIN d AS text CHECK (public.f(VALUE));
CREATE TABLE pat (id int PRIMARY KEY, diag d); INSERT INTO pat VALUES (1, '{MARKER}');
"""


def test_a_drill_of_an_encrypted_system_writes_no_value_down(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    """Gained: rows of an encrypted vault, from the history of runs and from the mail of a failed drill."""
    url = make_pg_database("values_source")
    run_sql(url, SAYING % "values_source")
    encrypted = Encrypted.make(tmp_path / "keys")
    key = encrypted.key_file(tmp_path)
    (tmp_path / "backup.yaml").write_text(
        f"vault: ./vault\nencryption:\n  recipients: [{encrypted.public}]\n  identity: ${{file:{key}}}\n"
        f"systems:\n  shop:\n    database: {url}\n"
    )
    assert commands.invoke("backup", "shop", cwd=tmp_path).code == 0
    ended = commands.invoke("drill", "shop", "--verbose", cwd=tmp_path)
    assert ended.code not in (0, 70), str(ended)
    assert "COPY pat, line 1" in ended.stderr
    assert MARKER not in ended.stdout + ended.stderr
    no_files_hold(tmp_path, word=MARKER)


SEARCHED = f"""
CREATE TABLE pat (id int PRIMARY KEY, diag text); INSERT INTO pat VALUES (1, 'aids hiv & {MARKER}');
CREATE FUNCTION q(v text) RETURNS tsquery LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN NULL; END';
CREATE INDEX searched ON pat (q(diag));
CREATE OR REPLACE FUNCTION q(v text) RETURNS tsquery LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN v::tsquery; END';
"""


def test_an_index_whose_function_refuses_a_value_is_left_out_and_the_value_is_not_told(
    make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    """Gained: the value, in the history of runs, in acts and in the proof; and one index lost the whole restore."""
    url = make_pg_database()
    run_sql(url, SEARCHED)
    (tmp_path / "backup.yaml").write_text(
        f"vault: ./vault\nencryption:\n  recipients: [{(keys := Encrypted.make(tmp_path / 'keys')).public}]\n"
        f"  identity: ${{file:{keys.key_file(tmp_path)}}}\nsystems:\n  shop:\n    database: {url}\n"
    )
    assert commands.invoke("backup", "shop", cwd=tmp_path).code == 0
    ended = commands.invoke("drill", "shop", "--verbose", cwd=tmp_path)
    assert ended.code == 10, str(ended)
    assert 'pat: the index searched: syntax error in tsquery: "…"' in ended.stdout + ended.stderr
    assert MARKER not in ended.stdout + ended.stderr
    no_files_hold(tmp_path, word=MARKER)


BREAKING = {
    "23514": f"INSERT INTO c VALUES (1, '{MARKER}')",
    "23505": f"INSERT INTO u VALUES ('{MARKER}'), ('{MARKER}')",
    "23502": f"INSERT INTO n VALUES ('{MARKER}')",
    "22P02": f"SELECT '{MARKER}'::int",
    "22001": f"SELECT 1 FROM u WHERE v = '{MARKER}'; INSERT INTO s VALUES ('{MARKER}')",
    "P0001": f"DO $$ BEGIN RAISE EXCEPTION 'no {MARKER}' USING DETAIL = '{MARKER}'; END $$",
    "42601": f"SELECT 'aids hiv & {MARKER}'::tsquery",
    "42703": f"""DO $$ BEGIN EXECUTE 'SELECT "{MARKER}"'; END $$""",
    "45000": f"DO $$ BEGIN RAISE EXCEPTION 'no {MARKER}' USING ERRCODE = '45000'; END $$",
}


def test_errors_name_the_constraint_and_not_the_row(pg_database: str) -> None:
    """The rule that the tests above live by, for each kind of error that quotes a row, with both drivers."""
    run_sql(
        pg_database,
        "CREATE TABLE c (id int, v text, CONSTRAINT short CHECK (length(v) < 3)); CREATE TABLE u (v text PRIMARY KEY);"
        "CREATE TABLE n (v text, w int NOT NULL); CREATE TABLE s (v varchar(3))",
    )
    for state, statement in BREAKING.items():
        with pytest.raises(psycopg.Error) as new, psycopg.connect(pg_database) as connection:
            connection.execute(statement.encode())
        with pytest.raises(psycopg2.Error) as old, closing(psycopg2.connect(pg_database)) as other:
            other.cursor().execute(statement)
        for made, cause in ((failure(new.value, "x"), new), (translated(old.value, "x"), old)):
            assert MARKER not in str(made), state
            assert MARKER not in str(cause.value), state  # histories write down the chain of causes
            assert f"SQLSTATE {state}" in str(made)
            assert (MARKER in made.values) or state == "22001"
    assert "constraint short, table public.c" in str(failure_of(pg_database, BREAKING["23514"]))


def failure_of(url: str, statement: str) -> RestoreError:
    with pytest.raises(psycopg.Error) as caught, psycopg.connect(url) as connection:
        connection.execute(statement.encode())
    return failure(caught.value, "x")


def test_rows_that_a_check_found_are_not_in_the_history_of_runs() -> None:
    """Gained: the rows that a drill found different, in clear in the history of an encrypted system."""
    told = Finding("error", "rows-differ", "t is not what was backed up", examples=(f"+1\t{MARKER}",))
    named = Finding("error", "object-missing", "1 object is missing", examples=("public.t",))
    shown = str(findings_table([told, named]))
    assert "t is not what was backed up" in shown
    assert "public.t" in shown
    assert MARKER not in shown


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "json", "seen"),
    [(Terminal, False, True), (io.StringIO, False, False), (Terminal, True, False)],
)
def test_values_are_for_a_terminal(stream: type[io.StringIO], json: bool, seen: bool) -> None:
    """A person who sits there needs the row; a log and a document do not."""
    call = Call(json=json, stdout=io.StringIO(), stderr=stream())
    ending._fail(call, RestoreError("it broke", values=f"Failing row contains ({MARKER})"))
    assert (MARKER in call.stderr.getvalue()) == seen  # type: ignore[attr-defined]
    assert MARKER not in call.stdout.getvalue()  # type: ignore[attr-defined]


def test_one_place_reads_what_a_server_says_of_an_error() -> None:
    """A second one would not know the rule."""
    package = Path(__file__).parents[2] / "backup_pipeline"
    words = re.compile(r"message_primary|message_detail|diag\.context|pgerror")
    readers = {path.name for path in package.rglob("*.py") if words.search(path.read_text())}
    assert readers == {"diagnostics.py"}
