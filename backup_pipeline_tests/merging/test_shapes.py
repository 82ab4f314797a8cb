"""Schemas made at random: the order of tables, and a table compared with another, against slow and obvious answers."""

from __future__ import annotations

import random
from collections.abc import Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.databases.merge.drift import Schemas, compare_table
from backup_pipeline.databases.merge.graph import below, identity_order, order, parents_needed
from backup_pipeline.databases.merge.keys import birth_column, generated_key, usable_keys
from backup_pipeline.databases.merge.references import references_of
from backup_pipeline.databases.merge.rules import ReferenceRule, Rules, TableRule
from backup_pipeline.model.schema import Column, ForeignKey, Key, Schema, SchemaObject, Table, TableId

Steps = set[tuple[TableId, TableId]]

POSTGRES = (
    *("bigint", "text", "character varying(5)", "numeric(10,2)", "timestamp with time zone", "uuid", "json"),
    *("public.mood", "public.mood[]", "public.email", "text[]"),
)
SQLITE = ("INTEGER", "VARCHAR(20)", "", "datetime", "decimal(10,2)", "BLOB", "ANY")
TYPES = {"postgres": POSTGRES, "sqlite": SQLITE}
OBJECTS = (
    SchemaObject("enum", "mood", "CREATE TYPE public.mood AS ENUM ('ok', 'it''s');", "public"),
    SchemaObject("domain", "email", "CREATE DOMAIN public.email AS public.mood NOT NULL;", "public"),
)


def t(number: int) -> TableId:
    return TableId("public", f"t{number}")


@st.composite
def schemas(draw: st.DrawFn) -> Schema:
    """Tables with an id, and references that may be NULL or not, to each other and to themselves."""
    count = draw(st.integers(1, 8))
    tables = []
    for number in range(count):
        parents = draw(st.lists(st.tuples(st.integers(0, count - 1), st.booleans()), max_size=4))
        columns = [Column("id", "bigint", nullable=False)]
        columns += [Column(f"c{at}", "bigint", nullable) for at, (_, nullable) in enumerate(parents)]
        keys = tuple(
            ForeignKey(f"k{at}", (f"c{at}",), t(parent), ("id",)) for at, (parent, _) in enumerate(parents)
        )
        tables.append(
            Table(t(number), columns=tuple(columns), primary_key=Key("pk", ("id",)), foreign_keys=keys)
        )
    return Schema("postgres", tuple(tables))


def reached(start: TableId, steps: Steps) -> set[TableId]:
    """The slow and obvious answer: all tables that a way of one or more steps leads to."""
    found: set[TableId] = set()
    while True:
        more = {there for here, there in steps if here == start or here in found}
        if more <= found:
            return found
        found |= more


def check_order(groups: tuple[tuple[TableId, ...], ...], tables: Iterable[TableId], steps: Steps) -> None:
    ways = {table: reached(table, steps) for table in tables}
    assert sorted(table for group in groups for table in group) == sorted(ways)
    for group in groups:
        circle = {table for table in ways if table in ways[group[0]] and group[0] in ways[table]}
        assert group == tuple(sorted(circle | {group[0]}))
    place = {table: at for at, group in enumerate(groups) for table in group}
    assert all(place[parent] <= place[child] for child, parent in steps)


@settings(max_examples=100)
@given(schemas(), st.randoms(use_true_random=False))
def test_parents_come_first_and_groups_are_the_tables_that_reach_each_other(
    schema: Schema, chance: random.Random
) -> None:
    references = list(references_of(schema, Rules()))
    tables = [table.id for table in schema.tables]
    groups = order(tables, references)
    check_order(groups, tables, {(one.table, one.parent) for one in references})
    chance.shuffle(references)
    chance.shuffle(tables)
    assert order(tables, references) == groups


@settings(max_examples=100)
@given(schemas(), st.sets(st.sampled_from(["c0", "c1", "c2"])))
def test_the_order_of_identity_follows_the_references_in_keys(schema: Schema, names: set[str]) -> None:
    references = references_of(schema, Rules())
    tables = [table.id for table in schema.tables]
    keys = {table: tuple(("slug", name) for name in sorted(names)) for table in tables}
    steps = {(one.table, one.parent) for one in references if one.columns[0] in names}
    check_order(identity_order(tables, references, keys), tables, steps)


