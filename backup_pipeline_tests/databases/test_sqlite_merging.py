"""The session of a merge into a SQLite file: what it does in its own way."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import Raw
from backup_pipeline.databases.merge.session import SessionOptions, Staged
from backup_pipeline.databases.sqlite.export.rows import as_lines, from_lines
from backup_pipeline.databases.sqlite.merging import open_session
from backup_pipeline.errors import RowsRefused
from backup_pipeline.model.schema import TableId

NOTES = TableId("main", "notes")
ROWS = [
    (1, "plain", 1.5, b"\x00\xff"),
    (-(2**63), "tab\tline\nback\\slash\\N", float("inf"), b""),
    (2**63 - 1, "\\N", -0.0, "text in a blob"),
    ("text in an integer", "", 1e300, 7),
    (None, None, None, None),
    (3, "nul\0inside", 5, 2.5),
    (4, b"blob in text", "real as text", None),
]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "app.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            """CREATE TABLE notes (id INTEGER PRIMARY KEY, body TEXT CHECK (body <> 'bad'));
               CREATE TABLE audit (what TEXT);
               CREATE VIRTUAL TABLE search USING fts5(body, content='notes', content_rowid='id');
               CREATE TRIGGER indexed AFTER INSERT ON notes BEGIN
                 INSERT INTO search(rowid, body) VALUES (NEW.id, NEW.body); END;
               CREATE TRIGGER audited AFTER INSERT ON notes BEGIN INSERT INTO audit VALUES ('notes'); END;
               CREATE TABLE plain (a TEXT);
               INSERT INTO plain VALUES ('old');"""
        )
        connection.commit()
    return path


def test_row_text_of_sqlite_is_read_back_as_it_was() -> None:
    kinds = ("INTEGER", "TEXT", "REAL", "BLOB")
    text = as_lines(ROWS, kinds)
    for size in (1, 7, len(text)):
        blocks = [text[at : at + size] for at in range(0, len(text), size)]
        assert list(map(repr, from_lines(blocks, kinds))) == list(map(repr, ROWS))


def test_numbers_of_a_numeric_column_keep_their_class() -> None:
    rows = [(1,), (1.0,), (-7,), (2.5,), ("1",), (b"1",), (None,)]
    assert list(map(repr, from_lines([as_lines(rows, ["NUMERIC"])], ["NUMERIC"]))) == list(map(repr, rows))


@pytest.mark.parametrize(("asked", "indexed", "audited"), [("auto", 1, 0), ("off", 0, 0), ("fire", 1, 1)])
def test_with_auto_only_triggers_of_a_search_index_run(
    file: Path, asked: str, indexed: int, audited: int
) -> None:
    with open_session(f"sqlite:///{file}", SessionOptions()) as session:
        told = session.ready_to_write([NOTES], asked)  # type: ignore[arg-type]
        session.raw.execute("INSERT INTO notes VALUES (1, 'hello')")
        session.written()
        session.commit()
    assert {one.code for one in told} <= {"triggers-off", "triggers-fire"}
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT count(*) FROM search WHERE search MATCH 'hello'").fetchone()
        assert found == (indexed,)
        assert connection.execute("SELECT count(*) FROM audit").fetchone() == (audited,)
        # Each trigger is there again.
        triggers = connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' ORDER BY 1")
        assert triggers.fetchall() == [("audited",), ("indexed",)]


def test_rows_go_out_and_come_into_staging_as_they_were(file: Path) -> None:
    with open_session(f"sqlite:///{file}", SessionOptions()) as session:
        plain = sa.Table("plain", sa.MetaData(), sa.Column("a", Raw("TEXT")), schema="main")
        blocks = list(session.out(sa.select(plain.c.a)))
        staged = Staged(TableId("main", "plain"), ("a",), ("TEXT",), "back")
        assert session.fill(staged, blocks) == 1
        assert session.raw.execute("SELECT n, c0 FROM bp_stage.back").fetchall() == [(1, "old")]


def test_rows_of_a_table_without_a_key_are_known_when_they_are_fresh(file: Path) -> None:
    with open_session(f"sqlite:///{file}", SessionOptions()) as session:
        table = TableId("main", "plain")
        session.ready_to_write([table], "auto")
        session.raw.execute("INSERT INTO plain VALUES ('new')")
        columns = sa.Column("a", Raw("TEXT")), sa.Column("rowid", Raw("INTEGER"))
        plain = sa.Table("plain", sa.MetaData(), *columns, schema="main")
        fresh = sa.select(plain.c.a).where(session.fresh(table, plain))
        assert session.connection.execute(fresh).all() == [("new",)]


def test_a_broken_constraint_is_about_rows_and_leaves_the_file_as_it_was(file: Path) -> None:
    before = file.read_bytes()
    notes = sa.Table("notes", sa.MetaData(), sa.Column("body", Raw("TEXT")), schema="main")
    with open_session(f"sqlite:///{file}", SessionOptions()) as session:
        session.ready_to_write([NOTES], "off")
        with pytest.raises(RowsRefused, match="CHECK constraint failed"):
            session.connection.execute(sa.insert(notes).values(body="bad"))
    assert file.read_bytes() == before


def test_a_session_that_only_counts_cannot_write(file: Path) -> None:
    with (
        open_session(f"sqlite:///{file}", SessionOptions(read_only=True)) as session,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        session.raw.execute("INSERT INTO plain VALUES ('new')")
