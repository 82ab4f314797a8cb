"""From lines of rules to the rules of one schema."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup_pipeline.config import parse
from backup_pipeline.config.merging import MergeSettings
from backup_pipeline.databases.merge.rulebook import read, resolve
from backup_pipeline.databases.merge.rules import DerivedRule, ReferenceRule, Rules, TableRule
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.schema import Column, ForeignKey, Key, Schema, Table, TableId


def t(name: str, schema: str = "public") -> TableId:
    return TableId(schema, name)


def table(name: str, *columns: str, schema: str = "public", keys: tuple[ForeignKey, ...] = ()) -> Table:
    return Table(
        t(name, schema),
        columns=tuple(Column(one, "bigint") for one in ("id", *columns)),
        primary_key=Key(f"{name}_pkey", ("id",)),
        foreign_keys=keys,
    )


def resolved(said: dict[str, object], *tables: Table) -> Rules:
    return resolve(Schema("postgres", tables), MergeSettings.model_validate(said))[0]


DJANGO = (table("django_migrations"), table("auth_user", "password", "last_login", "is_staff", "nick"))


# ── which line counts


def test_a_rule_file_keeps_the_columns_that_the_table_has() -> None:
    rules, names = resolve(Schema("postgres", DJANGO))
    assert rules.of(t("auth_user")).keep == ("password", "last_login", "is_staff")
    assert "django-users" in names
    assert "rails-users" not in names


def test_a_line_of_the_user_goes_before_a_rule_file_and_leaves_its_other_words() -> None:
    rule = resolved({"tables": {"auth_user": {"keep": ["nick"], "birth": "id"}}}, *DJANGO)
    assert rule.of(t("auth_user")).keep == ("nick",)
    lifted = resolved({"tables": {"auth_user": {"keep": []}, "django_migrations": {"never": False}}}, *DJANGO)
    assert lifted.of(t("auth_user")).keep == ()
    assert lifted.of(t("django_migrations")).never == ""
    assert resolve(Schema("postgres", DJANGO))[0].of(t("django_migrations")).never
    assert lifted.groups["admin"] == (t("auth_user"),)


def test_a_line_for_a_table_goes_before_a_line_for_a_pattern() -> None:
    said = {"tables": {"*": {"keep": ["a"], "birth": "a"}, "one": {"keep": ["b"]}}}
    rules = resolved(said, table("one", "a", "b"), table("two", "a"))
    assert rules.of(t("one")) == TableRule(keep=("b",), birth="a", source="backup.yaml")
    assert rules.of(t("two")).keep == ("a",)


def test_a_pattern_says_nothing_of_columns_that_a_table_does_not_have() -> None:
    rules = resolved({"tables": {"*": {"natural_keys": [["a"], ["a", "b"]]}}}, table("one", "a"))
    assert rules.of(t("one")).natural_keys == (("a",),)


def test_a_pattern_with_having_holds_only_for_tables_with_these_columns() -> None:
    rules = resolved({"tables": {"*": {"having": ["a"], "group": "sales"}}}, table("one", "a"), table("two"))
    assert rules.groups == {"sales": (t("one"),)}


# ── what does not fit


def test_a_line_of_the_user_for_a_missing_table_or_column_is_an_error() -> None:
    said = {
        "tables": {"tow": {"never": "x"}, "one": {"keep": ["lost"]}},
        "references": [{"from": "one.a", "to": "there_is_none"}],
        "derived": [{"table": "one*", "columns": ["b"], "sql": "SELECT 1"}],
    }
    with pytest.raises(ConfigError) as caught:
        resolved(said, table("one", "a"))
    for word in ("there is no table tow", "public.one has no column lost", "there_is_none is no table"):
        assert word in caught.value.message
    assert "no table that one* matches has the columns b" in caught.value.message
    assert "`merge:`" in caught.value.remedy


def test_columns_that_a_backup_does_not_have_yet_are_filled_and_renamed() -> None:
    rule = {"fill": {"currency": "EUR"}, "renamed": {"name": "full_name"}}
    found = resolved({"tables": {"one": rule}}, table("one", "name")).of(t("one"))
    assert (found.fill, found.renamed) == ({"currency": "EUR"}, {"name": "full_name"})


def test_a_line_of_a_framework_that_does_not_fit_is_skipped_and_named() -> None:
    other = table("django_site", "host")
    rules, names = resolve(Schema("postgres", (other,)))
    assert "django-sites" in names
    assert rules.of(t("django_site")).no_key == ()
    assert rules.of(t("django_site")).natural_keys == (("id",),)
    assert "django-sites: public.django_site has no column domain" in rules.skipped


def test_an_unknown_word_of_a_rule_file_is_an_error_with_the_file() -> None:
    with pytest.raises(ConfigError, match=r"(?s)shop\.yaml.*kept") as caught:
        read("shop.yaml", "match: [orders]\ntables: {orders: {kept: [a]}}")
    assert "help merge" in caught.value.remedy


def test_a_mistake_under_merge_is_told_with_its_line_and_the_word_that_was_meant() -> None:
    text = "vault: ./v\nsystems:\n  shop:\n    database: sqlite:///a\n    merge:\n      references:\n        - {from: a.b, too: c}\n"
    with pytest.raises(ConfigError) as caught:
        parse(text, name="backup.yaml", base=Path("/"), environ={})
    assert "line 7" in str(caught.value)
    assert "did you mean to?" in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        {"references": [{"from": "orders", "to": "customers"}]},
        {"references": [{"from": ["a.x", "b.y"], "to": "c"}]},
        {"references": [{"from": "a.x", "to": "c", "referenced": ["p", "q"]}]},
        {"polymorphic": [{"table": "a", "type": "{name}_type", "id": "key", "spelled": "{Class}"}]},
        {"polymorphic": [{"table": "a", "type": "kind", "id": "key", "spelled": "kind"}]},
        {"values": [{"table": "a", "column": "x"}]},
        {"values": [{"table": "a", "column": "x", "to": "b", "same_as": "y"}]},
        {"values": [{"table": "a", "column": "x", "to": "b", "path": "photo"}]},
        {"tables": {"a": {"never": ""}}},
    ],
)
def test_a_line_that_makes_no_sense_is_refused(line: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        MergeSettings.model_validate(line)


# ── references


def test_a_reference_without_a_table_is_that_of_the_foreign_key() -> None:
    key = ForeignKey("k", ("user_id",), t("people"), ("id",))
    rules = resolved(
        {"references": [{"from": "log.user_id", "policy": "never", "missing": None}]},
        table("people"),
        table("log", "user_id", keys=(key,)),
    )
    assert rules.references == (
        ReferenceRule(t("log"), ("user_id",), t("people"), ("id",), "never", "null", source="backup.yaml"),
    )
    with pytest.raises(ConfigError, match="no foreign key of user_id"):
        resolved({"references": [{"from": "log.user_id"}]}, table("log", "user_id"))


def test_a_reference_follows_what_its_wildcards_stand_for() -> None:
    rules = resolved(
        {"references": [{"from": "*_historical*.id", "to": "{1}_{2}"}]},
        table("shop_historicalarticle"),
        table("shop_article"),
    )
    assert [(one.table, one.parent) for one in rules.references] == [
        (t("shop_historicalarticle"), t("shop_article"))
    ]


def test_a_reference_leads_into_the_schema_of_its_table() -> None:
    said = {"references": [{"from": "orders.customer", "to": "customers"}]}
    tables = [table(name, "customer", schema=one) for name in ("orders", "customers") for one in ("a", "b")]
    rules = resolved(said, *tables)
    assert [(one.table.schema, one.parent.schema) for one in rules.references] == [("a", "a"), ("b", "b")]
    with pytest.raises(ConfigError, match="customers is more than one table"):
        resolved(said, table("orders", "customer"), *tables[2:])


def test_a_reference_of_several_columns_keeps_their_order_and_its_condition() -> None:
    (one,) = resolved(
        {
            "references": [
                {"from": ["l.b", "l.a"], "to": "o", "referenced": ["y", "x"], "when": {"kind": ["1", "2"]}}
            ]
        },
        table("l", "a", "b", "kind"),
        table("o", "x", "y"),
    ).references
    assert (one.columns, one.referenced, one.when, one.values) == (("b", "a"), ("y", "x"), "kind", ("1", "2"))


def test_the_names_of_classes_lead_to_tables() -> None:
    said = {"polymorphic": [{"table": "*", "type": "{name}_type", "id": "{name}_id", "spelled": "{Class}"}]}
    names = ("comments", "line_items", "categories", "people", "addresses", "admin_users", "news", "analyses")
    rules = resolved(said, table("notes", "about_type", "about_id", "by_type"), *map(table, names))
    (rule,) = rules.polymorphic
    assert (rule.type, rule.id, rule.types) == ("about_type", "about_id", None)
    classes = ("Comment", "LineItem", "Category", "Person", "Address", "Admin::User", "News", "Analysis")
    assert [rule.tables[one] for one in classes] == [f"public.{name}" for name in names]


# ── derived


def test_the_sql_of_derived_columns_has_quoted_names_and_keeps_its_other_braces() -> None:
    said = {
        "derived": [
            {
                "table": "Odd",
                "columns": ["n"],
                "reads": ["parts"],
                "sql": "UPDATE {table} SET n = {key} + {parts} || '{}' || '{other}'",
                "what": "numbers of {table}",
            }
        ]
    }
    rules = resolved(said, table("Odd", "n"), table("parts"))
    text = """UPDATE "public"."Odd" SET n = "id" + "public"."parts" || '{}' || '{other}'"""
    assert rules.derived == (
        DerivedRule(
            (t("Odd"), t("parts")),
            {t("Odd"): ("n",)},
            {"postgres": text, "sqlite": text},
            "numbers of public.Odd",
            "backup.yaml",
        ),
    )
