"""RECOVER.md is taken at its word: its commands are cut out and run, with nothing of ours on the PATH."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Engine, Manifest, ObjectRef, TableEntry
from backup_pipeline.model.schema import Schema
from backup_pipeline.vault import layout
from backup_pipeline.vault.quoting import fenced, here_document, identifier, literal, shown
from backup_pipeline.vault.recover import recover_text
from backup_pipeline_tests.harness.backups import Backed, ask, backed_up, rows_of, run_sql, schema_of
from backup_pipeline_tests.harness.engines import MAJORS, MakePgDatabase, MakeSqliteFile, Servers

_BLOCK = re.compile(r"(?ms)^(?P<fence>`{3,})bash\n(?P<text>.*?)\n(?P=fence)$")
AWKWARD = (
    'we"ird',
    "back\\slash",
    "new\nline",
    "fence\n```\n## 9. Owned\n```bash\ntouch pwned\n```\n",
    "$HOME `touch pwned` $(touch pwned)",
    "'; DROP TABLE accounts; --",
    'x"; DROP TABLE accounts; --',
    "\\! touch pwned",
    ":var :'var' :\"var\"",
    "日本語 \U0001f980",
    "\\.",
    "END_0123456789ab",
    "t" * 63,
    " ",
    "tab\there",
    "%s {0} \\N",
)


def commands(text: str) -> list[str]:
    return [match["text"] for match in _BLOCK.finditer(text)]


def tools(folder: Path, *names: str | Path) -> Path:
    """A PATH that holds nothing but these programs."""
    folder.mkdir()
    for name in names:
        found = shutil.which(str(name))
        assert found, f"{name} is needed for this test"
        (folder / Path(name).name).symlink_to(Path(found).resolve())
    return folder


def follow(text: str, where: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Every command, in order, in one bash; the first block is the one that a person edits."""
    first, *rest = commands(text)
    assert first.splitlines()[0] == "cd /path/to/the/vault"
    script = "\n".join(["set -e", where, *rest])
    bash = shutil.which("bash")
    assert bash
    return subprocess.run(
        [bash, "--noprofile", "--norc"],
        input=script,
        capture_output=True,
        text=True,
        env={"PATH": str(path), "LC_ALL": "C.UTF-8"},
    )


def recover_postgres(backed: Backed, server: EmbeddedPostgres, target: str, tmp_path: Path) -> str:
    text = (backed.folder / layout.recover_key("shop", backed.manifest.id)).read_text()
    path = tools(tmp_path / "bin", server.bin_dir / "psql", "zstd", "cat", "sha256sum")
    done = follow(text, f"cd '{backed.folder}'\nTARGET='{target}'", path)
    assert done.returncode == 0, done.stderr
    assert "DIFFERENT" not in done.stdout
    assert done.stdout.count("ok  ") == len(backed.manifest.tables)
    return text


