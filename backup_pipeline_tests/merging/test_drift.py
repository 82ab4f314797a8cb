"""What a table has become since the backup, and what a merge does about each column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from backup_pipeline.databases.merge.drift import Columns, Schemas, compare_table, labels_of, table_gone
from backup_pipeline.databases.merge.fitting import Fit, comparable, fit_postgres, fit_sqlite
from backup_pipeline.databases.merge.plan import ColumnDrift
from backup_pipeline.model.schema import Column, ForeignKey, Key, Schema, SchemaObject, Table, TableId

ORDERS = TableId("public", "orders")


def table(*columns: Column, name: str = "orders") -> Table:
    return Table(TableId("public", name), columns=columns)


def compared(
    before: Table,
    now: Table,
    *,
    engine: str = "postgres",
    objects: tuple[tuple[SchemaObject, ...], tuple[SchemaObject, ...]] = ((), ()),
    renamed: Mapping[str, str] | None = None,
    fill: Mapping[str, str] | None = None,
) -> Columns:
    schemas = Schemas(
        Schema(engine, (before,), objects=objects[0]), Schema(engine, (now,), objects=objects[1])
    )
    return compare_table(before, now, schemas, renamed or {}, fill or {})


ID = Column("id", "bigint", nullable=False, identity="by default")
NAME = Column("name", "text")


def test_a_table_that_is_the_same_has_no_drift() -> None:
    found = compared(table(ID, NAME), table(ID, NAME))
    assert [(one.name, one.type, one.target, one.cast) for one in found.columns] == [
        ("id", "bigint", "id", ""),
        ("name", "text", "name", ""),
    ]
    assert (found.drift, found.refused, found.omitted, found.filled) == ((), "", {}, {})


def test_columns_in_another_order_are_the_same_columns() -> None:
    found = compared(table(ID, NAME), table(NAME, ID))
    assert [one.target for one in found.columns] == ["id", "name"]
    assert found.drift == ()


def test_a_column_that_is_gone_is_staged_and_goes_nowhere() -> None:
    found = compared(table(ID, NAME), table(ID))
    assert [(one.name, one.type, one.target) for one in found.columns] == [
        ("id", "bigint", "id"),
        ("name", "", None),
    ]
    assert found.drift == (
        ColumnDrift("name", "missing", "the target has no column name", "its values are left out"),
    )


@pytest.mark.parametrize(
    ("column", "done"),
    [
        (Column("note", "text"), "it stays NULL"),
        (Column("note", "text", False, default="'x'::text"), "it gets its default, 'x'::text"),
        (Column("note", "bigint", False, identity="always"), "it numbers itself"),
        (Column("note", "bigint", False, generated="id + 1"), "the database computes it"),
    ],
)
def test_a_new_column_that_needs_no_value_is_left_to_the_database(column: Column, done: str) -> None:
    found = compared(table(ID), table(ID, column))
    assert found.omitted == {"note": done}
    assert found.drift == (ColumnDrift("note", "new", column.type, done),)
    assert (found.refused, found.overriding) == ("", False)


def test_a_new_column_that_needs_a_value_refuses_the_table_with_the_remedy() -> None:
    found = compared(table(ID), table(ID, Column("currency", "text", nullable=False)))
    assert found.refused == (
        "orders.currency takes no NULL and has no default, and the backup has no value for it"
        " → give it a value with `fill:` in the rule of orders"
    )
    assert [(one.column, one.what) for one in found.drift] == [("currency", "new")]


def test_default_null_is_no_default() -> None:
    new = Column("currency", "TEXT", nullable=False, default="NULL")
    assert compared(table(ID), table(ID, new), engine="sqlite").refused
    assert compared(table(ID), table(ID, replace(new, nullable=True)), engine="sqlite").omitted == {
        "currency": "it stays NULL"
    }


def test_a_rule_fills_a_new_column() -> None:
    found = compared(
        table(ID), table(ID, Column("currency", "text", nullable=False)), fill={"currency": "EUR"}
    )
    assert (found.refused, found.filled) == ("", {"currency": "EUR"})
    assert found.drift == (ColumnDrift("currency", "new", "text", "new rows get EUR"),)


# Renamed


def test_a_renamed_column_is_followed_where_a_rule_says_so() -> None:
    found = compared(table(ID, NAME), table(ID, replace(NAME, name="title")), renamed={"name": "title"})
    assert [(one.name, one.target) for one in found.columns] == [("id", "id"), ("name", "title")]
    assert found.drift == (ColumnDrift("name", "renamed", "to title", "its values go into the new column"),)


def test_two_names_can_be_exchanged() -> None:
    a, b = Column("a", "text"), Column("b", "text")
    found = compared(table(a, b), table(a, b), renamed={"a": "b", "b": "a"})
    assert [(one.name, one.target) for one in found.columns] == [("a", "b"), ("b", "a")]
    assert found.refused == ""


def test_a_rule_that_renames_into_nothing_or_twice_into_one_column_is_refused() -> None:
    a, b = Column("a", "text"), Column("b", "text")
    assert compared(table(a), table(b), renamed={"a": "c"}).refused == "orders has no column c"
    assert compared(table(a, b), table(b), renamed={"a": "b"}).refused == (
        "orders.b would be filled from a and from b"
    )


def test_a_rule_about_a_column_that_this_backup_has_not_is_no_drift() -> None:
    assert compared(table(ID), table(ID, NAME), renamed={"title": "name"}).refused == ""


def test_a_column_that_may_be_renamed_is_suggested_and_not_followed() -> None:
    found = compared(table(ID, NAME), table(ID, Column("title", "text", nullable=False)))
    assert [one.target for one in found.columns] == ["id", None]
    assert found.drift[0].detail == (
        "the target has no column name; perhaps it was renamed, then say so with `renamed: {name: title}`"
    )
    assert found.refused.endswith(
        "give it a value with `fill:` in the rule of orders, or, where it was renamed, say so with `renamed: {name: title}`"
    )


@pytest.mark.parametrize("kind", ["type", "two", "key", "reference", "unique"])
def test_a_column_with_another_type_or_place_is_not_suggested(kind: str) -> None:
    before, now = table(ID, NAME), table(ID, Column("title", "text"))
    if kind == "type":
        now = table(ID, Column("title", "integer"))
    elif kind == "two":
        now = table(ID, Column("title", "text"), Column("label", "text"))
    elif kind == "key":
        now = replace(now, primary_key=Key("pk", ("title",)))
    elif kind == "reference":
        before = replace(before, foreign_keys=(ForeignKey("fk", ("name",), ORDERS, ("id",)),))
    else:
        now = replace(now, uniques=(Key("u", ("title",)),))
    assert compared(before, now).drift[0].detail == "the target has no column name"


# Types


@pytest.mark.parametrize(
    ("before", "now", "fit"),
    [
        # Every value reads as the same value.
        ("integer", "bigint", Fit("bigint", "", False, "every value fits into bigint")),
        ("smallint", "integer", Fit("integer", "", False, "every value fits into integer")),
        ("integer", "numeric", Fit("numeric", "", False, "every value fits into numeric")),
        ("numeric(10,2)", "numeric", Fit("numeric", "", False, "every value fits into numeric")),
        ("numeric(10,2)", "numeric(12,4)", Fit("numeric(12,4)", "", False, "every value fits into numeric(12,4)")),
        ("character varying(20)", "text", Fit("", "", False, "every value fits")),
        ("character varying(20)", "character varying(30)", Fit("", "", False, "every value fits")),
        ("text", "public.citext", Fit("", "", False, "every value fits")),
        ("public.mood", "text", Fit("", "", False, "every value fits")),
        # Cast as ALTER TABLE casts.
        ("bigint", "integer", Fit("bigint", "integer", False, "cast to integer, as ALTER TABLE does")),
        ("real", "double precision", Fit("real", "double precision", False, "cast to double precision, as ALTER TABLE does")),
        ("numeric(12,4)", "numeric(10,2)", Fit("numeric(12,4)", "numeric(10,2)", False, "cast to numeric(10,2), as ALTER TABLE does")),
        ("numeric(10,2)", "numeric(10,4)", Fit("numeric(10,2)", "numeric(10,4)", False, "cast to numeric(10,4), as ALTER TABLE does")),
        ("boolean", "integer", Fit("boolean", "integer", False, "cast to integer, as ALTER TABLE does")),
        ("json", "jsonb", Fit("json", "jsonb", False, "cast to jsonb, as ALTER TABLE does")),
        (
            "timestamp(3) without time zone",
            "date",
            Fit("timestamp(3) without time zone", "date", False, "cast to date, as ALTER TABLE does"),
        ),
        # A cast to character varying(5) would cut the value.
        ("text", "character varying(5)", Fit("", "", False, "refused where it is too long")),
        ("boolean", "text", Fit("boolean", "text", False, "written as text: every value fits")),
        ("character(5)", "character varying(3)", Fit("character(5)", "text", False, "written as text: refused where it is too long")),
        # No cast that every server has.
        ("text", "uuid", Fit("", "uuid", False, "cast from text to uuid: a value that is none is refused")),
        ("text", "public.mood", Fit("", "public.mood", False, "cast from text to public.mood: a value that is none is refused")),
        ("text", "text[]", Fit("", "text[]", False, "cast from text to text[]: a value that is none is refused")),
        ("integer[]", "bigint[]", Fit("", "bigint[]", False, "cast from text to bigint[]: a value that is none is refused")),
        ("text[]", "character varying(4)[]", Fit("", "text[]", False, "cast from text to character varying(4)[]: a value that is none is refused")),
        ("integer[]", "text", Fit("", "", False, "every value fits")),
        ("public.a", "public.b", Fit("", "public.b", False, "cast from text to public.b: a value that is none is refused")),
    ],
)  # fmt: skip
def test_a_type_that_changed_in_postgres_says_how_its_values_get_in(before: str, now: str, fit: Fit) -> None:
    assert fit_postgres(before, now, ()) == fit
    assert compared(table(Column("x", before)), table(Column("x", now))).drift == (
        ColumnDrift("x", "type-changed", f"{before} → {now}", fit.done),
    )


@pytest.mark.parametrize(
    ("before", "now"),
    [
        ("integer", "uuid"),
        ("integer", "interval"),
        ("integer", "text[]"),
        ("integer[]", "integer"),
        ("public.mood", "bytea"),
    ],
)
def test_a_type_to_which_a_merge_has_no_cast_refuses_the_table(before: str, now: str) -> None:
    found = compared(table(Column("x", before)), table(Column("x", now)))
    assert found.refused == (
        f"orders.x: a merge does not cast {before} to {now}"
        " → leave orders out, or restore it into a new database"
    )


def test_no_text_of_a_backup_becomes_a_type_in_staging() -> None:
    hostile = "integer); DROP TABLE users; --"
    found = compared(table(Column("x", hostile), Column("y", hostile)), table(Column("x", "integer")))
    assert [one.type for one in found.columns] == ["", ""]
    lite = compared(table(Column("x", hostile)), table(Column("x", "TEXT")), engine="sqlite")
    assert [one.type for one in lite.columns] == ["TEXT"]


@pytest.mark.parametrize(
    ("before", "now", "staged", "same"),
    [
        ("VARCHAR(20)", "text", "TEXT", True),
        ("INT", "bigint unsigned", "INTEGER", True),
        ("decimal(10,2)", "datetime", "NUMERIC", True),
        ("", "", "BLOB", True),
        ("ANY", "ANY", "BLOB", True),
        ("text", "integer", "INTEGER", False),
    ],
)
def test_sqlite_compares_types_by_affinity(before: str, now: str, staged: str, same: bool) -> None:
    assert fit_sqlite(before, now, ()).staged == staged
    found = compared(table(Column("x", before)), table(Column("x", now)), engine="sqlite")
    assert [one.what for one in found.drift] == ([] if same else ["type-changed"])


def test_sqlite_compares_names_without_case() -> None:
    found = compared(table(Column("Name", "text")), table(Column("name", "text")), engine="sqlite")
    assert ([one.target for one in found.columns], found.drift) == (["name"], ())
    assert compared(table(Column("Name", "text")), table(Column("name", "text"))).columns[0].target is None


def test_types_without_an_equality_are_known() -> None:
    assert [
        comparable(one) for one in ("json", "json[]", "point", "jsonb", "timestamp(3) with time zone")
    ] == [
        False,
        False,
        False,
        True,
        True,
    ]


# Enums and other types of the database


def enum(*labels: str, name: str = "mood") -> SchemaObject:
    text = ", ".join(f"'{label}'" for label in labels)
    return SchemaObject("enum", name, f"CREATE TYPE public.{name} AS ENUM ({text});", "public")


def test_labels_are_read_as_the_catalog_quotes_them() -> None:
    assert labels_of(r"CREATE TYPE public.m AS ENUM ('it''s', E'a\\b', 'x, y', 'AS ENUM (''z'')', '');") == (
        "it's",
        r"a\b",
        "x, y",
        "AS ENUM ('z')",
        "",
    )
    assert labels_of("CREATE TYPE public.m AS ENUM ();") == ()


def test_labels_that_are_gone_are_named_and_the_column_is_staged_as_text() -> None:
    feeling = table(Column("feels", "public.mood"))
    found = compared(feeling, feeling, objects=((enum("ok", "sad", "mad"),), (enum("mad", "new"),)))
    assert [(one.type, one.cast, one.lost_labels) for one in found.columns] == [
        ("", "public.mood", ("ok", "sad"))
    ]
    assert found.drift == (
        ColumnDrift(
            "feels", "enum-value-gone", "public.mood lacks ok, sad", "rows with one of them are not written"
        ),
    )


def test_an_enum_with_more_labels_is_the_same() -> None:
    feeling = table(Column("feels", "public.mood"))
    found = compared(feeling, feeling, objects=((enum("ok"),), (enum("new", "ok"),)))
    assert ([one.type for one in found.columns], found.drift) == (["public.mood"], ())


def test_an_array_of_an_enum_that_lost_a_label_is_read_from_text() -> None:
    feeling = table(Column("feels", "public.mood[]"))
    found = compared(feeling, feeling, objects=((enum("ok", "sad"),), (enum("ok"),)))
    assert [(one.type, one.cast, one.lost_labels) for one in found.columns] == [("", "public.mood[]", ())]
    assert [one.what for one in found.drift] == ["type-changed"]


def test_a_value_of_a_domain_is_staged_as_the_type_below_and_checked_when_it_is_written() -> None:
    domain = SchemaObject("domain", "email", "CREATE DOMAIN public.email AS text;", "public")
    users = table(Column("mail", "public.email"))
    other = replace(domain, definition="CREATE DOMAIN public.email AS text NOT NULL;")
    assert compared(users, users, objects=((domain,), (domain,))).drift == ()
    found = compared(users, users, objects=((domain,), (other,)))
    assert [(one.type, one.cast) for one in found.columns] == [("text", "")]
    assert found.drift == (
        ColumnDrift("mail", "type-changed", "public.email was altered", "checked as it is defined now"),
    )


def test_a_domain_of_another_type_is_cast_to_that_type_and_never_cut() -> None:
    domain = SchemaObject("domain", "code", "CREATE DOMAIN public.code AS text COLLATE x.y;", "public")
    short = replace(domain, definition="CREATE DOMAIN public.code AS character varying(5) DEFAULT 'x'::text;")
    deep = SchemaObject("domain", "Deep", 'CREATE DOMAIN public."Deep" AS public.code;', "public")
    coded = table(Column("x", 'public."Deep"'), Column("y", "public.code"))
    found = compared(coded, coded, objects=((domain, deep), (short, deep)))
    assert [(one.type, one.cast) for one in found.columns] == [("", ""), ("", "")]
    assert {one.done for one in found.drift} == {"refused where it is too long"}


def test_a_domain_of_json_has_no_equality() -> None:
    domain = SchemaObject("domain", "doc", "CREATE DOMAIN public.doc AS json NOT NULL;", "public")
    found = compared(
        table(Column("x", "public.doc")), table(Column("x", "public.doc")), objects=((domain,), (domain,))
    )
    assert [(one.type, one.comparable) for one in found.columns] == [("json", False)]


def test_a_composite_type_that_is_defined_otherwise_is_read_from_text() -> None:
    made = SchemaObject("composite", "pair", "CREATE TYPE public.pair AS (a text);", "public")
    other = replace(made, definition="CREATE TYPE public.pair AS (a text, b text);")
    paired = table(Column("x", "public.pair"))
    found = compared(paired, paired, objects=((made,), (other,)))
    assert [(one.type, one.cast) for one in found.columns] == [("", "public.pair")]
    assert [one.detail for one in found.drift] == ["public.pair was altered"]


# NULL, generated and identity columns


def test_a_column_that_takes_no_null_any_more_is_told() -> None:
    before, now = table(NAME), table(replace(NAME, nullable=False))
    assert compared(before, now).drift == (
        ColumnDrift(
            "name",
            "not-null-added",
            "it takes no NULL any more",
            "rows with NULL are not written, unless `fill:` gives a value",
        ),
    )
    found = compared(before, now, fill={"name": "none"})
    assert (found.columns[0].fill, found.filled) == ("none", {})
    assert [one.done for one in found.drift] == ["NULL becomes none"]
    assert compared(now, before).drift == ()


def test_a_column_that_is_computed_now_gets_no_value() -> None:
    found = compared(table(ID, NAME), table(ID, replace(NAME, generated="lower(id)")))
    assert [(one.name, one.target) for one in found.columns] == [("id", "id"), ("name", None)]
    assert found.omitted == {"name": "the database computes it"}
    assert found.drift == (
        ColumnDrift("name", "now-generated", "the target computes it: lower(id)", "its values are left out"),
    )


def test_a_column_that_was_computed_has_no_value_in_the_backup() -> None:
    before = table(ID, replace(NAME, generated="'x'"))
    found = compared(before, table(ID, NAME))
    assert [one.name for one in found.columns] == ["id"]
    assert found.drift == (
        ColumnDrift("name", "now-plain", "it was computed, and is not any more", "it stays NULL"),
    )
    assert compared(before, table(ID, replace(NAME, nullable=False))).refused
    assert compared(before, before).drift == ()


def test_an_identity_that_is_always_generated_wants_overriding() -> None:
    always = replace(ID, identity="always")
    assert compared(table(ID), table(always)).overriding
    assert compared(table(ID), table(always)).drift == ()
    assert not compared(table(NAME), table(NAME, always)).overriding


# The whole table


def gone(before: Table, *now: Table, objects: tuple[SchemaObject, ...] = ()) -> ColumnDrift:
    return table_gone(
        before, Schemas(Schema("postgres", (before,)), Schema("postgres", now, objects=objects))
    )


def test_a_table_that_is_gone_is_refused_with_the_remedy() -> None:
    assert gone(table(ID, NAME)) == ColumnDrift(
        "",
        "missing",
        "the target has no table orders",
        refused="the target has no table orders → leave it out with --skip orders, or restore it into a new database",
    )


def test_a_table_that_may_be_renamed_is_suggested() -> None:
    one, two = table(NAME, ID, name="purchases"), table(ID, NAME, name="sales")
    other = table(ID, name="other")
    assert gone(table(ID, NAME), one, other).detail == (
        "the target has no table orders, and purchases has the same columns: perhaps it was renamed"
    )
    assert gone(table(ID, NAME), one, two).detail == "the target has no table orders"


def test_a_view_in_place_of_a_table_is_told() -> None:
    view = SchemaObject("view", "orders", "CREATE VIEW …", "public")
    assert gone(table(ID), objects=(view,)).detail == "the target has no table orders but a view of that name"
