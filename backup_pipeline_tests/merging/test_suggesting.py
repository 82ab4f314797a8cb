"""References that are only suggested: by names and types, with their evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline.databases.merge.references import references_of
from backup_pipeline.databases.merge.rules import PolymorphicRule, ReferenceRule, Rules
from backup_pipeline.databases.merge.suggesting import suggested_references
from backup_pipeline.model.schema import Column, ForeignKey, Key, Schema, Table, TableId


def table(name: str, *columns: str, key: str = "id", schema: str = "public") -> Table:
    """Columns as in "customer_id integer"."""
    made = tuple(Column(*one.split(" ", 1)) for one in (f"{key} integer", *columns))
    return Table(TableId(schema, name), columns=made, primary_key=Key("", (key,)))


def suggested(*tables: Table, engine: str = "postgres") -> list[str]:
    return [
        f"{one.rule.columns[0]} > {one.rule.parent}"
        for one in suggested_references(Schema(engine, tables), ())
    ]


def test_a_suggestion_is_a_rule_with_its_evidence() -> None:
    found = suggested_references(Schema("postgres", (table("users"), table("posts", "userId bigint"))), ())
    assert [(one.rule, one.evidence) for one in found] == [
        (
            ReferenceRule(TableId("public", "posts"), ("userId",), TableId("public", "users")),
            "posts.userId looks like a reference to users.id by its name and its type (bigint and integer)",
        )
    ]


@pytest.mark.parametrize(
    ("parent", "column"),
    [
        ("users", "user_id"),
        ("User", "userId"),
        ("user", "UserID"),
        ("auth_user", "user_id"),
        ("OrderItem", "orderItemId"),
        ("order_items", "order_item_id"),
        ("categories", "category_id"),
        ("boxes", "box_id"),
        ("addresses", "address_id"),
        ("shop_categories", "category_id"),
    ],
)
def test_a_column_is_named_after_a_row_of_its_parent(parent: str, column: str) -> None:
    assert suggested(table(parent), table("things", f"{column} integer")) == [f"{column} > public.{parent}"]


@pytest.mark.parametrize(
    "column",
    [
        "user_id text",
        "user_id uuid",
        "users integer",
        "userid integer",
        "paid integer",
        "used_id integer",
        "id integer",
    ],
)
def test_another_type_or_another_name_suggests_nothing(column: str) -> None:
    assert suggested(table("users"), table("pa"), table("u"), table("things", column, key="n")) == []


def test_sqlite_compares_the_affinity_of_types() -> None:
    things = table("things", "user_id bigint unsigned", "item_id text")
    assert suggested(table("users"), table("items"), things, engine="sqlite") == ["user_id > public.users"]


def test_a_name_that_fits_two_tables_suggests_none() -> None:
    things = table("things", "user_id integer")
    assert suggested(table("auth_user"), table("crm_user"), things) == []
    assert suggested(table("auth_user"), replace(table("crm_user"), primary_key=None), things) == [
        "user_id > public.auth_user"
    ]


def test_a_table_of_the_same_application_or_schema_comes_first() -> None:
    child = table("shop_order", "customer_id integer")
    assert suggested(table("crm_customer"), table("shop_customer"), child) == [
        "customer_id > public.shop_customer"
    ]
    other = table("users", schema="other")
    assert suggested(other, table("users"), table("posts", "user_id integer")) == ["user_id > public.users"]
    assert suggested(other, table("posts", "user_id integer")) == ["user_id > other.users"]


def test_a_parent_is_a_row_of_the_same_table() -> None:
    assert suggested(table("nodes", "parent_id integer"), table("parents")) == ["parent_id > public.nodes"]


def test_a_key_is_no_reference_to_itself() -> None:
    assert suggested(table("user", key="user_id"), table("posts", "user_id integer")) == [
        "user_id > public.user"
    ]


def test_a_column_beside_its_type_is_polymorphic() -> None:
    assert suggested(table("owners"), table("tags", "owner_id integer", "owner_type text")) == []
    assert suggested(table("owners"), table("tags", "ownerId integer", "ownerType text")) == []


def test_a_column_that_a_reference_or_a_rule_speaks_of_is_not_suggested() -> None:
    users, posts = table("users"), table("posts", "user_id integer")
    enforced = replace(posts, foreign_keys=(ForeignKey("fk", ("user_id",), users.id, ("id",)),))
    schema = Schema("postgres", (users, enforced))
    assert suggested_references(schema, references_of(schema, Rules())) == ()
    rules = Rules(references=(ReferenceRule(posts.id, ("user_id",), users.id, policy="never"),))
    schema = Schema("postgres", (users, posts))
    assert suggested_references(schema, references_of(schema, rules)) == ()
    generic = PolymorphicRule(posts.id, "kind", "user_id", TableId("public", "types"), "{name}")
    assert suggested_references(schema, (), [generic]) == ()


def test_a_partition_is_not_suggested_beside_its_root() -> None:
    root = replace(table("events", "user_id integer"), kind="partitioned")
    leaf = replace(table("events_1", "user_id integer"), partition_of=root.id)
    assert suggested(table("users"), root, leaf) == ["user_id > public.users"]
