"""Words become tables in one way, for `backup --only` and for `restore --only` and `--skip`."""

from __future__ import annotations

import pytest

from backup_pipeline.errors import UsageError
from backup_pipeline.model.schema import TableId
from backup_pipeline.operations.choosing_tables import chosen, split

ORDERS, ITEMS, USERS = (TableId("public", name) for name in ("orders", "order_items", "users"))
COMMA, OLD = TableId("public", "a,b"), TableId("old", "orders")
KNOWN = (OLD, COMMA, ITEMS, ORDERS, USERS)
GROUPS = {"sales": ("public.order*",), "images": ("gallery_*",), "users": ("public.users", "old.*")}


@pytest.mark.parametrize(
    ("typed", "tables"),
    [
        (["orders"], [OLD, ORDERS]),
        (["public.orders,order_items"], [ORDERS, ITEMS]),
        (["order_items, users"], [ITEMS, OLD, USERS]),  # a group comes before a table of its name
        (["sales", "public.orders"], [ITEMS, ORDERS]),
        (["a[,]b"], [COMMA]),
        (["*"], list(KNOWN)),
        ([], []),
    ],
)
def test_words_name_tables_in_their_order_and_each_once(typed: list[str], tables: list[TableId]) -> None:
    assert list(chosen(typed, KNOWN, GROUPS)) == tables


@pytest.mark.parametrize(
    ("typed", "message", "remedy"),
    [
        ("ordrs", "'ordrs' names no table and no group", "near it: orders"),
        ("orders,sles", "'sles' names no table", "near it: sales"),
        ("nothing_like_it", "'nothing_like_it'", "groups: sales, images, users; `show it` lists the tables"),
        ("images", "no table is there of the group images", "it names gallery_*"),
        ("", "'' names no table", "groups: sales"),
        ("orders,", "'' names no table", "groups: sales"),
    ],
)
def test_what_names_nothing_is_told_with_what_is_near(typed: str, message: str, remedy: str) -> None:
    with pytest.raises(UsageError) as told:
        list(chosen([typed], KNOWN, GROUPS, listed_by="show it"))
    assert message in told.value.message
    assert remedy in told.value.remedy


def test_a_comma_in_brackets_is_part_of_a_pattern() -> None:
    assert split(["a,b[,]c", " d "]) == ("a", "b[,]c", "d")
