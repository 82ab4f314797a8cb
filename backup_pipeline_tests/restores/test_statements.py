"""Where a statement ends: by rule, by property, and compared with what psql itself makes of real dumps."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.databases.postgres.restore.statements import Statement, split
from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.errors import RestoreError
from backup_pipeline_tests.harness.torture_postgres import torture_sql


def texts(script: str, *, standard_strings: bool = True) -> list[str]:
    return [statement.text for statement in split(script, standard_strings=standard_strings)]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("", []),
        (" ;\n;;-- nothing\n/* at all */;", []),
        ("select 1; select 2", ["select 1", "select 2"]),
        ("-- before\nselect 1; -- behind\nselect 2;", ["select 1", "select 2"]),
        ("select ';' ; select 1", ["select ';'", "select 1"]),
        ("select 'it''s;'; x", ["select 'it''s;'", "x"]),
        (r"select E'a\';b'; x", [r"select E'a\';b'", "x"]),
        (r"select 'a\'; x", [r"select 'a\'", "x"]),
        ("select E'a'\n'b\\';c'; x", ["select E'a'\n'b\\';c'", "x"]),
        ("select E'a' -- why\n  'b\\';c'; x", ["select E'a' -- why\n  'b\\';c'", "x"]),
        ("select E'a' 'b;'; x", ["select E'a' 'b;'", "x"]),
        ('select ";" as "a"";"; x', ['select ";" as "a"";"', "x"]),
        ("select U&\"d;\\0061\", U&'x;'; x", ["select U&\"d;\\0061\", U&'x;'", "x"]),
        ("select $$;$$; select $a$;$$;$a$; x", ["select $$;$$", "select $a$;$$;$a$", "x"]),
        ("select $1; select a$b$c; d$b$;", ["select $1", "select a$b$c", "d$b$"]),
        ("select 1 /* ; /* ; */ ; */ + 1; x", ["select 1 /* ; /* ; */ ; */ + 1", "x"]),
        ("select b'01;', x'1;', n';'; x", ["select b'01;', x'1;', n';'", "x"]),
        (
            "CREATE RULE r AS ON UPDATE TO t DO (DELETE FROM a; DELETE FROM b;); x",
            ["CREATE RULE r AS ON UPDATE TO t DO (DELETE FROM a; DELETE FROM b;)", "x"],
        ),
        (
            "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END; x",
            [
                "CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END",
                "x",
            ],
        ),
        (
            "CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1; BEGIN SELECT 2; END; END; x",
            ["CREATE PROCEDURE p() BEGIN ATOMIC SELECT 1; BEGIN SELECT 2; END; END", "x"],
        ),
        ("BEGIN; CREATE TABLE t (); END; x", ["BEGIN", "CREATE TABLE t ()", "END", "x"]),
        # `begin` is no reserved word: psql takes it for a body, and this does not.
        (
            "CREATE FUNCTION public.begin() RETURNS int AS $$;$$; ALTER FUNCTION public.begin() OWNER TO x; y",
            [
                "CREATE FUNCTION public.begin() RETURNS int AS $$;$$",
                "ALTER FUNCTION public.begin() OWNER TO x",
                "y",
            ],
        ),
        (
            "CREATE FUNCTION begin() RETURNS int BEGIN ATOMIC SELECT t.begin, CASE 1 WHEN 1 THEN begin END FROM t; END; x",
            [
                "CREATE FUNCTION begin() RETURNS int BEGIN ATOMIC SELECT t.begin, CASE 1 WHEN 1 THEN begin END FROM t; END",
                "x",
            ],
        ),
        ('CREATE TABLE "begin" (); x', ['CREATE TABLE "begin" ()', "x"]),
        ("\\restrict abc\nselect 1;\n\\unrestrict abc\n", ["select 1"]),
        ("select 'ünï; 日本'; x", ["select 'ünï; 日本'", "x"]),
        ("select 'never closed; x", ["select 'never closed; x"]),
        ('select 1::numeric(3,1); select a."b;".c', ["select 1::numeric(3,1)", 'select a."b;".c']),
    ],
)
def test_a_statement_ends_where_psql_ends_it(script: str, expected: list[str]) -> None:
    assert texts(script) == expected


def test_backslashes_escape_in_plain_strings_after_the_script_says_so() -> None:
    script = r"SET standard_conforming_strings = 'off'; select 'a\';b'; x"
    assert texts(script) == ["SET standard_conforming_strings = 'off'", r"select 'a\';b'", "x"]
    assert texts(r"select 'a\';b'; x", standard_strings=False) == [r"select 'a\';b'", "x"]


def test_a_psql_command_in_a_dump_is_refused() -> None:
    with pytest.raises(RestoreError, match=r"line 2 .* psql command: '\\\\! rm -rf /'"):
        texts("select 1;\n\\! rm -rf /\n")


@pytest.mark.parametrize(
    "hidden", ["select 1 \\! id", "select 1 \\g |id", "create view v as (select 1 \\! id\n)"]
)
def test_a_psql_command_is_refused_wherever_psql_would_run_it(hidden: str) -> None:
    with pytest.raises(RestoreError, match=r"line 3 .* psql command: "):
        texts(f"select 1;\n\n{hidden};")


def test_lines_are_counted_from_one() -> None:
    assert [s.line for s in split("\n-- x\nselect 1;\n\n/* \n */ select\n2; select 3")] == [3, 6, 7]


def test_bytes_that_are_not_utf8_come_out_as_they_went_in() -> None:
    raw = b"select '\xe9;\xff'; x"
    assert [t.encode("utf-8", "surrogateescape") for t in texts(raw.decode("utf-8", "surrogateescape"))] == [
        b"select '\xe9;\xff'",
        b"x",
    ]


_WORDS = st.text("abcé_", min_size=1, max_size=4)
_PIECES = st.one_of(
    st.from_regex(r"[a-df-z+*.,\[\]0-9]{1,5}", fullmatch=True),
    st.text().filter(lambda t: "\0" not in t).map(lambda t: "'" + t.replace("'", "''") + "'"),
    # With an operator behind it: a string on one of the next lines would go on with it, escapes and all.
    st.text().map(lambda t: "E'" + t.replace("\\", "\\\\").replace("'", "\\'") + "' ||"),
    st.text().map(lambda t: '"' + t.replace('"', '""') + '"'),
    st.tuples(_WORDS, st.text()).filter(lambda p: "$" not in p[1]).map(lambda p: f"${p[0]}${p[1]}${p[0]}$"),
    st.text().filter(lambda t: "*/" not in t and "/*" not in t).map(lambda t: f"/*{t} */"),
    st.text().map(lambda t: "--" + t.replace("\n", "").replace("\r", "") + "\n"),
    st.text("ab;'", max_size=0).map(lambda _: "(;)"),
)
_STATEMENTS = st.lists(_PIECES, min_size=1, max_size=6).map(lambda parts: "select " + " ".join(parts) + " x")


@given(st.lists(_STATEMENTS, max_size=5))
def test_what_was_joined_falls_apart_again(statements: list[str]) -> None:
    assert texts(";\n".join(statements)) == statements


@given(st.text())
def test_any_text_is_split_without_losing_a_letter(text: str) -> None:
    try:
        found = list(split(text))
    except RestoreError:
        return
    position = 0
    for statement in found:
        position = text.index(statement.text, position) + len(statement.text)


def test_a_statement_falls_into_its_tokens() -> None:
    statement = Statement(
        """ALTER TABLE ONLY "a ""b".C$1 /* no */ ADD x TEXT DEFAULT E'a\\'b' -- no\n, ADD y int""", 1
    )
    kinds = [(token.kind, token.text) for token in statement.tokens()]
    assert kinds[:6] == [
        ("word", "alter"),
        ("word", "table"),
        ("word", "only"),
        ("name", 'a "b'),
        ("other", "."),
        ("word", "c$1"),
    ]
    assert ("string", "E'a\\'b'") in kinds
    assert ("word", "no") not in kinds


