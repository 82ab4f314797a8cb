"""What was typed becomes tables, conditions and a tenant; what fits nothing is told before a database is opened."""

from __future__ import annotations

from typing import Any

import pytest

from backup_pipeline.databases.merge.asked import Tenant, Verbs
from backup_pipeline.errors import UsageError
from backup_pipeline.model.merge_orders import MergeOrder
from backup_pipeline.model.schema import Key, Schema, Table, TableId
from backup_pipeline.operations import merge_asked

ORDERS, LINES = TableId("public", "orders"), TableId("public", "order_lines")
OLD = TableId("old", "orders")
KNOWN = (ORDERS, LINES, TableId("public", "users"))
GROUPS = {"sales": ("public.order*",)}
SCHEMA = Schema(
    "postgres",
    tables=(
        Table(ORDERS, primary_key=Key("orders_pkey", ("id",))),
        Table(LINES, primary_key=Key("lines_pkey", ("order_id", "number"))),
        Table(KNOWN[2]),
    ),
)


@pytest.mark.parametrize(
    ("words", "tables"),
    [
        (["orders"], [ORDERS]),
        (["public.orders, users"], [ORDERS, KNOWN[2]]),
        (["sales"], [ORDERS, LINES]),
        (["order*", "orders"], [ORDERS, LINES]),
    ],
)
def test_tables_are_named_by_name_pattern_list_and_group(words: list[str], tables: list[TableId]) -> None:
    assert list(merge_asked.chosen(words, KNOWN, GROUPS)) == tables


def test_a_name_that_fits_nothing_is_told_with_one_that_is_near() -> None:
    with pytest.raises(UsageError) as told:
        list(merge_asked.chosen(["ordrs"], KNOWN, GROUPS))
    assert "orders" in told.value.remedy


def test_a_condition_belongs_to_one_table_and_may_hold_colons() -> None:
    found = merge_asked.conditions(["orders: at > '10:00'", "order_lines: number = 1"], KNOWN)
    assert found == {ORDERS: "at > '10:00'", LINES: "number = 1"}


@pytest.mark.parametrize(
    ("where", "told"),
    [
        (["customer_id = 7"], "no condition of a table"),
        (["orders:"], "no condition of a table"),
        (["orders: a = 1", "public.orders: b = 2"], "two conditions"),
        (["nothing: a = 1"], "names no table"),
    ],
)
def test_a_condition_that_cannot_be_read_is_told(where: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        merge_asked.conditions(where, KNOWN)


def test_a_name_of_two_tables_wants_its_schema() -> None:
    with pytest.raises(UsageError, match="name of 2 tables"):
        merge_asked.conditions(["orders: a = 1"], (ORDERS, OLD))


@pytest.mark.parametrize(
    ("text", "tenant"),
    [
        ("", None),
        ("orders:7", Tenant(ORDERS, ("7",))),
        ("orders:a:b,c", Tenant(ORDERS, ("a:b,c",))),
        ("order_lines:7,2", Tenant(LINES, ("7", "2"))),
    ],
)
def test_a_tenant_is_a_row_by_its_key(text: str, tenant: Tenant | None) -> None:
    assert merge_asked.tenant_of(text, KNOWN, SCHEMA) == tenant


@pytest.mark.parametrize("text", ["orders", "orders:", "order_lines:7", "users:7", "nothing:7"])
def test_a_tenant_that_names_no_row_is_told(text: str) -> None:
    with pytest.raises(UsageError):
        merge_asked.tenant_of(text, KNOWN, SCHEMA)


@pytest.mark.parametrize(
    ("asked", "verbs"),
    [
        ({}, Verbs()),
        ({"update": "all"}, Verbs(update=True)),
        ({"update": "newest:at", "create": False}, Verbs(create=False, update=True, newest="at")),
        ({"delete": True}, Verbs(delete=True)),
    ],
)
def test_the_verbs_are_those_that_are_asked_for(asked: dict[str, Any], verbs: Verbs) -> None:
    assert merge_asked.verbs_of(MergeOrder("shop", **asked)) == verbs


@pytest.mark.parametrize("asked", [{"update": "newer"}, {"update": "newest:"}, {"create": False}])
def test_verbs_that_say_nothing_are_refused(asked: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        merge_asked.verbs_of(MergeOrder("shop", **asked))
