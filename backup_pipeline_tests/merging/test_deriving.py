"""Columns that the SQL of a rule computes again after a merge."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline.databases.engines import engine_at
from backup_pipeline.databases.merge import deriving, merging
from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.databases.merge.merging import Way
from backup_pipeline.databases.merge.session import SessionOptions
from backup_pipeline.errors import RestoreError
from backup_pipeline_tests.merging.stories import Story

SCHEMA = """
CREATE TABLE topics (id $id, name text NOT NULL UNIQUE, posts_count integer NOT NULL, note text);
CREATE TABLE posts (id $id, topic_id integer NOT NULL REFERENCES topics, title text NOT NULL UNIQUE);
INSERT INTO topics VALUES (1, 'tea', 2, '100%'), (2, 'bread', 1, NULL);
INSERT INTO posts VALUES (1, 1, 'assam'), (2, 1, 'ceylon'), (3, 2, 'rye');
"""
COUNTER = {
    "table": "topics",
    "columns": ["posts_count"],
    "reads": ["posts"],
    "what": "the counter of {table}",
    "sql": "UPDATE {table} SET posts_count = (SELECT count(*) FROM {posts} p WHERE p.topic_id = {table}.id)"
    " WHERE '%' <> posts_count || '%'",
}


def lost_a_post(story: Story) -> None:
    story.merge = {"derived": [COUNTER]}
    story.begin(SCHEMA)
    story.run("DELETE FROM posts WHERE id = 2; UPDATE topics SET posts_count = 1 WHERE id = 1")


def test_a_counter_is_right_after_a_merge_and_the_plan_says_that_it_is_computed(story: Story) -> None:
    lost_a_post(story)
    result = story.play()
    assert story.ask("SELECT id, posts_count FROM topics ORDER BY id") == [(1, 2), (2, 1)]
    assert story.of(result, "topics").kept == 0
    told = [one.message for one in result.findings if one.code == "merge-derived"]
    assert told == [f"the counter of {story.table('topics')} is computed again after the rows are written"]
    assert "merge-beyond-plan" not in [one.code for one in result.findings]


def test_a_table_that_is_not_asked_for_is_computed_again_as_well(story: Story) -> None:
    lost_a_post(story)
    story.run("CREATE TABLE labels (topic_name text PRIMARY KEY, posts_count integer)")
    story.run("INSERT INTO labels VALUES ('tea', 1), ('bread', 1)")
    sql = "UPDATE {table} SET posts_count = (SELECT t.posts_count FROM {topics} t WHERE t.name = topic_name)"
    label = {"table": "labels", "columns": ["posts_count"], "reads": ["topics", "posts"], "sql": sql}
    story.merge = {"derived": [COUNTER, label]}
    story.play()
    assert story.ask("SELECT posts_count FROM labels ORDER BY 1") == [(1,), (2,)]


def test_rows_that_only_the_sql_changes_are_known_with_what_they_were(story: Story) -> None:
    lost_a_post(story)
    story.run("INSERT INTO topics VALUES (7, 'cake', 5, 'wrong before')")
    story.run("DELETE FROM posts WHERE id = 3; DELETE FROM topics WHERE id = 2")
    assert story.backup is not None
    options = SessionOptions()
    with engine_at(story.url).merging(story.url, options) as session:
        way = Way(options, "dry run")
        prepared = merging.prepare(session, story.backup, story.asked, story.rules, way)
        merging.write(replace(prepared, due=deriving.Due()))
        (found,) = deriving.derive(prepared.run, prepared.due)
        names = ("id", "name", "posts_count", "note")
        before = session.connection.execute(found.image(names, "before").order_by(found.target.c.id)).all()
        after = session.connection.execute(found.image(names, "after").order_by(found.target.c.id)).all()
    # Not the topic that the merge itself has created.
    assert (found.table, found.rows) == (story.table("topics"), 2)
    assert before == [(1, "tea", 1, "100%"), (7, "cake", 5, "wrong before")]
    assert after == [(1, "tea", 2, "100%"), (7, "cake", 0, "wrong before")]


def test_an_undo_puts_back_what_only_the_sql_has_changed(story: Story) -> None:
    lost_a_post(story)
    story.run("INSERT INTO topics VALUES (7, 'cake', 5, 'wrong before')")
    story.run(
        "UPDATE topics SET note = 'hot' WHERE id = 1; DELETE FROM posts WHERE id = 3; DELETE FROM topics WHERE id = 2"
    )
    before = story.ask("SELECT * FROM topics ORDER BY id"), story.ask("SELECT * FROM posts ORDER BY id")
    assert story.merge_and_undo(update=True).plan.writes == 4
    assert (
        story.ask("SELECT * FROM topics ORDER BY id"),
        story.ask("SELECT * FROM posts ORDER BY id"),
    ) == before


def test_nothing_is_computed_where_nothing_is_written(story: Story) -> None:
    story.merge = {"derived": [COUNTER]}
    story.begin(SCHEMA)
    story.run("UPDATE topics SET posts_count = 9")
    result = story.play()
    assert [one.code for one in result.findings] == []
    assert story.ask("SELECT posts_count FROM topics") == [(9,), (9,)]


def test_sql_that_fails_is_told_with_its_rule_and_nothing_is_written(story: Story) -> None:
    lost_a_post(story)
    story.merge = {"derived": [{**COUNTER, "sql": "UPDATE topics SET no_such_column = 1"}]}
    with pytest.raises(RestoreError, match=r"the SQL of backup\.yaml that computes the counter of"):
        story.play()
    assert story.ask("SELECT count(*) FROM posts") == [(2,)]


def test_a_table_without_a_key_is_not_computed_and_the_plan_says_so(story: Story) -> None:
    lost_a_post(story)
    story.run("CREATE TABLE totals (posts_count integer)")
    sql = "UPDATE {table} SET posts_count = 3"
    story.merge = {
        "derived": [{"table": "totals", "columns": ["posts_count"], "reads": ["posts"], "sql": sql}]
    }
    story.asked = Asked(lineage="same", only=frozenset({story.table("posts")}))
    told = [one.message for one in story.plan().findings if one.code == "merge-not-derived"]
    assert told == [
        "totals.posts_count is not computed again: totals has no primary key, so that an undo could not find its rows"
    ]
