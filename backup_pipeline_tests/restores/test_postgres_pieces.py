"""A table of which something cannot be made has its rows all the same; what is missing is listed as the SQL for it."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from backup_pipeline.databases.base import RestoreOptions
from backup_pipeline.databases.postgres.restore import preflight
from backup_pipeline.databases.postgres.restore.pieces import make_in_pieces
from backup_pipeline.databases.postgres.restore.statements import Statement
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.restores import restore
from backup_pipeline_tests.harness.backups import ask, backed_up, run_sql
from backup_pipeline_tests.harness.engines import MakePgDatabase

CODE = """
CREATE FUNCTION f(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 + 1';
CREATE FUNCTION ok(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true';
CREATE DOMAIN word AS text DEFAULT 'x' NOT NULL CONSTRAINT good CHECK (ok(VALUE)) CONSTRAINT short CHECK (length(VALUE) < 9);
CREATE TABLE t (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n numeric(5, 2) DEFAULT 1.5 NOT NULL, w word,
    g int GENERATED ALWAYS AS (f(1)) STORED, h int GENERATED ALWAYS AS (2 + 3) STORED, d int DEFAULT f(2),
    CONSTRAINT good CHECK (f(d) > 0), CONSTRAINT plain CHECK (n > 0), e text DEFAULT NULL::text COLLATE "C",
    CONSTRAINT reads CHECK (length(pg_read_file('/etc/hostname')) >= 0)
);
INSERT INTO t (w) SELECT 'a' || i FROM generate_series(1, 50) i;
CREATE INDEX t_w ON t (lower(w)); CREATE INDEX t_d ON t (f(d));
CREATE FUNCTION trg() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE TRIGGER fires BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION trg();
ALTER TABLE t DISABLE TRIGGER fires;
CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t;
COMMENT ON FUNCTION f IS 'plus one';
"""


@pytest.mark.parametrize("small", [True, False], ids=["one transaction", "parallel"])
def test_without_code_nothing_of_the_source_runs_and_every_row_is_there(
    make_pg_database: MakePgDatabase, tmp_path: Path, small: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make_pg_database(), make_pg_database()
    run_sql(source, CODE)
    backed = backed_up(source, tmp_path / "vault")
    if not small:
        monkeypatch.setattr(preflight, "SMALL", 0)
    result = restore(backed.backup, target, RestoreOptions(terms=Terms(code=False)))
    columns = "SELECT id, n, w, h, d, e FROM t ORDER BY id"
    assert ask(target, columns) == ask(source, columns)
    assert ask(target, "SELECT proname FROM pg_proc WHERE oid >= 16384") == []
    assert ask(target, "SELECT relispopulated FROM pg_class WHERE relname = 'm'") == [(False,)]
    kept = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND oid >= 16384 ORDER BY 1"
    assert ask(target, kept) == [("plain",), ("short",)]
    lacking = {left.sql for left in result.lacking}
    assert lacking == {
        "ALTER DOMAIN public.word ADD CONSTRAINT good CHECK (public.ok(VALUE))",
        "ALTER TABLE public.t ADD COLUMN g integer GENERATED ALWAYS AS (public.f(1)) STORED",
        "ALTER TABLE public.t ALTER COLUMN d SET DEFAULT public.f(2)",
        "ALTER TABLE public.t ADD CONSTRAINT good CHECK ((public.f(d) > 0))",
        "ALTER TABLE public.t ADD CONSTRAINT reads CHECK ((length(pg_read_file('/etc/hostname'::text)) >= 0))",
        "CREATE INDEX t_d ON public.t USING btree (public.f(d))",
    }
    asked = [left.sql.split("\n")[0] for left in result.remainder if left.asked]
    assert "COMMENT ON FUNCTION public.f(integer) IS 'plus one'" in asked
    assert "ALTER TABLE public.t DISABLE TRIGGER fires" in asked
    assert 'REFRESH MATERIALIZED VIEW "public"."m"' in asked
    # The next row goes in, and what was left out can be made in the order of the list.
    run_sql(target, "INSERT INTO t (w, d) VALUES ('new', 1)")
    for left in result.remainder:
        run_sql(target, f"SET search_path = ''; {left.sql}")
    assert ask(target, "SELECT count(*), min(g), max(h) FROM t") == [(51, 2, 5)]


@pytest.mark.parametrize(
    ("text", "left", "columns"),
    [
        (
            "CREATE TABLE public.x (a no.type DEFAULT '1'::no.type NOT NULL, b int)",
            [
                "ALTER TABLE public.x ALTER COLUMN a TYPE no.type USING a::no.type",
                "ALTER TABLE public.x ALTER COLUMN a SET DEFAULT '1'::no.type",
            ],
            ["a text", "b integer"],
        ),
        (
            "CREATE UNLOGGED TABLE public.x (a int, CONSTRAINT c CHECK (no.f(a)), CONSTRAINT d CHECK (no.g(a))) WITH (fillfactor=70)",
            [
                "ALTER TABLE public.x ADD CONSTRAINT c CHECK (no.f(a))",
                "ALTER TABLE public.x ADD CONSTRAINT d CHECK (no.g(a))",
            ],
            ["a integer"],
        ),
        (
            "CREATE TABLE public.x (g int GENERATED ALWAYS AS (no.f(1)) STORED, \"a,b\" varchar(3) COLLATE no.c DEFAULT '),(', n numeric(3,1))",
            [
                'ALTER TABLE public.x ALTER COLUMN "a,b" TYPE varchar(3) COLLATE no.c USING "a,b"::varchar(3)',
                "ALTER TABLE public.x ADD COLUMN g int GENERATED ALWAYS AS (no.f(1)) STORED",
            ],
            ["a,b text", "n numeric(3,1)"],
        ),
        ("CREATE TABLE public.x (a int) INHERITS (no.parent)", None, []),
        ("CREATE TABLE public.x OF no.type (a DEFAULT 1)", None, []),
    ],
)
def test_a_table_is_made_without_what_cannot_be_made(
    pg_database: str, text: str, left: list[str] | None, columns: list[str]
) -> None:
    with psycopg.connect(pg_database) as connection:
        found = make_in_pieces(connection, Statement(text, 1), Terms(keep_going=True))
        assert (None if found is None else [one.sql for one in found]) == left
        assert [
            " ".join(row)
            for row in connection.execute(
                "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attnum > 0"
                " AND attrelid = to_regclass('public.x') ORDER BY attnum"
            )
        ] == columns


def test_a_restore_that_keeps_going_names_the_rows_that_have_no_place(
    pg_server: EmbeddedPostgres, make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    source, target = make_pg_database(), make_pg_database()
    run_sql(
        source,
        "CREATE TYPE pair AS (a int, b int); CREATE TABLE typed OF pair; INSERT INTO typed VALUES (1, 2);"
        "CREATE TABLE t (id serial, p pair); INSERT INTO t (p) VALUES ('(1,2)'), ('(3,4)')",
    )
    backed = backed_up(source, tmp_path / "vault")
    manifest = backed.without_sql("pre-data", "CREATE TYPE public.pair AS")
    result = restore(backed.vault.backup_of(manifest), target, RestoreOptions(terms=Terms(keep_going=True)))
    assert ask(target, "SELECT id, p FROM t") == [(1, "(1,2)"), (2, "(3,4)")]
    (lost,) = [finding for finding in result.findings if finding.code == "rows-not-restored"]
    assert lost.table == "public.typed"
    assert "ALTER TABLE public.t ALTER COLUMN p TYPE public.pair USING p::public.pair" in [
        left.sql for left in result.lacking
    ]
