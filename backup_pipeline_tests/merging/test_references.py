"""The references of a schema: of its foreign keys, and of rules."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup_pipeline.databases.merge.graph import Reference
from backup_pipeline.databases.merge.references import (
    polymorphic_references,
    references_of,
    skipped_references,
)
from backup_pipeline.databases.merge.rules import PolymorphicRule, ReferenceRule, Rules, TableRule
from backup_pipeline.model.schema import Column, ForeignKey, Key, Schema, SchemaObject, Table, TableId

NO_RULES = Rules()


def t(name: str) -> TableId:
    return TableId("public", name)


def table(name: str, *keys: ForeignKey, nullable: bool = True, primary: tuple[str, ...] = ("id",)) -> Table:
    """With an `id`, and the columns of its foreign keys."""
    names = dict.fromkeys([*primary, *(column for key in keys for column in key.columns)])
    columns = tuple(Column(column, "bigint", nullable and column not in primary) for column in names)
    return Table(
        t(name),
        columns=columns,
        primary_key=Key(f"{name}_pkey", primary) if primary else None,
        foreign_keys=keys,
    )


def to(
    parent: str, *columns: str, referenced: tuple[str, ...] = ("id",), match: str = "SIMPLE"
) -> ForeignKey:
    names = columns or (f"{parent}_id",)
    return ForeignKey(f"{'_'.join(names)}_fkey", names, t(parent), referenced, match=match)


def schema(*tables: Table, engine: str = "postgres") -> Schema:
    return Schema(engine, tables)


def only(found: Schema, rules: Rules = NO_RULES) -> Reference:
    (one,) = references_of(found, rules)
    return one


# What a foreign key says


def test_a_foreign_key_is_a_reference_with_a_name_for_people() -> None:
    one = only(schema(table("customers"), table("orders", to("customers"), nullable=False)))
    assert one == Reference(
        table=t("orders"),
        columns=("customers_id",),
        parent=t("customers"),
        referenced=("id",),
        name="orders.customers_id",
        constraint="customers_id_fkey",
        enforced=True,
        missing="skip",
    )
    assert one.mandatory
    assert not one.to_itself


def test_the_name_has_the_schema_where_it_is_not_the_usual_one() -> None:
    child = replace(
        table("orders", to("customers", "tenant", "customer", referenced=("a", "b"))),
        id=TableId("shop", "orders"),
    )
    parent = table("customers", primary=("a", "b"))
    assert only(schema(parent, child)).name == "shop.orders.(tenant, customer)"


def test_a_nullable_reference_becomes_null_where_its_parent_is_missing() -> None:
    one = only(schema(table("customers"), table("orders", to("customers"))))
    assert (one.mandatory, one.missing, one.nulls) == (False, "null", ("customers_id",))


@pytest.mark.parametrize(
    ("match", "nullable", "nulls"),
    [
        ("SIMPLE", ("a", "b"), ("a", "b")),
        ("SIMPLE", ("b",), ("b",)),
        ("SIMPLE", (), ()),
        ("FULL", ("a", "b"), ("a", "b")),
        ("FULL", ("b",), ()),
    ],
)
def test_a_composite_reference_is_mandatory_by_its_match(
    match: str, nullable: tuple[str, ...], nulls: tuple[str, ...]
) -> None:
    child = table("child", to("parent", "a", "b", referenced=("x", "y"), match=match))
    columns = tuple(replace(one, nullable=one.name in nullable) for one in child.columns)
    one = only(schema(table("parent", primary=("x", "y")), replace(child, columns=columns)))
    assert one.nulls == nulls
    assert one.missing == ("null" if nulls else "skip")


def test_a_column_of_the_primary_key_never_becomes_null() -> None:
    # SQLite takes NULL in a primary key.
    child = Table(
        t("profiles"),
        columns=(Column("user_id", "INTEGER", nullable=True),),
        primary_key=Key("", ("user_id",)),
        foreign_keys=(to("users", "user_id"),),
    )
    assert only(schema(table("users"), child, engine="sqlite")).mandatory


def test_a_generated_column_and_a_domain_without_null_never_become_null() -> None:
    child = table("child", to("one"), to("two"), to("three"))
    types = {"one_id": "public.must", "two_id": 'public."May"'}
    columns = tuple(
        replace(one, type=types.get(one.name, one.type), generated="1" if one.name == "three_id" else None)
        for one in child.columns
    )
    objects = (
        SchemaObject("domain", "must", "CREATE DOMAIN public.must AS bigint NOT NULL;", "public"),
        SchemaObject("domain", "May", 'CREATE DOMAIN public."May" AS bigint;', "public"),
    )
    found = Schema(
        "postgres",
        (table("one"), table("two"), table("three"), replace(child, columns=columns)),
        objects=objects,
    )
    assert {one.name: one.mandatory for one in references_of(found, NO_RULES)} == {
        "child.one_id": True,
        "child.two_id": False,
        "child.three_id": True,
    }


def test_a_foreign_key_without_columns_means_the_primary_key() -> None:
    found = schema(
        table("users", primary=("uid",)), table("posts", to("users", referenced=())), engine="sqlite"
    )
    assert only(found).referenced == ("uid",)


def test_a_referenced_column_is_spelled_as_the_parent_spells_it() -> None:
    found = schema(
        table("users", primary=("Uid",)), table("posts", to("users", referenced=("UID",))), engine="sqlite"
    )
    assert only(found).referenced == ("Uid",)


def test_a_reference_to_a_unique_column_keeps_that_column() -> None:
    parent = table("countries")
    parent = replace(
        parent, columns=(*parent.columns, Column("code", "text")), uniques=(Key("u", ("code",)),)
    )
    assert only(
        schema(parent, table("towns", to("countries", "country", referenced=("code",))))
    ).referenced == ("code",)


@pytest.mark.parametrize(
    ("tables", "why"),
    [
        (
            (table("orders", to("gone")),),
            "orders.gone_id is not followed: gone is not a table of the database",
        ),
        (
            (table("log", primary=()), table("orders", to("log", referenced=()))),
            "orders.log_id is not followed: log has no primary key",
        ),
        (
            (table("users", primary=("a", "b")), table("orders", to("users", referenced=()))),
            "orders.users_id is not followed: it has 1 columns, and the key of users has 2",
        ),
        (
            (table("users"), table("orders", to("users", referenced=("uid",)))),
            "orders.users_id is not followed: users has no column uid",
        ),
    ],
)
def test_a_reference_that_cannot_be_followed_is_named(tables: tuple[Table, ...], why: str) -> None:
    found = schema(*tables, engine="sqlite")
    assert references_of(found, NO_RULES) == ()
    assert skipped_references(found, NO_RULES) == (why,)


# Partitions


def test_the_copies_of_a_partitioned_child_are_one_reference_of_the_root() -> None:
    root = replace(table("events", to("users")), kind="partitioned", partition_key="RANGE (id)")
    leaf = replace(table("events_1", replace(to("users"), name="other")), partition_of=t("events"))
    deep = replace(table("events_1_1", replace(to("users"), name="third")), partition_of=t("events_1"))
    for tables in ((root, leaf, deep), (deep, leaf, root)):
        one = only(schema(table("users"), *tables))
        assert (one.table, one.constraint) == (t("events"), "users_id_fkey")


def test_the_copies_of_a_partitioned_parent_are_one_reference_to_the_root() -> None:
    root = replace(table("events"), kind="partitioned", partition_key="RANGE (id)")
    leaf = replace(table("events_1"), partition_of=t("events"))
    copy = replace(to("events_1", "event_id"), name="copy")
    for keys in ((to("events", "event_id"), copy), (copy, to("events", "event_id"))):
        one = only(schema(root, leaf, table("notes", *keys)))
        assert (one.parent, one.constraint) == (t("events"), "event_id_fkey")


def test_a_reference_that_only_a_partition_has_is_a_reference_of_the_root() -> None:
    root = replace(table("events"), kind="partitioned")
    leaf = replace(table("events_1", to("users")), partition_of=t("events"))
    assert only(schema(root, leaf, table("users"))).name == "events.users_id"


# Rules


def rules(*references: ReferenceRule, never: tuple[str, ...] = ()) -> Rules:
    return Rules(tables={t(name): TableRule(never="bookkeeping") for name in never}, references=references)


SHOP = schema(table("customers"), table("orders", to("customers"), nullable=False))


def test_a_rule_about_a_foreign_key_changes_only_its_policy() -> None:
    plain = only(SHOP)
    rule = ReferenceRule(
        t("orders"),
        ("customers_id",),
        t("customers"),
        policy="update",
        missing="fail",
        owned=False,
        source="shop",
    )
    assert only(SHOP, rules(rule)) == replace(
        plain, policy="update", missing="fail", owned=False, source="shop"
    )


def test_a_reference_that_is_never_followed_is_not_owned() -> None:
    rule = ReferenceRule(t("orders"), ("customers_id",), t("customers"), policy="never", owned=True)
    one = only(SHOP, rules(rule))
    assert (one.policy, one.owned) == ("never", False)


def test_a_rule_cannot_ask_for_null_where_no_column_takes_it() -> None:
    rule = ReferenceRule(t("orders"), ("customers_id",), t("customers"), missing="null")
    assert only(SHOP, rules(rule)).missing == "skip"


def test_a_later_rule_keeps_what_it_does_not_say() -> None:
    first = ReferenceRule(t("orders"), ("customers_id",), t("customers"), missing="fail", source="one")
    second = ReferenceRule(t("orders"), ("customers_id",), t("customers"), policy="update", source="two")
    one = only(SHOP, rules(first, second))
    assert (one.missing, one.policy, one.source) == ("fail", "update", "two")


def test_a_rule_adds_a_reference_that_the_database_does_not_enforce() -> None:
    bare = Table(
        t("orders"), columns=(Column("id", "bigint"), Column("buyer", "bigint")), primary_key=Key("", ("id",))
    )
    rule = ReferenceRule(t("orders"), ("buyer",), t("customers"), source="backup.yaml")
    one = only(schema(table("customers"), bare), rules(rule))
    assert one == Reference(
        table=t("orders"),
        columns=("buyer",),
        parent=t("customers"),
        referenced=("id",),
        name="orders.buyer",
        nulls=("buyer",),
        source="backup.yaml",
    )


def test_a_rule_about_the_columns_in_another_order_is_about_the_same_key() -> None:
    found = schema(table("p", primary=("x", "y")), table("c", to("p", "a", "b", referenced=("x", "y"))))
    same = ReferenceRule(t("c"), ("b", "a"), t("p"), referenced=("y", "x"), policy="update")
    other = ReferenceRule(t("c"), ("b", "a"), t("p"), referenced=("x", "y"), policy="update")
    assert only(found, rules(same)).policy == "update"
    assert len(references_of(found, rules(other))) == 2


def test_a_rule_to_another_parent_is_another_reference() -> None:
    found = schema(table("customers"), table("people"), table("orders", to("customers")))
    rule = ReferenceRule(t("orders"), ("customers_id",), t("people"))
    assert [(one.parent.name, one.enforced) for one in references_of(found, rules(rule))] == [
        ("customers", True),
        ("people", False),
    ]


def test_a_polymorphic_rule_of_rails_is_one_reference_a_table() -> None:
    comments = Table(
        t("comments"),
        columns=(Column("id", "bigint"), Column("owner_type", "text"), Column("owner_id", "bigint")),
        primary_key=Key("", ("id",)),
    )
    asked = [
        ReferenceRule(t("comments"), ("owner_id",), t(name), when="owner_type", values=(value,))
        for name, value in (("posts", "Post"), ("people", "Person"))
    ]
    found = references_of(schema(comments, table("posts"), table("people")), rules(*asked))
    assert [(one.name, one.when, one.values) for one in found] == [
        ("comments.owner_id (people)", "owner_type", ("Person",)),
        ("comments.owner_id (posts)", "owner_type", ("Post",)),
    ]


def test_a_rule_that_names_what_does_not_exist_is_told() -> None:
    lost = ReferenceRule(t("orders"), ("buyer",), t("customers"), source="shop")
    assert references_of(SHOP, rules(lost)) == references_of(SHOP, NO_RULES)
    assert skipped_references(SHOP, rules(lost)) == (
        "orders.buyer of shop is not followed: orders has no column buyer",
    )


def test_a_table_that_is_never_merged_is_neither_created_nor_below() -> None:
    parent = only(SHOP, rules(never=("customers",)))
    child = only(SHOP, rules(never=("orders",)))
    assert (parent.policy, parent.owned) == ("never", False)
    assert (child.policy, child.owned) == ("ensure", False)


# Polymorphic rules of Django


TAGS = Table(
    t("tags"),
    columns=(
        Column("id", "bigint"),
        Column("type_id", "bigint", nullable=False),
        Column("object_id", "text", nullable=False),
    ),
    primary_key=Key("", ("id",)),
)
TAGGED = PolymorphicRule(
    t("tags"),
    "type_id",
    "object_id",
    t("types"),
    "{app_label}_{model}",
    {"shop_old": "other.items"},
    source="django",
)
OTHER = replace(table("items"), id=TableId("other", "items"))
DJANGO = schema(TAGS, table("types"), table("blog_post"), OTHER, table("logs", primary=()))


def test_values_of_the_type_column_become_references() -> None:
    spelled = {"9": "blog_post", "7": "shop_old", "8": "blog_post", "5": "blog_gone", "6": "logs"}
    found = polymorphic_references(TAGGED, spelled, DJANGO, NO_RULES)
    assert found.unknown == {
        "5": "blog_gone is not a table of the database",
        "6": "logs has no primary key",
    }
    posts, other = sorted(found.references, key=lambda one: one.parent, reverse=True)
    assert posts == Reference(
        table=t("tags"),
        columns=("object_id",),
        parent=t("blog_post"),
        referenced=("id",),
        name="tags.object_id (blog_post)",
        missing="skip",
        when="type_id",
        values=("8", "9"),
        source="django",
    )
    assert (other.parent, other.values) == (TableId("other", "items"), ("7",))


def test_a_polymorphic_reference_to_a_table_that_is_never_merged_creates_nothing() -> None:
    (one,) = polymorphic_references(
        TAGGED, {"1": "blog_post"}, DJANGO, rules(never=("blog_post",))
    ).references
    assert (one.policy, one.owned) == ("never", False)


def test_a_polymorphic_reference_to_a_composite_key_is_not_followed() -> None:
    found = schema(TAGS, table("pairs", primary=("a", "b")))
    assert polymorphic_references(TAGGED, {"1": "pairs"}, found, NO_RULES).unknown == {
        "1": "it has 1 columns, and the key of pairs has 2"
    }
