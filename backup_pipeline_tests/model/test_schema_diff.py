from __future__ import annotations

from dataclasses import replace

from backup_pipeline.model.schema import Column, Index, IndexPart, Table, TableId
from backup_pipeline.model.schema_diff import Change, compared, of_table, of_tables

ITEMS = TableId("public", "items")
OLD = Table(
    ITEMS, columns=(Column("id", "bigint"), Column("name", "text")), indexes=(Index("by_name", "CREATE …"),)
)


def test_equal_tables_have_no_change() -> None:
    assert list(of_tables([OLD], [OLD])) == []


def test_what_is_gone_comes_first_then_what_is_new_then_what_changed() -> None:
    assert list(compared({"a": 1, "b": 1}, {"c": 1, "b": 2})) == [
        ("removed", "a"),
        ("added", "c"),
        ("changed", "b"),
    ]


def test_a_change_names_the_table_the_member_and_both_values() -> None:
    new = replace(OLD, columns=(Column("id", "integer"), OLD.columns[1]), owner="shop")
    assert list(of_table(OLD, new)) == [
        Change("changed", "column", "id", ITEMS, Column("id", "bigint"), Column("id", "integer")),
        Change("changed", "owner", "public.items", ITEMS, None, "shop"),
    ]


def test_a_column_that_moved_is_one_change_of_the_order() -> None:
    new = replace(OLD, columns=OLD.columns[::-1])
    assert list(of_table(OLD, new)) == [
        Change("changed", "column order", "public.items", ITEMS, ["id", "name"], ["name", "id"])
    ]
    assert [one.what for one in of_table(OLD, replace(OLD, columns=OLD.columns[1:]))] == ["column"]


def test_an_index_of_an_older_backup_has_no_parts_and_is_the_same() -> None:
    new = replace(OLD, indexes=(Index("by_name", "CREATE …", parts=(IndexPart("name"),)),))
    assert list(of_table(OLD, new)) == []


def test_a_table_that_is_gone_is_one_change() -> None:
    assert list(of_tables([OLD], [])) == [Change("removed", "table", "public.items", ITEMS, OLD, None)]