def test_a_postgres_database_is_rebuilt_by_the_commands_alone(
    torture: Backed, pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    target = make_pg_database(server=pg_major_server)
    recover_postgres(torture, pg_major_server, target, tmp_path)
    assert schema_of(pg_major_server, target) == schema_of(pg_major_server, torture.url)
    assert rows_of(target) == rows_of(torture.url)


def test_it_says_what_was_missed_when_the_backup_was_made(torture: Backed) -> None:
    missed = Finding("error", "file-unreadable", "2 files could not be read", examples=("a.pdf", "`b`\n## 1"))
    found = replace(torture.manifest, findings=(missed, Finding("info", "note", "not worth a word here")))
    text = recover_text(found, torture.backup.schema)
    assert "It was not whole when it was made:**\n\n- 2 files could not be read: a.pdf; 'b'?## 1\n" in text
    assert "not worth a word" not in text
    assert "not whole" not in recover_text(torture.manifest, torture.backup.schema)


def test_no_name_breaks_out_of_the_commands(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source, target = make_pg_database(), make_pg_database()
    tables = []
    for number, name in enumerate(AWKWARD):
        quoted = '"' + name[:60].replace('"', '""') + '"'
        tables.append(
            f"CREATE SCHEMA {quoted}; CREATE TABLE {quoted}.{quoted} (id serial PRIMARY KEY, {quoted} text);"
            f"INSERT INTO {quoted}.{quoted} ({quoted}) VALUES ({literal(name)}), (E'{number}\\n\\\\.\\n');"
            f"CREATE MATERIALIZED VIEW {quoted}.mat AS SELECT * FROM {quoted}.{quoted};"
        )
    run_sql(source, "\n".join(tables))
    run_sql(
        source,
        'CREATE ROLE "awk\'ward \\role"; GRANT SELECT ON ALL TABLES IN SCHEMA "\'; DROP TABLE accounts; --" TO "awk\'ward \\role"',
    )
    try:
        backed = backed_up(source, tmp_path / "vault")
        recover_postgres(backed, pg_server, target, tmp_path)
        assert schema_of(pg_server, target) == schema_of(pg_server, source)
        assert rows_of(target) == rows_of(source)
        assert not list(tmp_path.rglob("pwned"))
        for name in AWKWARD:
            quoted = '"' + name[:60].replace('"', '""') + '"'
            run_sql(target, f"INSERT INTO {quoted}.{quoted} DEFAULT VALUES")
    finally:
        for url in (source, target):
            run_sql(url, 'DROP OWNED BY "awk\'ward \\role"')
        run_sql(source, 'DROP ROLE "awk\'ward \\role"')


def test_roles_that_the_server_lacks_are_made(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source, target = make_pg_database(), make_pg_database()
    run_sql(source, 'CREATE ROLE "recover\'ed"; CREATE TABLE t (x int); ALTER TABLE t OWNER TO "recover\'ed"')
    backed = backed_up(source, tmp_path / "vault")
    run_sql(source, 'DROP TABLE t; DROP ROLE "recover\'ed"')
    try:
        recover_postgres(backed, pg_server, target, tmp_path)
        assert ask(target, "SELECT tableowner FROM pg_tables WHERE tablename = 't'") == [("recover'ed",)]
    finally:
        run_sql(target, 'DROP TABLE IF EXISTS t; DROP ROLE IF EXISTS "recover\'ed"')


def test_the_steps_stop_where_an_object_is_damaged(
    torture: Backed, pg_major_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    folder = tmp_path / "vault"
    shutil.copytree(torture.folder, folder)
    victim = folder / layout.object_key(torture.manifest.tables[-1].chunks[0].object)
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.chmod(0o600)
    victim.write_bytes(data)
    target = make_pg_database(server=pg_major_server)
    text = (folder / layout.recover_key("shop", torture.manifest.id)).read_text()
    path = tools(tmp_path / "bin", pg_major_server.bin_dir / "psql", "zstd", "cat", "sha256sum")
    done = follow(text, f"cd '{folder}'\nTARGET='{target}'", path)
    assert done.returncode != 0
    assert f"{victim.name}: FAILED" in done.stdout
    assert rows_of(target) == {}


RULES = """
CREATE SCHEMA app;
CREATE TABLE coupon (id int PRIMARY KEY, ends timestamptz);
INSERT INTO coupon SELECT n, now() - interval '1 day' FROM generate_series(1, 500) n;
ALTER TABLE coupon ADD CONSTRAINT not_over CHECK (ends > now()) NOT VALID, ADD CHECK (id > 0);
COMMENT ON CONSTRAINT not_over ON coupon IS 'new ones only';
CREATE TABLE old_coupon (CONSTRAINT not_over CHECK (ends > now()) NOT VALID) INHERITS (coupon);
UPDATE pg_constraint SET convalidated = true;
CREATE FUNCTION app.f_un(text) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT upper($1)';
CREATE FUNCTION app.slug(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN f_un($1); END';
SET search_path = app, public;
CREATE TABLE names (id int PRIMARY KEY, name text CHECK (slug(name) <> 'X'), key text GENERATED ALWAYS AS (slug(name)) STORED);
INSERT INTO names SELECT n, 'name ' || n FROM generate_series(1, 300) n;
CREATE MATERIALIZED VIEW loud AS SELECT slug(name) AS name FROM names;
CREATE TABLE owned (name_id int REFERENCES names); INSERT INTO owned VALUES (1);
"""


def rules_of(url: str) -> list[tuple[object, ...]]:
    return ask(
        url,
        "SELECT conrelid::regclass::text, conname, conislocal, coninhcount, connoinherit,"
        " replace(pg_get_constraintdef(oid), ' NOT VALID', ''), obj_description(oid)"
        " FROM pg_constraint WHERE oid >= 16384 AND contype <> 'n' ORDER BY 1, 2",
    )


def test_rows_that_break_a_check_and_functions_without_schemas_do_not_stop_the_commands(
    pg_servers: Servers, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    """Before: no row came in at the COPY of `coupon`; every index, key and view behind the first that failed was missing."""
    server = pg_servers[MAJORS[0]]
    source, target = make_pg_database(server=server), make_pg_database(server=server)
    # From version 17 on a server builds indexes with a search_path of its own, in the source as well.
    index = "CREATE INDEX by_slug ON app.names (app.slug(name));" if MAJORS[0] < 17 else ""
    run_sql(source, RULES + index)
    backed = backed_up(source, tmp_path / "vault")
    recover_postgres(backed, server, target, tmp_path)
    assert rows_of(target) == rows_of(source)
    assert rules_of(target) == rules_of(source)
    indexes = "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid::regclass::text NOT LIKE 'pg_%' ORDER BY 1"
    assert ask(target, indexes) == ask(source, indexes)
    assert set(ask(target, "SELECT conname FROM pg_constraint WHERE NOT convalidated")) == {("not_over",)}
    assert ask(target, "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'recover%'") == [(0,)]


def test_what_the_commands_cannot_make_is_printed_and_ends_them_with_an_error(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source, target = make_pg_database(), make_pg_database()
    run_sql(
        source,
        "CREATE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';"
        "CREATE TABLE t (id int PRIMARY KEY, n int); INSERT INTO t VALUES (1, 1); CREATE INDEX a_by_f ON t (f(n));"
        "CREATE INDEX z_by_n ON t (n); CREATE MATERIALIZED VIEW m AS SELECT f(n) FROM t;"
        "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RAISE ''no''; END'",
    )
    backed = backed_up(source, tmp_path / "vault")
    text = (backed.folder / layout.recover_key("shop", backed.manifest.id)).read_text()
    path = tools(tmp_path / "bin", pg_server.bin_dir / "psql", "zstd", "cat", "sha256sum")
    done = follow(text, f"cd '{backed.folder}'\nTARGET='{target}'", path)
    assert done.returncode == 1
    assert "ok  public.t" in done.stdout
    told = done.stderr.rpartition("This could not be made:")[2]
    assert "CREATE INDEX a_by_f" in told
    assert "REFRESH MATERIALIZED VIEW" in told
    assert "already exists" not in told
    assert "multiple primary keys" not in told
    assert rows_of(target)["public.t"] == [b"1\t1\n"]
    assert ask(
        target, "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = 't'::regclass ORDER BY 1"
    ) == [("t_pkey",), ("z_by_n",)]


SQLITE = """
CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
INSERT INTO t SELECT i, randomblob(1000) FROM n;
CREATE VIRTUAL TABLE f USING fts5(x);
INSERT INTO f VALUES ('hello');
"""


def recover_sqlite(backed: Backed, out: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    text = (backed.folder / layout.recover_key("shop", backed.manifest.id)).read_text()
    path = tools(tmp_path / f"bin-{out.name}", "zstd", "cat", "sha256sum", "head", "tail", "rm", "sqlite3")
    return follow(text, f"cd '{backed.folder}'\nOUT='{out}'", path)


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="no sqlite3 program on this machine")
def test_a_sqlite_file_is_rebuilt_by_the_commands_alone_also_from_changed_blocks(
    sqlite_file: MakeSqliteFile, tmp_path: Path
) -> None:
    source = sqlite_file(script=SQLITE)
    first = backed_up(f"sqlite:///{source}", tmp_path / "vault")
    connection = sqlite3.connect(source)
    connection.execute("UPDATE t SET x = randomblob(1000) WHERE id % 500 = 0")
    connection.commit()
    connection.close()
    second = backed_up(f"sqlite:///{source}", tmp_path / "vault")
    assert second.manifest.image is not None
    assert any(segment.map is not None for segment in second.manifest.image.segments)
    for backed, name in ((first, "first.db"), (second, "second file.db")):
        assert backed.manifest.image is not None
        out = tmp_path / name
        done = recover_sqlite(backed, out, tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-2:] == [f"{out}: OK", "ok"]
        restored = sqlite3.connect(out)
        assert restored.execute("SELECT count(*) FROM t").fetchone() == (3000,)
        restored.execute("INSERT INTO t (x) VALUES ('new')")
        restored.close()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("second file.db")] == [
        "second file.db"
    ]


@pytest.mark.skipif(shutil.which("sqlite3") is None, reason="no sqlite3 program on this machine")
def test_a_sqlite_file_that_exists_is_not_written_over(sqlite_file: MakeSqliteFile, tmp_path: Path) -> None:
    backed = backed_up(f"sqlite:///{sqlite_file(script=SQLITE)}", tmp_path / "vault")
    out = tmp_path / "precious.db"
    out.write_bytes(b"precious")
    assert recover_sqlite(backed, out, tmp_path).returncode != 0
    assert out.read_bytes() == b"precious"
    # Nor for a user who pastes step by step, whose terminal stays open to be read.
    text = (backed.folder / layout.recover_key("shop", backed.manifest.id)).read_text()
    script = [f"cd '{backed.folder}'; OUT='{out}'", *commands(text)[1:], "echo still here"]
    bash = shutil.which("bash")
    assert bash
    pasted = subprocess.run([bash], input="\n".join(script), capture_output=True, text=True)
    assert "name another file" in pasted.stdout
    assert pasted.stdout.endswith("still here\n")
    assert out.read_bytes() == b"precious"


@given(st.text())
def test_a_here_document_gives_the_text_and_nothing_else(text: str) -> None:
    document = here_document(text)
    first, _, rest = document.partition("\n")
    delimiter = first.removeprefix("<<'").removesuffix("'")
    assert re.fullmatch(r"END_[0-9a-f]+", delimiter)
    body, _, last = rest.rpartition("\n")
    assert last == delimiter
    assert delimiter not in body
    assert body + "\n" == (text if text.endswith("\n") else text + "\n")


@given(st.text(), st.text())
def test_a_fence_cannot_be_closed_from_inside(text: str, name: str) -> None:
    block = fenced("bash", text)
    fence = block.partition("bash\n")[0]
    assert fence not in text
    assert "`" not in shown(name)
    assert all(character.isprintable() for character in shown(name))


@given(st.text().filter(lambda text: "\0" not in text))
def test_names_and_values_stay_inside_their_quotes(text: str) -> None:
    assert identifier(text)[1:-1].replace('""', "").count('"') == 0
    assert literal(text)[1:-1].replace("''", "").count("'") == 0


def test_the_text_depends_on_the_manifest_alone() -> None:
    reference = ObjectRef("0" * 64, 1, ".json.zst", "0" * 64, 1)
    manifest = Manifest(
        "shop", "2026-11-21T02-00-00-123Z", "manual", "full", "", "2026", "",
        Engine("postgres", "16.1"), reference, (TableEntry("public", "t", 0, ("a",)),),
    )  # fmt: skip
    schema = Schema("postgres")
    assert recover_text(manifest, schema) == recover_text(replace(manifest), schema)
