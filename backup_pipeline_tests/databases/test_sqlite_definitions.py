"""Reading what people really type into CREATE TABLE."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.databases.sqlite.export.definitions import parse_table, parse_virtual
from backup_pipeline.databases.sqlite.export.inspection import _listed_by_text, inspect, list_tables
from backup_pipeline.model.schema import TableId
from backup_pipeline_tests.databases.test_sqlite_fidelity import make_torture
from backup_pipeline_tests.harness.sqlite_rows import connect, new_database

AWKWARD = r'''CREATE TABLE "odd, (name)" ( -- a comment, with a comma (
  [id] INTEGER CONSTRAINT pk PRIMARY KEY ON CONFLICT FAIL AUTOINCREMENT NOT NULL,
  "a ""b""" TEXT /* CHECK (no) */ COLLATE "NOCASE" DEFAULT 'it''s, (not) CHECK'  CONSTRAINT len CHECK (length("a ""b""") < 10),
  `c` DECIMAL(10, 2) DEFAULT (1 + (2 * 3)) CHECK (c IN (1, 2, ')')),
  d INT UNIQUE REFERENCES other (x, y) ON DELETE SET NULL ON UPDATE SET DEFAULT MATCH FULL NOT DEFERRABLE CHECK (d > 0),
  e INT CONSTRAINT to_other REFERENCES "other" DEFERRABLE INITIALLY DEFERRED,
  f GENERATED ALWAYS AS (c || ',' || d) STORED COLLATE RTRIM,
  g AS (upper(f)),
  CONSTRAINT both UNIQUE (c, d COLLATE NOCASE DESC) CONSTRAINT some CHECK (c <> d) -- no comma between these
  FOREIGN KEY (c, d) REFERENCES third (m, n) DEFERRABLE INITIALLY IMMEDIATE,
  CHECK (1)
) -- trailing
 STRICT , without /* x */ rowid'''


def test_an_awkward_definition_is_understood() -> None:
    found = parse_table(AWKWARD)
    assert [(check.name, check.expression) for check in found.checks] == [
        ("len", 'length("a ""b""") < 10'),
        ("", "c IN (1, 2, ')')"),
        ("", "d > 0"),
        ("some", "c <> d"),
        ("", "1"),
    ]
    assert [(u.name, u.columns) for u in found.uniques] == [("", ("d",)), ("both", ("c", "d"))]
    assert [(f.name, f.columns, f.table, f.deferrable, f.initially_deferred) for f in found.foreign_keys] == [
        ("", ("d",), "other", False, False),
        ("to_other", ("e",), "other", True, True),
        ("", ("c", "d"), "third", True, False),
    ]
    assert found.primary_key_name == "pk"
    assert found.autoincrement
    assert found.collations == {'a "b"': "NOCASE", "f": "RTRIM"}
    assert found.generated == {"f": "c || ',' || d", "g": "upper(f)"}
    assert found.options == ("STRICT", "WITHOUT ROWID")


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "CREATE TABLE t",
        "CREATE TABLE t (",
        "CREATE TABLE t (a CHECK (",
        "CREATE TABLE t (a REFERENCES",
        "((((",
        "CREATE TABLE t (,,)",
    ],
)
def test_a_definition_that_is_not_one_is_no_error(sql: str) -> None:
    parse_table(sql)
    parse_virtual(sql)


def test_arguments_of_a_virtual_table_are_read() -> None:
    sql = "CREATE VIRTUAL TABLE IF NOT EXISTS \"v t\" USING FTS5(a, b UNINDEXED, content='the ''table''', tokenize = porter ascii, prefix='2 3')"
    found = parse_virtual(sql)
    assert found.module == "fts5"
    assert found.options == {"content": "the 'table'", "tokenize": "porter ascii", "prefix": "2 3"}
    assert found.arguments == ("a",)
    assert parse_virtual("CREATE VIRTUAL TABLE v USING fts5vocab('main', [docs], row)").arguments == (
        "main",
        "docs",
        "row",
    )


def test_an_older_sqlite_would_list_the_same_tables(tmp_path: Path) -> None:
    """`PRAGMA table_list` came with 3.37; before it, the text has to do."""
    live = make_torture(tmp_path / "app.db")
    with closing(connect(live.path)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY rowid"
        ).fetchall()
        assert _listed_by_text(rows) == list_tables(connection)


def test_a_reference_finds_its_table_in_any_case(tmp_path: Path) -> None:
    path = new_database(tmp_path / "app.db")
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE People (Id INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE note (a REFERENCES PEOPLE, b REFERENCES gone (x))")
        note = inspect(connection).schema.table(TableId("main", "note"))
    assert note
    assert [(key.references.name, key.referenced) for key in note.foreign_keys] == [
        ("People", ("Id",)),
        ("gone", ("x",)),
    ]


def test_the_parts_of_an_index_are_read_as_they_are_written(tmp_path: Path) -> None:
    path = new_database(tmp_path / "app.db")
    with closing(connect(path)) as connection:
        connection.execute('CREATE TABLE t (a TEXT COLLATE NOCASE, b, "c (,)")')
        connection.execute(
            'create unique index if not exists i on [t] ( a collate binary desc, b || \',\' || "c (,)" asc, "c (,)" ) '
            "/* why ( */ where b > 1 and (a <> ')') -- so"
        )
        table = inspect(connection).schema.table(TableId("main", "t"))
    assert table
    assert [(part.column, part.expression, part.collation) for part in table.indexes[0].parts] == [
        ("a", "", "binary"),
        ("", "b || ',' || \"c (,)\"", None),
        ("c (,)", "", None),
    ]
    assert table.indexes[0].predicate == "b > 1 and (a <> ')')"