def test_psql_and_we_find_the_same_statements_in_a_real_dump(
    pg_server: EmbeddedPostgres, pg_database: str, tmp_path: Path
) -> None:
    """psql -e prints every query as it sends it; each of ours must be printed as one, in order, with only answers between."""
    with psycopg.connect(pg_database, autocommit=True) as connection:
        connection.execute(torture_sql(pg_server.major).encode())
    env = {**os.environ, "LC_ALL": "C"}
    dump = subprocess.run(
        [str(pg_server.bin_dir / "pg_dump"), "--schema-only", f"--dbname={pg_database}"],
        capture_output=True,
        check=True,
        env=env,
    ).stdout
    script = tmp_path / "dump.sql"
    script.write_bytes(dump)
    ours = texts(dump.decode())
    target = pg_server.create_database("split_by_psql")
    try:
        done = subprocess.run(
            [
                str(pg_server.bin_dir / "psql"),
                "-X",
                "-q",
                "-e",
                "-d",
                target,
                "-f",
                str(script),
            ],
            capture_output=True,
            check=True,
            env=env,
        )
    finally:
        pg_server.drop_database("split_by_psql")
    echoed = done.stdout.decode()
    position = 0
    for text in ours:
        found = echoed.find(text + ";\n", position)
        assert found >= 0, f"psql did not send this as one statement: {text}"
        between = echoed[position:found]
        assert not [s for s in split(between) if not _is_answer(s.text)], (
            f"psql sent something before: {text}"
        )
        position = found + len(text) + 2
    assert position > 0
    assert len(ours) > 200


def _is_answer(text: str) -> bool:
    """What psql prints of results: set_config's table."""
    return "set_config" in text or text.strip("-+() \n").startswith(("1 row", "search_path"))
