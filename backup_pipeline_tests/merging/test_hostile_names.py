"""Names of tables, columns and types are text, and never a part of a statement: a merge and its undo work with all of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from backup_pipeline.databases.engines import engine_at
from backup_pipeline.databases.merge import remembering
from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.databases.merge.session import Memory, SessionOptions
from backup_pipeline.errors import BackupError
from backup_pipeline.restores.merging import merge_into
from backup_pipeline_tests.merging.databases import quoted
from backup_pipeline_tests.merging.stories import Story

PARENT = "pa\"rent';--%s %(x)s :y $1 \\n\n\u00fc"
CHILD = "select"
NAMES = (
    'a"b',
    "c%d %s %(z)s %%",
    ":param",
    "back\\slash",
    "line\nbreak\ttab",
    "Grüße 你",
    "from",
    "n",
    "c0",
    "bp_n",
    "k0",
    "x" * 63,
    "; DROP TABLE kept; --",
    "/* */",
    "{table}",
)


def _script(engine: str) -> str:
    names = [*NAMES, *(("Twin", "twin") if engine == "postgres" else ())]
    columns = ", ".join(f"{quoted(name)} text" for name in names)
    values = ", ".join(f"'{at}'" for at in range(len(names)))
    up, parent, child = quoted("up%s:x"), quoted(PARENT), quoted(CHILD)
    key = quoted("k'ey\"%")
    return f"""
        CREATE TABLE {parent} ({key} $id, {columns});
        CREATE UNIQUE INDEX {quoted('u"q%s:z')} ON {parent} ({quoted(NAMES[0])}, {quoted(NAMES[1])})
            WHERE {quoted(NAMES[2])} <> '%s :x';
        CREATE TABLE {child} (id $id, {up} integer REFERENCES {parent} ({key}), {columns});
        CREATE TABLE kept (id $id);
        INSERT INTO {parent} ({", ".join(map(quoted, names))}) VALUES ({values});
        INSERT INTO {child} ({up}, {", ".join(map(quoted, names))}) VALUES (1, {values});
        INSERT INTO kept VALUES (1);
    """


def test_rows_of_tables_with_hostile_names_come_back_and_are_undone(story: Story) -> None:
    story.begin(_script(story.engine))
    parent, child, name = quoted(PARENT), quoted(CHILD), quoted(NAMES[3])
    story.run(f"DELETE FROM {child}; UPDATE {parent} SET {name} = 'other'")
    result = story.play(update=True)
    assert story.of(result, PARENT).update + story.of(result, CHILD).create == 2
    assert story.ask(f"SELECT {name} FROM {parent}") == [("3",)]
    story.run(f"DELETE FROM {child}")
    story.merge_and_undo()
    assert story.ask(f"SELECT count(*) FROM {child}") == [(0,)]
    assert story.ask("SELECT count(*) FROM kept") == [(1,)]


@pytest.mark.parametrize(
    "condition",
    [
        "id = 1); DELETE FROM kept; --",
        "id = 1; DELETE FROM kept",
        "1=1) OR (SELECT count(*) FROM (DELETE FROM kept RETURNING 1)) > 0 -- ",
        "id = 1 -- ",
        "id = 1 /*",
        "'",
        "%s",
        ":x",
        "\0",
    ],
)
def test_a_condition_that_tries_to_end_its_statement_writes_nothing(story: Story, condition: str) -> None:
    story.begin("CREATE TABLE kept (id $id, t text); INSERT INTO kept VALUES (1, 'a'), (2, 'b');")
    story.run("DELETE FROM kept WHERE id = 1")
    assert story.backup is not None
    asked = Asked(where={story.table("kept"): condition})
    with pytest.raises(BackupError):
        merge_into(story.backup, story.url, asked, story.rules)
    assert story.ask("SELECT id FROM kept") == [(2,)]


def test_a_declared_type_of_sqlite_is_text(tmp_path: Path) -> None:
    story = Story("sqlite", f"sqlite:///{tmp_path / 'app.sqlite3'}", tmp_path / "vault")
    kind = quoted("x), y (\"z' TEXT")
    story.begin(f"CREATE TABLE odd (id {kind} PRIMARY KEY, v {kind}); INSERT INTO odd VALUES ('a', 'b');")
    story.run("DELETE FROM odd")
    story.merge_and_undo()
    story.play()
    with closing(sqlite3.connect(tmp_path / "app.sqlite3")) as file:
        assert file.execute("SELECT * FROM odd").fetchall() == [("a", "b")]


def test_a_schema_of_the_application_with_our_name_is_left_alone(pg_database: str, tmp_path: Path) -> None:
    story = Story("postgres", pg_database, tmp_path / "vault")
    story.begin("CREATE TABLE kept (id $id, t text); INSERT INTO kept VALUES (1, 'a');")
    theirs = (
        "CREATE SCHEMA backup_pipeline; CREATE TABLE backup_pipeline.restores (restore_id text, until text);"
    )
    story.run(f"DELETE FROM kept; {theirs}")
    assert story.backup is not None
    options = SessionOptions(memory=Memory("shop", "r-2026-11-30T00-00-00-000Z"))
    result = merge_into(story.backup, story.url, story.asked, story.rules, options)
    assert "merge-not-remembered" in {one.code for one in result.findings}
    assert story.ask("SELECT id FROM kept") == [(1,)]
    assert story.ask("SELECT count(*) FROM backup_pipeline.restores") == [(0,)]
    with engine_at(story.url).merging(story.url, SessionOptions(read_only=True)) as session:
        assert remembering.happened(session, "r-2026-11-30T00-00-00-000Z") is None
