"""The order of tables, circles, and what hangs above and below a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline.databases.merge.graph import (
    Reference,
    below,
    cycles,
    identity_order,
    identity_references,
    order,
    parents_needed,
)
from backup_pipeline.model.schema import TableId


def t(name: str) -> TableId:
    return TableId("public", name)


def ref(text: str, **changes: object) -> Reference:
    """ "orders.customer_id > customers" """
    child, _, parent = text.partition(" > ")
    name, _, column = child.partition(".")
    made = Reference(
        table=t(name),
        columns=(column,),
        parent=t(parent),
        referenced=("id",),
        name=child,
        nulls=(column,),
        enforced=True,
    )
    return replace(made, **changes) if changes else made  # type: ignore[arg-type]


# Order


def names(groups: tuple[tuple[TableId, ...], ...]) -> str:
    return " ".join("+".join(one.name for one in group) for group in groups)


def test_parents_come_first_and_names_decide_else() -> None:
    tables = [t(name) for name in ["zoo", "orders", "items", "customers", "apples"]]
    found = [ref("orders.customer > customers"), ref("items.order > orders"), ref("apples.zoo > zoo")]
    assert names(order(tables, found)) == "zoo apples customers orders items"
    assert order(reversed(tables), reversed(found)) == order(tables, found)


def test_tables_in_a_circle_stand_together_between_their_parents_and_children() -> None:
    tables = [t(name) for name in ["a", "emp", "dept", "child", "town"]]
    found = [ref("dept.head > emp"), ref("emp.dept > dept"), ref("emp.town > town"), ref("child.dept > dept")]
    assert names(order(tables, found)) == "a town dept+emp child"


def test_a_table_that_refers_to_itself_is_no_circle_of_several() -> None:
    assert names(order([t("tree")], [ref("tree.parent > tree")])) == "tree"


def test_references_to_tables_that_are_not_asked_for_do_not_matter() -> None:
    assert names(order([t("b"), t("a")], [ref("a.c > c"), ref("c.b > b"), ref("b.c > c")])) == "a b"


def test_a_chain_of_25000_tables_is_ordered_without_recursion() -> None:
    chain = [t(f"t{number:05}") for number in range(25_000)]
    found = [ref(f"t{number:05}.up > t{number + 1:05}") for number in range(24_999)]
    assert order(chain, found) == tuple((one,) for one in reversed(chain))
    ring = [*found, ref("t24999.up > t00000")]
    assert order(chain, ring) == (tuple(chain),)
    assert len(parents_needed([chain[0]], ring)) == 24_999
    assert len(cycles(order(chain, found), found, "postgres")) == 0


def test_only_references_of_natural_keys_order_the_comparison() -> None:
    tables = [t("emp"), t("dept")]
    found = [ref("emp.dept > dept"), ref("dept.head > emp")]
    keys = {t("emp"): (("dept", "number"), ("email",)), t("dept"): (("code",),)}
    assert names(identity_order(tables, found, keys)) == "dept emp"
    assert identity_references(found, keys) == (found[0],)
    assert names(identity_order(tables, found, {**keys, t("dept"): (("head",),)})) == "dept+emp"


# Circles


@pytest.mark.parametrize(
    ("engine", "how"),
    [
        ("postgres", "inserted in one statement: foreign keys are checked at its end"),
        ("sqlite", "checked at the end of the transaction"),
    ],
)
def test_the_plan_says_how_a_circle_is_broken(engine: str, how: str) -> None:
    tables = [t("emp"), t("dept"), t("tree"), t("plain")]
    found = [
        ref("dept.head > emp", enforced=False),
        ref("emp.dept > dept"),
        ref("tree.parent > tree"),
        ref("plain.dept > dept"),
    ]
    assert [(one.tables, one.how) for one in cycles(order(tables, found), found, engine)] == [
        ((t("dept"), t("emp")), how),
        ((t("tree"),), "the rows refer to rows of the same table: inserted in one statement"),
    ]


def test_a_circle_without_a_foreign_key_needs_no_breaking() -> None:
    found = [replace(ref(text), enforced=False) for text in ("a.b > b", "b.a > a", "c.c > c")]
    groups = order([t("a"), t("b"), t("c")], found)
    assert {one.how for one in cycles(groups, found, "sqlite")} == {
        "no foreign key in the circle: the order does not matter"
    }


# Above and below


def test_a_parent_comes_along_for_a_foreign_key_rather_than_for_a_rule() -> None:
    found = [replace(ref("admin_log.object > bikes"), enforced=False), ref("trips.bike > bikes")]
    both = [t("admin_log"), t("trips")]
    assert parents_needed(both, found) == {t("bikes"): "trips.bike"}
    assert parents_needed(both[:1], found) == {t("bikes"): "admin_log.object"}


def test_parents_come_along_each_with_its_reason() -> None:
    found = [
        ref("items.order > orders"),
        ref("orders.customer > customers", policy="update"),
        ref("customers.town > towns", policy="never"),
        ref("customers.referrer > customers"),
        ref("reviews.item > items"),
        ref("items.zone > customers"),
    ]
    assert parents_needed([t("items")], found) == {t("customers"): "items.zone", t("orders"): "items.order"}
    assert list(parents_needed([t("items")], found[:2])) == [t("orders"), t("customers")]
    assert parents_needed([t("items"), t("orders"), t("customers")], found) == {}


def test_what_hangs_below_a_tenant_is_told_with_its_way() -> None:
    found = [
        ref("orders.account > accounts"),
        ref("items.order > orders"),
        ref("items.product > products"),
        ref("audit.account > accounts", owned=False),
        ref("accounts.parent > accounts"),
        ref("refunds.item > items"),
    ]
    assert below(t("accounts"), found) == {
        t("orders"): "orders.account",
        t("items"): "items.order → orders.account",
        t("refunds"): "refunds.item → items.order → orders.account",
    }


def test_the_shortest_way_is_told() -> None:
    found = [ref("b.a > a"), ref("c.b > b"), ref("c.a > a")]
    assert below(t("a"), found) == {t("b"): "b.a", t("c"): "c.a"}
