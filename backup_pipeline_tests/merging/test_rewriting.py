"""Ids inside of values: in JSON, and in rows of a key and a value."""

from __future__ import annotations

import json

import pytest

from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.databases.merge.json_paths import steps_of
from backup_pipeline_tests.merging.stories import Story

SCHEMA = """
CREATE TABLE photos (id $id, name text NOT NULL UNIQUE);
CREATE TABLE pages (id $id, slug text NOT NULL UNIQUE, body jsonb, draft text);
INSERT INTO photos VALUES (1, 'cat'), (2, 'dog');
"""
#: The key of the cat is another row's by now.
REUSED = "DELETE FROM photos WHERE id = 1; INSERT INTO photos VALUES (1, 'bird');"
BODY = '{"blocks": [{"photo": 1, "x": 1.10}, {"photo": "1"}, {"photo": 2}, {"photo": 99}, {"photo": null}, {}, 7], "photo": 1}'
RULE = {"table": "pages", "column": "body", "path": "$.blocks[*].photo", "to": "photos"}


def cat(story: Story) -> int:
    return int(story.ask("SELECT id FROM photos WHERE name = 'cat'")[0][0])


def body(story: Story, slug: str, column: str = "body") -> str:
    return str(story.ask(f"SELECT CAST({column} AS text) FROM pages WHERE slug = '{slug}'")[0][0])


def told(story: Story, code: str) -> list[str]:
    return [one.message for one in story.plan().findings if one.code == code]


def test_ids_in_json_become_the_keys_of_their_rows_and_all_else_stays(story: Story) -> None:
    story.merge = {"values": [RULE]}
    story.begin(SCHEMA + f"INSERT INTO pages VALUES (1, 'home', '{BODY}', NULL);")
    story.run(REUSED + "DELETE FROM pages")
    assert told(story, "merge-values") == [
        "pages.body ($.blocks[*].photo): 2 ids are translated, because their rows have other keys in the target"
    ]
    story.play()
    new = cat(story)
    assert new not in (1, 2, 99)
    assert json.loads(body(story, "home")) == json.loads(BODY) | {
        "blocks": [
            {"photo": new, "x": 1.1},
            {"photo": str(new)},
            {"photo": 2},
            {"photo": 99},
            {"photo": None},
            {},
            7,
        ]
    }


def test_text_with_json_keeps_its_order_its_numbers_and_its_spelling(story: Story) -> None:
    story.merge = {"values": [{**RULE, "column": "draft", "path": '$.z["a b"].photo'}]}
    text = (
        r'{"z": {"a b": {"q": 1.10, "photo": 1, "u": "\u00e9", "n": 1e3}}, "a": [1, 2], "z2": {"photo": 1}}'
    )
    story.begin(
        SCHEMA + f"INSERT INTO pages VALUES (1, 'home', NULL, '{text}'), (2, 'none', NULL, 'no: json');"
    )
    story.run(REUSED + "DELETE FROM pages")
    if story.engine == "sqlite":
        text = text.replace(": ", ":").replace(", ", ",")
    story.play()
    assert body(story, "home", "draft") == text.replace('"photo"', "photo").replace(
        'photo: 1, "u"' if story.engine == "postgres" else 'photo:1,"u"',
        f'photo: {cat(story)}, "u"' if story.engine == "postgres" else f'photo:{cat(story)},"u"',
    ).replace("photo:", '"photo":')
    assert body(story, "none", "draft") == "no: json"


def test_a_value_that_says_the_same_is_no_difference(story: Story) -> None:
    story.merge = {"values": [RULE]}
    story.begin(SCHEMA + "INSERT INTO pages VALUES (1, 'home', '{\"blocks\": [{\"photo\": 1}]}', NULL);")
    story.run('UPDATE photos SET id = 8 WHERE id = 1; UPDATE pages SET body = \'{ "blocks":[{"photo":8}]}\'')
    before = body(story, "home")
    result = story.play(update=True)
    assert (story.of(result, "pages").unchanged, body(story, "home")) == (1, before)