@settings(max_examples=100)
@given(schemas(), st.data())
def test_what_comes_along_and_what_hangs_below_is_what_can_be_reached(
    schema: Schema, data: st.DataObject
) -> None:
    keys = [(table.id, key) for table in schema.tables for key in table.foreign_keys]
    rules = Rules(
        tables={t(1): TableRule(never="bookkeeping")},
        references=tuple(
            ReferenceRule(
                table,
                key.columns,
                key.references,
                policy=data.draw(st.sampled_from(("ensure", "update", "never"))),
                owned=data.draw(st.sampled_from((None, True, False))),
            )
            for table, key in keys
            if data.draw(st.booleans())
        ),
    )
    references = references_of(schema, rules)
    start = t(0)
    up = {(one.table, one.parent) for one in references if one.policy != "never"}
    down = {(one.parent, one.table) for one in references if one.owned}
    needed = parents_needed([start], references)
    assert set(needed) == reached(start, up) - {start}
    assert set(below(start, references)) == reached(start, down) - {start}
    assert t(1) == start or t(1) not in {*needed, *below(start, references)}
    names = {one.name for one in references}
    assert all(why in names for why in needed.values())
    assert all(set(why.split(" → ")) <= names for why in below(start, references).values())


@st.composite
def columns(draw: st.DrawFn, name: str, engine: str) -> Column:
    kind = draw(st.sampled_from(("plain", "plain", "default", "identity", "generated")))
    return Column(
        name,
        draw(st.sampled_from(TYPES[engine])),
        draw(st.booleans()),
        default="1" if kind == "default" else None,
        identity=draw(st.sampled_from(("always", "by default"))) if kind == "identity" else None,
        generated="1" if kind == "generated" else None,
    )


@st.composite
def tables(draw: st.DrawFn, engine: str) -> Table:
    names = draw(st.lists(st.sampled_from("abcdef"), unique=True, min_size=1))
    made = tuple(draw(columns(name, engine)) for name in names)
    key = draw(st.none() | st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=2))
    uniques = draw(
        st.lists(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=3), max_size=3)
    )
    return Table(
        t(0),
        columns=made,
        primary_key=Key("pk", tuple(key)) if key else None,
        uniques=tuple(Key(f"u{at}", tuple(one)) for at, one in enumerate(uniques)),
    )


ENGINES = st.sampled_from(("postgres", "sqlite"))


@settings(max_examples=100)
@given(st.data(), ENGINES)
def test_a_table_compared_with_itself_has_no_drift(data: st.DataObject, engine: str) -> None:
    table = data.draw(tables(engine))
    schema = Schema(engine, (table,), objects=OBJECTS)
    found = compare_table(table, table, Schemas(schema, schema), {}, {})
    assert (found.drift, found.refused, found.filled) == ((), "", {})
    assert [one.target for one in found.columns] == list(table.exported_columns)
    assert set(found.omitted) == set(table.computed_columns)
    assert all(not one.cast and not one.fill and not one.lost_labels for one in found.columns)


@settings(max_examples=100)
@given(st.data(), ENGINES)
def test_each_column_of_the_target_gets_one_value_or_none_or_refuses_the_table(
    data: st.DataObject, engine: str
) -> None:
    before, now = data.draw(tables(engine)), data.draw(tables(engine))
    schemas = Schemas(Schema(engine, (before,), objects=OBJECTS), Schema(engine, (now,), objects=OBJECTS))
    names = st.sampled_from("abcdefx")
    renamed, fill = (
        data.draw(st.dictionaries(names, names, max_size=2)),
        data.draw(st.dictionaries(names, names)),
    )
    found = compare_table(before, now, schemas, renamed, fill)
    assert [one.name for one in found.columns] == list(before.exported_columns)
    targets = [one.target for one in found.columns if one.target is not None]
    there = [column.name for column in now.columns]
    told = {one.column for one in found.drift if one.refused}
    assert len(set(targets)) == len(targets) or found.refused
    assert set(targets) | set(found.omitted) | set(found.filled) | told >= set(there)
    assert not set(targets) & (set(found.omitted) | set(found.filled))
    assert set(targets) <= set(now.exported_columns)
    needy = {
        one.name for one in now.columns if not one.nullable and one.default is None and one.identity is None
    }
    assert not needy & set(found.omitted) - set(now.computed_columns)
    assert compare_table(before, now, schemas, renamed, fill) == found


@settings(max_examples=100)
@given(st.data(), ENGINES)
def test_a_natural_key_has_only_columns_of_the_backup_and_never_the_generated_key(
    data: st.DataObject, engine: str
) -> None:
    table = data.draw(tables(engine))
    schema = Schema(engine, (table,))
    given_ones = data.draw(st.sets(st.sampled_from([one.name for one in table.columns])))
    generated = generated_key(table, schema)
    own = set(table.primary_key.columns) if generated and table.primary_key else set()
    found = usable_keys(table, given_ones, generated=generated)
    assert all(set(one.columns) <= given_ones and not own & set(one.columns) for one in found.found)
    usable = [
        set(one.columns)
        for one in table.uniques
        if not own & set(one.columns) and set(one.columns) <= given_ones
    ]
    assert all(key in [set(one.columns) for one in found.found] for key in usable)
    assert len({frozenset(one.columns) for one in found.found}) == len(found.found)
    assert birth_column(table, schema) == ""
