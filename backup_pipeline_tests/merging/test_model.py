"""The model of a merge, sentence by sentence of docs/MERGE.md. The core is held against the model in `test_generated`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from backup_pipeline.databases.merge.asked import Verbs
from backup_pipeline_tests.merging.model_writing import Expected, expected
from backup_pipeline_tests.merging.shapes import (
    BIRTH,
    Condition,
    Design,
    Reference,
    Row,
    Shape,
    Unique,
)
from backup_pipeline_tests.merging.terms import Ask, Fresh

MONDAY, TUESDAY = "2026-11-02 08:15:00", "2026-11-03 08:15:00"

USERS = Shape("users", {"id": "int", "mail": "text", "name": "text"}, uniques=(Unique(("mail",)),))
BORN = Shape("born", {"id": "int", "name": "text", BIRTH: "moment"}, frozenset({BIRTH}))
NOTES = Shape("notes", {"id": "int", "text": "text", "size": "int"}, frozenset({"size"}))
ORDERS = Shape(
    "orders",
    {"id": "int", "user_id": "int", "number": "text"},
    references=(Reference(("user_id",), "users"),),
    uniques=(Unique(("number",)),),
)
TREE = Shape(
    "tree",
    {"id": "int", "up": "int", "slug": "text"},
    frozenset({"up"}),
    uniques=(Unique(("slug", "up")),),
    references=(Reference(("up",), "tree"),),
)
UPDATE, DELETE = Verbs(update=True), Verbs(delete=True)


def rows(shape: Shape, *values: tuple[Any, ...]) -> list[Row]:
    return [dict(zip(shape.columns, row, strict=True)) for row in values]


def merged(
    shapes: tuple[Shape, ...], backup: list[list[Row]], live: list[list[Row]], ask: Ask | None = None
) -> Expected:
    def named(some: list[list[Row]]) -> dict[str, list[Row]]:
        return {shape.name: more for shape, more in zip(shapes, some, strict=True)}

    return expected(Design(shapes), named(backup), named(live), ask or Ask())


def one(shape: Shape, backup: list[Row], live: list[Row], ask: Ask | None = None) -> Expected:
    return merged((shape,), [backup], [live], ask)


def values(found: Expected, shape: Shape) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in found.rows[shape.name]]


OTHER = Ask(same_lineage=False)


def test_a_missing_row_is_created_with_its_key() -> None:
    found = one(NOTES, rows(NOTES, (1, "a", 1), (2, "b", 2)), rows(NOTES, (1, "a", 1)))
    assert values(found, NOTES) == [(1, "a", 1), (2, "b", 2)]
    assert (found.reports["notes"].create, found.reports["notes"].unchanged) == (1, 1)


def test_a_row_whose_key_another_row_has_by_now_gets_the_next_number() -> None:
    found = one(NOTES, rows(NOTES, (1, "a", 1)), rows(NOTES, (1, "b", 2)))
    assert values(found, NOTES) == [(1, "b", 2), (Fresh(("notes", 0)), "a", 1)]
    assert found.reports["notes"].remapped == 1


def test_contents_disagree_only_where_two_columns_differ_and_none_agrees() -> None:
    assert one(NOTES, rows(NOTES, (1, "a", 1)), rows(NOTES, (1, "b", 1))).reports["notes"].kept == 1
    assert one(NOTES, rows(NOTES, (1, "a", None)), rows(NOTES, (1, "b", None))).reports["notes"].kept == 1
    assert one(NOTES, rows(NOTES, (1, "a", None)), rows(NOTES, (1, "b", 1))).reports["notes"].create == 1


def test_equal_birth_values_mean_the_same_row_and_other_ones_another_row() -> None:
    same = one(BORN, rows(BORN, (1, "a", MONDAY)), rows(BORN, (1, "b", MONDAY)))
    assert same.reports["born"].kept == 1
    other = one(BORN, rows(BORN, (1, "a", MONDAY)), rows(BORN, (1, "a", TUESDAY)))
    assert other.reports["born"].create == 1
    named = replace(BORN, uniques=(Unique(("name",)),))
    found = one(named, rows(named, (1, "a", MONDAY)), rows(named, (1, "b", MONDAY)))
    assert found.reports["born"].identity == {"same key": 1}


def test_the_same_key_with_another_natural_key_is_another_row() -> None:
    found = one(USERS, rows(USERS, (1, "a", "x")), rows(USERS, (1, "b", "x")))
    assert values(found, USERS) == [(1, "b", "x"), (Fresh(("users", 0)), "a", "x")]


def test_the_same_key_is_no_answer_in_another_lineage() -> None:
    found = one(BORN, rows(BORN, (1, "a", MONDAY)), rows(BORN, (1, "b", MONDAY)), OTHER)
    assert found.reports["born"].create == 1


def test_a_remembered_row_is_the_row() -> None:
    ask = Ask(same_lineage=False, remembered={("notes", (1,)): (7,)})
    found = one(NOTES, rows(NOTES, (1, "a", 1)), rows(NOTES, (7, "changed", 2)), ask)
    assert found.reports["notes"].identity == {"remembered": 1}
    assert one(NOTES, rows(NOTES, (1, "a", 1)), [], ask).reports["notes"].create == 1


def test_a_natural_key_finds_the_row_under_another_key() -> None:
    found = one(USERS, rows(USERS, (1, "a", "x")), rows(USERS, (5, "a", "y")), OTHER)
    assert values(found, USERS) == [(5, "a", "y")]
    assert found.reports["users"].identity == {"natural key": 1}


def test_two_natural_keys_that_name_different_rows_are_a_conflict() -> None:
    shape = replace(USERS, uniques=(Unique(("mail",)), Unique(("name",))))
    live = rows(shape, (5, "a", "y"), (6, "b", "x"))
    found = one(shape, rows(shape, (1, "a", "x")), live, OTHER)
    assert found.reports["users"].conflicts == {"keys-disagree": 1}
    assert found.rows["users"] == live


def test_a_natural_key_that_names_another_row_than_the_key_is_a_conflict() -> None:
    shape = replace(BORN, uniques=(Unique(("name",)),))
    live = rows(shape, (1, "b", MONDAY), (2, "a", TUESDAY))
    found = one(shape, rows(shape, (1, "a", MONDAY)), live, Ask(verbs=Verbs(update=True, delete=True)))
    assert found.reports["born"].conflicts == {"keys-disagree": 1}
    assert found.rows["born"] == live, "a row that a conflict names is neither updated nor deleted"


def test_of_two_rows_that_name_the_same_row_the_earlier_step_keeps_it() -> None:
    shape = replace(BORN, uniques=(Unique(("name",)),))
    backup = rows(shape, (1, "x", MONDAY), (9, "p", TUESDAY))
    found = one(shape, backup, rows(shape, (1, "p", MONDAY)), Ask(verbs=UPDATE))
    report = found.reports["born"]
    assert (report.conflicts, report.kept) == ({"taken-twice": 1}, 1)
    assert values(found, shape) == [(1, "p", MONDAY)], "the same merge again would answer otherwise"


def test_within_one_step_both_rows_are_in_conflict() -> None:
    shape = replace(USERS, uniques=(Unique(("mail",)), Unique(("name",))))
    backup = rows(shape, (1, "a", "x"), (2, "b", "y"))
    found = one(shape, backup, rows(shape, (5, "a", "y")), OTHER)
    assert found.reports["users"].conflicts == {"taken-twice": 2}


def test_a_candidate_counts_only_where_its_values_are_unique_on_both_sides() -> None:
    shape = replace(NOTES, natural_keys=(("text",),))
    twice = rows(shape, (5, "a", 1), (6, "a", 2))
    assert one(shape, rows(shape, (1, "a", 1)), twice, OTHER).reports["notes"].identity == {"content": 1}
    once = rows(shape, (5, "a", 3))
    assert one(shape, rows(shape, (1, "a", 1)), once, OTHER).reports["notes"].identity == {"natural key": 1}


def test_a_partial_unique_index_is_a_key_for_the_rows_that_meet_its_condition() -> None:
    columns = {"id": "int", "slug": "text", "gone": "text"}
    shape = Shape("soft", columns, frozenset({"gone"}), uniques=(Unique(("slug",), Condition("gone", None)),))  # type: ignore[arg-type]
    backup = rows(shape, (1, "a", None), (2, "b", None))
    found = one(shape, backup, rows(shape, (5, "a", None), (6, "b", "yes")), OTHER)
    assert found.reports["soft"].identity == {"natural key": 1}
    assert found.reports["soft"].create == 1


def test_a_reference_is_translated_before_a_natural_key_is_compared() -> None:
    live = [rows(TREE, (3, None, "a"), (1, 3, "b"), (2, None, "b"))]
    found = merged((TREE,), [rows(TREE, (1, None, "a"), (2, 1, "b"), (3, 2, "c"))], live, OTHER)
    assert found.reports["tree"].identity == {"natural key": 2}
    assert values(found, TREE)[3:] == [(Fresh(("tree", 2)), 1, "c")]


def test_rows_that_wait_for_one_another_are_new_in_another_lineage() -> None:
    backup = rows(TREE, (1, 2, "a"), (2, 1, "b"))
    found = one(TREE, backup, rows(TREE, (1, 2, "a"), (2, 1, "b")), OTHER)
    assert found.reports["tree"].create == 2
    same = one(TREE, backup, rows(TREE, (1, 2, "a"), (2, 1, "b")))
    assert same.reports["tree"].identity == {"same key": 2}


def test_a_uuid_is_the_same_row_in_any_lineage() -> None:
    shape = Shape("files", {"id": "uuid", "name": "text", "size": "int"})
    key = "00000000-0000-4000-8000-000000000001"
    found = one(shape, rows(shape, (key, "a", 1)), rows(shape, (key, "b", 2)), OTHER)
    assert found.reports["files"].identity == {"uuid": 1}


def test_each_of_several_equal_rows_is_used_once() -> None:
    backup = rows(NOTES, (1, "a", 1), (2, "a", 1), (3, "a", 1))
    found = one(NOTES, backup, rows(NOTES, (8, "a", 1), (9, "a", 1)), OTHER)
    assert found.reports["notes"].identity == {"content": 2}
    assert values(found, NOTES)[2:] == [(3, "a", 1)]
    bag = Shape("bag", {"n": "int"}, frozenset({"n"}), key=(), generated=False)
    twice = one(bag, rows(bag, (None,), (None,), (1,)), rows(bag, (None,)))
    assert sorted(map(str, values(twice, bag))) == ["(1,)", "(None,)", "(None,)"]


def test_a_child_gets_the_key_that_its_parent_has_in_the_target() -> None:
    backup = [rows(USERS, (1, "a", "x"), (2, "b", "y")), rows(ORDERS, (1, 1, "n1"), (2, 2, "n2"))]
    live = [rows(USERS, (2, "a", "x"), (1, "c", "z")), []]
    found = merged((USERS, ORDERS), backup, live, OTHER)
    assert values(found, ORDERS) == [(1, 2, "n1"), (2, Fresh(("users", 1)), "n2")]


def test_only_brings_the_parents_and_never_changes_them() -> None:
    backup = [rows(USERS, (1, "a", "x"), (2, "b", "y")), rows(ORDERS, (1, 1, "n1"))]
    ask = Ask(only=frozenset({"orders"}), verbs=UPDATE)
    assert values(merged((USERS, ORDERS), backup, [[], []], ask), USERS) == [(1, "a", "x")]
    kept = merged((USERS, ORDERS), backup, [rows(USERS, (1, "a", "now")), []], ask)
    assert kept.reports["users"].kept == 1


def test_a_parent_under_update_counts_as_asked() -> None:
    orders = replace(ORDERS, references=(Reference(("user_id",), "users", policy="update"),))
    backup = [rows(USERS, (1, "a", "x")), rows(orders, (1, 1, "n1"))]
    ask = Ask(only=frozenset({"orders"}), verbs=UPDATE)
    found = merged((USERS, orders), backup, [rows(USERS, (1, "a", "now")), []], ask)
    assert values(found, USERS) == [(1, "a", "x")]


@pytest.mark.parametrize(("same", "created"), [(True, 1), (False, 0)])
def test_a_parent_that_takes_no_part_is_known_by_its_key_in_the_same_lineage(
    same: bool, created: int
) -> None:
    users = replace(USERS, never=True)
    backup = [rows(users, (1, "a", "x"), (2, "b", "y")), rows(ORDERS, (1, 1, "n1"), (2, 2, "n2"))]
    found = merged((users, ORDERS), backup, [rows(users, (1, "q", "q")), []], Ask(same_lineage=same))
    report = found.reports["orders"]
    assert (report.create, report.skipped) == (created, {"parent-missing": 2 - created})


def test_a_tenant_is_everything_below_a_row() -> None:
    backup = [rows(USERS, (1, "a", "x"), (2, "b", "y")), rows(ORDERS, (1, 1, "n1"), (2, 2, "n2"))]
    live = [rows(USERS, (1, "a", "x"), (2, "b", "y")), rows(ORDERS, (7, 1, "m1"), (8, 2, "m2"))]
    found = merged((USERS, ORDERS), backup, live, Ask(tenant=("users", (1,)), verbs=DELETE))
    assert values(found, ORDERS) == [(8, 2, "m2"), (1, 1, "n1")]


def test_a_matched_row_that_differs_is_kept_unless_it_is_updated() -> None:
    backup, live = rows(NOTES, (1, "a", 1)), rows(NOTES, (1, "a", 2))
    assert values(one(NOTES, backup, live), NOTES) == [(1, "a", 2)]
    assert values(one(NOTES, backup, live, Ask(verbs=UPDATE)), NOTES) == [(1, "a", 1)]
    kept = replace(NOTES, keep=("size",))
    assert one(kept, backup, live, Ask(verbs=UPDATE)).reports["notes"].unchanged == 1


def test_newest_updates_only_where_the_column_is_later_in_the_backup() -> None:
    ask = Ask(verbs=Verbs(update=True, newest="size"))
    backup = rows(NOTES, (1, "a", 2), (2, "a", 1), (3, "a", None))
    live = rows(NOTES, (1, "a", 1), (2, "a", 2), (3, "a", 2))
    assert values(one(NOTES, backup, live, ask), NOTES) == [(1, "a", 2), (2, "a", 2), (3, "a", 2)]


def test_a_row_that_a_live_row_refers_to_is_not_deleted() -> None:
    live = [rows(USERS, (1, "a", "x"), (2, "b", "y")), rows(ORDERS, (1, 1, "n1"))]
    found = merged((USERS, ORDERS), [[], []], live, Ask(only=frozenset({"users"}), verbs=DELETE))
    assert values(found, USERS) == [(1, "a", "x")]
    both = merged((USERS, ORDERS), [[], []], live, Ask(verbs=DELETE))
    assert both.rows == {"users": [], "orders": []}


def test_a_reference_without_a_parent_becomes_null_or_its_row_is_skipped() -> None:
    loose = Shape("loose", {"id": "int", "user_id": "int", "text": "text"}, frozenset({"user_id"}))
    loose = replace(loose, references=(Reference(("user_id",), "users", enforced=False),))
    found = merged((USERS, loose), [[], rows(loose, (1, 9, "a"))], [[], []])
    assert values(found, loose) == [(1, None, "a")]
    assert found.reports["loose"].nulled == {"user_id": 1}
    strict = replace(loose, references=(replace(loose.references[0], missing="skip"),))
    skipped = merged((USERS, strict), [[], rows(strict, (1, 9, "a"))], [[], []])
    assert skipped.reports["loose"].skipped == {"parent-missing": 1}


def test_a_matched_row_keeps_its_reference_where_the_parent_is_not_to_be_had() -> None:
    loose = Shape("loose", {"id": "int", "user_id": "int", "text": "text"}, frozenset({"user_id"}))
    loose = replace(loose, references=(Reference(("user_id",), "users", enforced=False),))
    live = [rows(USERS, (1, "a", "x")), rows(loose, (1, 1, "a"))]
    found = merged((USERS, loose), [[], rows(loose, (1, 9, "a"))], live, Ask(verbs=UPDATE))
    assert found.reports["loose"].unchanged == 1


def test_without_create_a_new_row_is_skipped() -> None:
    found = one(NOTES, rows(NOTES, (1, "a", 1)), [], Ask(verbs=Verbs(create=False)))
    assert found.reports["notes"].skipped == {"not-created": 1}


def test_a_where_narrows_what_is_asked_and_what_is_deleted() -> None:
    ask = Ask(where={"notes": Condition("size", 1)}, verbs=DELETE)
    backup, live = rows(NOTES, (1, "a", 1), (2, "b", 2)), rows(NOTES, (8, "c", 1), (9, "d", 2))
    assert values(one(NOTES, backup, live, ask), NOTES) == [(9, "d", 2), (1, "a", 1)]


def test_with_keep_a_reference_without_a_parent_stays_as_it_is() -> None:
    loose = Shape("loose", {"id": "int", "user_id": "int", "text": "text"})
    loose = replace(loose, references=(Reference(("user_id",), "users", enforced=False, missing="keep"),))
    found = merged((USERS, loose), [[], rows(loose, (1, 9, "a"))], [[], []])
    assert values(found, loose) == [(1, 9, "a")]
    assert found.reports["loose"].nulled == {}