def test_ids_of_rows_that_are_not_written_stay_and_are_counted(story: Story) -> None:
    story.merge = {"values": [RULE]}
    story.begin(SCHEMA + f"INSERT INTO pages VALUES (1, 'home', '{BODY}', NULL);")
    story.run(REUSED)
    result = story.play(create=False)
    assert [one.message for one in result.findings if one.code == "merge-values-stay"] == [
        "pages.body ($.blocks[*].photo): 2 ids stay as they are, because the merge does not write their rows"
    ]
    assert story.of(result, "pages").unchanged == 1


def test_a_row_of_a_key_and_a_value_holds_the_key_of_another_row(story: Story) -> None:
    story.merge = {
        "values": [{"table": "options", "column": "value", "to": "photos", "when": {"name": ["logo"]}}]
    }
    rows = "INSERT INTO options VALUES ('logo', '1'), ('width', '1'), ('icon', '2');"
    story.begin(SCHEMA + "CREATE TABLE options (name text PRIMARY KEY, value text);" + rows)
    story.run(REUSED + "DELETE FROM options WHERE name <> 'icon'")
    story.play()
    assert story.ask("SELECT name, value FROM options ORDER BY name") == [
        ("icon", "2"),
        ("logo", str(cat(story))),
        ("width", "1"),
    ]


def test_a_serialized_row_repeats_the_key_that_stands_beside_it(story: Story) -> None:
    story.merge = {
        "references": [{"from": "versions.photo_id", "to": "photos"}],
        "values": [
            {"table": "versions", "column": "data", "path": "$[0].pk", "same_as": "photo_id"},
            {"table": "versions", "column": "data", "path": "$[0].own", "same_as": "id"},
        ],
    }
    schema = "CREATE TABLE versions (id $id, made text NOT NULL UNIQUE, photo_id text, data text);"
    story.begin(
        SCHEMA
        + schema
        + "INSERT INTO versions VALUES (5, 'a', '1', '[{\"pk\": 1, \"own\": 5}, {\"pk\": 1}]');"
    )
    story.run(REUSED + "UPDATE versions SET made = 'b', photo_id = NULL, data = '[]'")
    story.play()
    ((own, photo, data),) = story.ask("SELECT id, photo_id, data FROM versions WHERE made = 'a'")
    assert photo == str(cat(story))
    assert own != 5
    assert json.loads(data) == [{"pk": cat(story), "own": own}, {"pk": 1}]


def test_rows_that_refer_to_each_other_in_json_get_their_new_keys(story: Story) -> None:
    story.merge = {"values": [{"table": "pages", "column": "body", "path": "$.next", "to": "pages"}]}
    story.begin(
        SCHEMA
        + "INSERT INTO pages VALUES (1, 'one', '{\"next\": 2}', NULL), (2, 'two', '{\"next\": 1}', NULL);"
    )
    story.run("DELETE FROM pages; INSERT INTO pages VALUES (1, 'x', NULL, NULL), (2, 'y', NULL, NULL)")
    story.play()
    keys = dict(story.ask("SELECT slug, id FROM pages"))
    assert json.loads(body(story, "one")) == {"next": keys["two"]}
    assert json.loads(body(story, "two")) == {"next": keys["one"]}


def test_ids_of_a_table_that_takes_no_part_are_named(story: Story) -> None:
    story.merge = {"values": [RULE]}
    story.begin(SCHEMA + f"INSERT INTO pages VALUES (1, 'home', '{BODY}', NULL);")
    story.asked = Asked(lineage="same", only=frozenset({story.table("pages")}))
    assert told(story, "merge-not-followed") == [
        "ids in pages.body ($.blocks[*].photo) are not rewritten: photos takes no part"
    ]


@pytest.mark.parametrize(
    ("path", "steps"),
    [
        ("$", ()),
        ("$.a.b", ("a", "b")),
        ("$[0].pk", (0, "pk")),
        ('$["a.b"][*]', ("a.b", None)),
        ("$.blocks[*].x", ("blocks", None, "x")),
    ],
)
def test_a_path_is_made_of_keys_and_places(path: str, steps: tuple[object, ...]) -> None:
    assert steps_of(path) == steps


@pytest.mark.parametrize("path", ["$..a", "$.a[x]", "$.a[-1]", "$.", "$.a?(@.b)"])
def test_another_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a path is made of"):
        steps_of(path)
