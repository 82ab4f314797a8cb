"""Rows that the target takes only in part, references that are perhaps there, and parents that must be there."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.errors import BackupError
from backup_pipeline_tests.harness.engines import MakePgDatabase
from backup_pipeline_tests.merging.stories import Story

PEOPLE = """
CREATE TABLE people (id $id, email text NOT NULL UNIQUE, city text);
CREATE TABLE visits (id $id, person_id integer NOT NULL REFERENCES people, made text NOT NULL UNIQUE);
INSERT INTO people VALUES (1, 'ada', NULL), (2, 'bob', 'Graz'), (3, 'cyd', NULL);
INSERT INTO visits VALUES (1, 1, 'v1'), (2, 2, 'v2');
"""
#: The same table, made anew.
NOW = """
DROP TABLE visits; DROP TABLE people;
CREATE TABLE people (id $id, email text NOT NULL UNIQUE, city text NOT NULL, born date NOT NULL, grade integer NOT NULL);
CREATE TABLE visits (id $id, person_id integer NOT NULL REFERENCES people, made text NOT NULL UNIQUE);
INSERT INTO people VALUES (3, 'cyd', 'Linz', '1999-09-09', 1);
"""


def test_a_rule_fills_columns_that_the_backup_has_no_value_for(story: Story) -> None:
    story.merge = {"tables": {"people": {"fill": {"city": "O'Wien", "born": "2000-01-02", "grade": "7"}}}}
    story.begin(PEOPLE)
    story.run(NOW)
    story.play()
    assert story.ask("SELECT email, city, CAST(born AS text), grade FROM people ORDER BY id") == [
        ("ada", "O'Wien", "2000-01-02", 7),
        ("bob", "Graz", "2000-01-02", 7),
        ("cyd", "Linz", "1999-09-09", 1),
    ]
    assert story.ask("SELECT made FROM visits ORDER BY id") == [("v1",), ("v2",)]


def test_a_null_that_the_target_takes_no_more_leaves_its_row_out_and_says_so(story: Story) -> None:
    story.merge = {"tables": {"people": {"fill": {"born": "2000-01-02", "grade": "7"}}}}
    story.begin(PEOPLE)
    story.run(NOW)
    result = story.play(update=True)
    people = story.of(result, "people")
    assert (people.create, dict(people.skipped)) == (1, {"not-null-added: people.city": 1})
    assert story.of(result, "visits").skipped == {"parent-missing: visits.person_id": 1}
    # The row of cyd has a NULL in the backup and updates nothing.
    assert (people.update, people.kept) == (0, 1)
    assert story.ask("SELECT email, city FROM people ORDER BY id") == [("bob", "Graz"), ("cyd", "Linz")]


def test_a_row_with_a_label_that_is_gone_is_left_out_and_says_so(
    make_pg_database: MakePgDatabase, tmp_path: Path
) -> None:
    story = Story("postgres", make_pg_database(), tmp_path / "vault")
    table = "CREATE TABLE moods (id $id, name text NOT NULL UNIQUE, mood mood)"
    story.begin(
        f"CREATE TYPE mood AS ENUM ('glad', 'sad', 'odd'); {table};"
        "INSERT INTO moods VALUES (1, 'a', 'glad'), (2, 'b', 'odd'), (3, 'c', 'odd'), (4, 'd', NULL)"
    )
    story.run(
        f"DROP TABLE moods; DROP TYPE mood; CREATE TYPE mood AS ENUM ('glad', 'sad'); {table}; INSERT INTO moods VALUES (3, 'c', 'sad')"
    )
    moods = story.of(story.play(update=True), "moods")
    assert (moods.create, moods.update, moods.kept) == (2, 0, 1)
    assert moods.skipped == {"enum-value-gone: moods.mood": 1}
    assert story.ask("SELECT name, mood FROM moods ORDER BY name") == [
        ("a", "glad"),
        ("c", "sad"),
        ("d", None),
    ]


def test_a_column_that_looks_like_a_reference_is_named_and_not_followed(story: Story) -> None:
    story.begin(
        "CREATE TABLE users (id $id, name text NOT NULL UNIQUE); CREATE TABLE orders (id $id, user_id integer, no text UNIQUE);"
        "INSERT INTO users VALUES (1, 'ada'); INSERT INTO orders VALUES (1, 1, 'o1')"
    )
    story.run("DELETE FROM orders; UPDATE users SET id = 5")
    result = story.play()
    (told,) = [one for one in result.findings if one.code == "merge-suggested"]
    assert told.message.startswith("orders.user_id looks like a reference to users.id")
    assert "{from: orders.user_id, to: users}" in told.remedy
    assert story.ask("SELECT user_id FROM orders") == [(1,)]
    story.merge = {"references": [{"from": "orders.user_id", "to": "users"}]}
    assert [one.code for one in story.plan().findings] == []


def test_a_row_without_a_parent_that_must_be_there_refuses_the_plan(story: Story) -> None:
    story.merge = {"references": [{"from": "visits.person_id", "to": "people", "missing": "fail"}]}
    story.begin(PEOPLE)
    story.run("DELETE FROM visits; DELETE FROM people WHERE id = 1")
    story.asked = Asked(
        lineage="same", only=frozenset({story.table("visits")}), skip=frozenset({story.table("people")})
    )
    story.merge["references"][0]["policy"] = "never"
    (refused,) = story.plan().refused
    assert refused.message == (
        "visits.person_id: 1 rows refer to rows of people that are not to be had: visits 1 refers to 1"
    )
    with pytest.raises(BackupError):
        story.play()
    assert story.ask("SELECT count(*) FROM visits") == [(0,)]
