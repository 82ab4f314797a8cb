"""The references of a schema: its foreign keys, and those that rules add or change.

Belongs here: reading them, and why one cannot be followed. Not here: their order and what hangs together (`graph`).
References between partitions are references of their roots, because rows go in through the root.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from backup_pipeline.databases.merge.graph import Reference, Sign, name_of, named, sign
from backup_pipeline.databases.merge.rules import Missing, PolymorphicRule, ReferenceRule, Rules
from backup_pipeline.model.schema import ForeignKey, Schema, Table, TableId


@dataclass(frozen=True, slots=True)
class Polymorphic:
    """What a polymorphic rule means in one database."""

    references: tuple[Reference, ...]
    #: Value of the type column → why its rows are not rewritten: "blog_post is not a table".
    unknown: Mapping[str, str]


def references_of(schema: Schema, rules: Rules) -> tuple[Reference, ...]:
    """By child, columns and parent; each once."""
    by_child: dict[TableId, dict[Sign, Reference]] = defaultdict(dict)
    for table in schema.tables:
        found = by_child[root_of(schema, table.id)]
        for key in table.foreign_keys:
            if _why_not(schema, table.id, key.columns, key.references, key.referenced):
                continue
            reference = _of_key(schema, table, key)
            # A partition, at either end, has a copy of the root's key under another name. The root's own key stands.
            own = (table.id, key.references) == (reference.table, reference.parent)
            if own or sign(reference) not in found:
                found[sign(reference)] = reference
    for rule in rules.references:
        if _why_not(schema, rule.table, rule.columns, rule.parent, rule.referenced):
            continue
        found = by_child[root_of(schema, rule.table)]
        same = [key for key, one in found.items() if _is_about(rule, one, schema)]
        for each in same:
            found[each] = _ruled(found[each], rule)
        if not same:
            reference = _of_rule(schema, rule)
            found[sign(reference)] = reference
    every = (one for found in by_child.values() for one in found.values())
    return tuple(sorted((_without_never(one, rules) for one in every), key=sign))


def skipped_references(schema: Schema, rules: Rules) -> tuple[str, ...]:
    """The references that cannot be followed, and why, for the plan."""
    told = []
    for table in schema.tables:
        for key in table.foreign_keys:
            why = _why_not(schema, table.id, key.columns, key.references, key.referenced)
            if why:
                told.append(f"{name_of(table.id, key.columns)} is not followed: {why}")
    for rule in rules.references:
        why = _why_not(schema, rule.table, rule.columns, rule.parent, rule.referenced)
        if why:
            told.append(
                f"{name_of(rule.table, rule.columns)} of {rule.source or 'a rule'} is not followed: {why}"
            )
    return tuple(sorted(set(told)))


def polymorphic_references(
    rule: PolymorphicRule, spelled_by_value: Mapping[str, str], schema: Schema, rules: Rules
) -> Polymorphic:
    """One reference for each table that a value of the type column spells."""
    values: dict[TableId, list[str]] = {}
    unknown: dict[str, str] = {}
    for value, spelled in sorted(spelled_by_value.items()):
        parent = root_of(
            schema, _spelled(schema, rule.tables.get(spelled, spelled), (rule.types or rule.table).schema)
        )
        why = _why_not(schema, rule.table, (rule.id,), parent, ())
        if why:
            unknown[value] = why
        else:
            values.setdefault(parent, []).append(value)
    asked = ReferenceRule(
        rule.table, (rule.id,), rule.table, missing=rule.missing, when=rule.type, source=rule.source
    )
    made = (
        _of_rule(schema, replace(asked, parent=parent, values=tuple(ones)))
        for parent, ones in sorted(values.items())
    )
    return Polymorphic(tuple(_without_never(one, rules) for one in made), unknown)


def root_of(schema: Schema, table: TableId) -> TableId:
    """Of a partition, the table that its rows go in through; else the table itself."""
    found = schema.table(table)
    while found is not None and found.partition_of is not None and schema.table(found.partition_of):
        table = found.partition_of
        found = schema.table(table)
    return table


def _spelled(schema: Schema, text: str, default: str) -> TableId:
    """The table of a name as typed: `blog_post`, `blog.post`."""
    if schema.table(TableId(default, text)):
        return TableId(default, text)
    space, dot, name = text.partition(".")
    return TableId(space, name) if dot and schema.table(TableId(space, name)) else TableId(default, text)


def _of_key(schema: Schema, table: Table, key: ForeignKey) -> Reference:
    child, parent = root_of(schema, table.id), root_of(schema, key.references)
    nulls = _nulls(schema, table, key.columns, key.match)
    return Reference(
        table=child,
        columns=key.columns,
        parent=parent,
        referenced=_referenced(schema.table(key.references), key.referenced),
        name=name_of(child, key.columns),
        constraint=key.name,
        enforced=True,
        nulls=nulls,
        match=key.match,
        on_delete=key.on_delete,
        deferrable=key.deferrable,
        missing=_missing(None, nulls),
    )


def _of_rule(schema: Schema, rule: ReferenceRule) -> Reference:
    child, parent = root_of(schema, rule.table), root_of(schema, rule.parent)
    table = schema.table(child)
    assert table  # `_why_not` looked
    nulls = _nulls(schema, table, rule.columns, "SIMPLE")
    reference = Reference(
        table=child,
        columns=rule.columns,
        parent=parent,
        referenced=_referenced(schema.table(parent), rule.referenced),
        # A polymorphic column refers to several tables.
        name=name_of(child, rule.columns) + (f" ({named(parent)})" if rule.when else ""),
        nulls=nulls,
        missing=_missing(None, nulls),
        when=rule.when,
        values=rule.values,
    )
    return _ruled(reference, rule)


def _ruled(reference: Reference, rule: ReferenceRule) -> Reference:
    return replace(
        reference,
        policy=rule.policy,
        missing=_missing(rule.missing or reference.missing, reference.nulls),
        owned=rule.owned is not False and rule.policy != "never",
        source=rule.source,
    )


def _missing(asked: Missing | None, nulls: Sequence[str]) -> Missing:
    """A rule may ask for NULL where no column takes one: the row is skipped."""
    if asked in (None, "null"):
        return "null" if nulls else "skip"
    return asked


def _nulls(schema: Schema, table: Table, columns: Sequence[str], match: str) -> tuple[str, ...]:
    key = table.primary_key.columns if table.primary_key else ()
    free = tuple(
        one.name
        for one in table.columns
        if one.name in columns and one.nullable and one.generated is None
        # SQLite lets a primary key be NULL, and a row without a key is no row that can be known.
        and one.name not in key and not _never_null(schema, one.type)
    )  # fmt: skip
    return free if match != "FULL" or len(free) == len(columns) else ()


def _never_null(schema: Schema, type_: str) -> bool:
    """A domain can forbid NULL, as a constraint or as a check. Its name is always qualified."""
    return "." in type_ and any(
        f"{one.schema}.{one.name}" == type_.replace('"', "") and " NOT NULL" in one.definition
        for one in schema.objects
        if one.kind == "domain"
    )


def _without_never(reference: Reference, rules: Rules) -> Reference:
    """Tables that are never merged take no part: their rows are not created, and not below a tenant."""
    if rules.of(reference.parent).never:
        return replace(reference, policy="never", owned=False)
    return replace(reference, owned=False) if rules.of(reference.table).never else reference


def _is_about(rule: ReferenceRule, one: Reference, schema: Schema) -> bool:
    """Whether the rule speaks of a reference that is there already."""
    if (root_of(schema, rule.table), root_of(schema, rule.parent)) != (one.table, one.parent):
        return False
    if (rule.when, rule.values) != (one.when, one.values) or set(rule.columns) != set(one.columns):
        return False
    referenced = _referenced(schema.table(one.parent), rule.referenced)
    pairs = set(zip(one.columns, one.referenced, strict=True))
    return not rule.referenced or set(zip(rule.columns, referenced, strict=True)) == pairs


def _why_not(
    schema: Schema, child: TableId, columns: Sequence[str], parent: TableId, referenced: Sequence[str]
) -> str:
    """Why a reference cannot be followed in this schema; "": it can."""
    here, there = schema.table(child), schema.table(parent)
    if here is None or there is None:
        return f"{named(parent if here else child)} is not a table of the database"
    names = {one.name for one in here.columns}
    if lost := [name for name in columns if name not in names]:
        return f"{named(child)} has no column {', '.join(lost)}"
    found = _referenced(there, referenced)
    if not found:
        return f"{named(parent)} has no primary key"
    names = {one.name for one in there.columns}
    if lost := [name for name in found if name not in names]:
        return f"{named(parent)} has no column {', '.join(lost)}"
    if len(found) != len(columns):
        return f"it has {len(columns)} columns, and the key of {named(parent)} has {len(found)}"
    return ""


def _referenced(parent: Table | None, names: Sequence[str]) -> tuple[str, ...]:
    """The columns as the parent spells them: SQLite keeps a foreign key as it was typed, in any case."""
    if parent is None:
        return ()
    exact = {one.name for one in parent.columns}
    lower = {one.name.lower(): one.name for one in parent.columns}
    if not names:
        return parent.primary_key.columns if parent.primary_key else ()
    return tuple(name if name in exact else lower.get(name.lower(), name) for name in names)
