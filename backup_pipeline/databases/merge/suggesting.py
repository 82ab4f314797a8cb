"""References that a database seems to have and does not enforce: found by names and types, and never followed by themselves.

Belongs here: guesses with their evidence. A plan names them, and a person writes the right ones into `references:`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from backup_pipeline.databases.merge.fitting import base
from backup_pipeline.databases.merge.graph import Reference, name_of
from backup_pipeline.databases.merge.rules import PolymorphicRule, ReferenceRule
from backup_pipeline.model.affinity import affinity
from backup_pipeline.model.schema import Column, Schema, Table

#: user_id, userId, UserID. Without the mark of a new word, `paid` would refer to `pa`.
_NAME = re.compile(r"(.+?)(?:_(?:id|uuid|ID)|(?<=[a-z0-9])(?:Id|ID|Uuid))")
_INTEGERS = ("smallint", "integer", "bigint")


@dataclass(frozen=True, slots=True)
class Suggestion:
    #: What a person would write.
    rule: ReferenceRule
    #: "orders.customerId looks like a reference to customers.id: by its name, and both are integer"
    evidence: str


def suggested_references(
    schema: Schema, references: Iterable[Reference], polymorphic: Iterable[PolymorphicRule] = ()
) -> tuple[Suggestion, ...]:
    """For columns that no reference and no rule speaks of. A name that fits two tables suggests none."""
    known = {(one.table, column) for one in references for column in one.columns}
    known |= {(one.table, one.id) for one in polymorphic}
    tables = [
        one for one in schema.tables if one.kind in ("table", "partitioned") and one.partition_of is None
    ]
    by_name: dict[str, list[Table]] = defaultdict(list)
    for table in tables:
        for name in _names(table):
            by_name[name].append(table)
    found = [
        suggestion
        for table in tables
        for column in table.columns
        if (table.id, column.name) not in known
        for suggestion in _suggested(schema, table, column, by_name)
    ]
    return tuple(sorted(found, key=lambda one: (one.rule.table, one.rule.columns)))


def _suggested(
    schema: Schema, table: Table, column: Column, by_name: Mapping[str, list[Table]]
) -> Iterator[Suggestion]:
    match = _NAME.fullmatch(column.name)
    if match is None:
        return
    stem = _plain(match[1])
    # With a column of its own for the type it may refer to several tables.
    if any(_plain(other.name) == f"{stem}type" for other in table.columns):
        return
    fitting = [table] if stem == "parent" else _nearest(table, by_name.get(stem, ()))
    parents = [one for one in fitting if _fits(schema, table, column, one)]
    if len(parents) == 1:
        key = _key(parents[0])
        assert key  # `_fits` looked
        rule = ReferenceRule(table.id, (column.name,), parents[0].id)
        child, parent = name_of(table.id, (column.name,)), name_of(parents[0].id, (key.name,))
        types = column.type if column.type == key.type else f"{column.type} and {key.type}"
        yield Suggestion(
            rule, f"{child} looks like a reference to {parent} by its name and its type ({types})"
        )


def _plain(name: str) -> str:
    return name.lower().replace("_", "")


def _names(table: Table) -> set[str]:
    """What a column may call one row of a table: `auth_user` and `users` hold a user, `shop_categories` a category."""
    found = set()
    for name in (table.id.name, table.id.name.partition("_")[2]):
        plain = _plain(name)
        found |= {plain, plain.removesuffix("s"), plain.removesuffix("es")}
        found |= {plain.removesuffix("ies") + "y"} if plain.endswith("ies") else set()
    return found - {""}


def _nearest(child: Table, parents: Iterable[Table]) -> list[Table]:
    """Of tables in several schemas or applications, those of the child's own come first."""
    same = [one for one in parents if one.id.schema == child.id.schema] or list(parents)
    prefix = child.id.name.partition("_")[0]
    return [one for one in same if one.id.name.partition("_")[0] == prefix and one.id != child.id] or same


def _key(table: Table) -> Column | None:
    key = table.primary_key.columns if table.primary_key else ()
    return next((one for one in table.columns if (one.name,) == key), None)


def _fits(schema: Schema, child: Table, column: Column, parent: Table) -> bool:
    key = _key(parent)
    # `user_id` is the key of `user` itself.
    if key is None or (parent.id == child.id and key.name == column.name):
        return False
    if schema.engine == "sqlite":
        return affinity(key.type) == affinity(column.type)
    one, other = base(key.type), base(column.type)
    return one == other or (one in _INTEGERS and other in _INTEGERS)
