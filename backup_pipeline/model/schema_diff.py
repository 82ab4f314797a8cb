"""What differs between two schemas, as data. Its users put a change into words: the drill, and the drift of a system.

Not here: what is excused, and how bad a change is. A user leaves that out of the schemas, or judges the change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from backup_pipeline.model.schema import Index, Table, TableId

K = TypeVar("K")
V = TypeVar("V")
Verb = Literal["removed", "added", "changed"]

#: Of a table, the fields whose members have names.
PARTS = {
    "columns": "column",
    "uniques": "unique constraint",
    "foreign_keys": "foreign key",
    "checks": "check",
    "indexes": "index",
}
_FIELDS = tuple(one.name for one in fields(Table) if one.name not in ("id", *PARTS))


@dataclass(frozen=True, slots=True)
class Change:
    verb: Verb
    #: "table", a member of a table ("column", "index" …), "column order", or a field of a table ("owner", "primary key" …).
    what: str
    #: Of the member; of the table where the table or a field of it changed.
    name: str
    table: TableId
    before: Any = None
    after: Any = None


def compared(old: Mapping[K, V], new: Mapping[K, V]) -> Iterator[tuple[Verb, K]]:
    """What is gone, then what is new, then what is another one."""
    yield from (("removed", key) for key in old if key not in new)
    yield from (("added", key) for key in new if key not in old)
    yield from (("changed", key) for key in old if key in new and old[key] != new[key])


def of_tables(old: Iterable[Table], new: Iterable[Table]) -> Iterator[Change]:
    before, after = ({one.id: one for one in sorted(tables, key=lambda one: one.id)} for tables in (old, new))
    for verb, key in compared(before, after):
        if verb != "changed":
            yield Change(verb, "table", str(key), key, before.get(key), after.get(key))
        else:
            yield from of_table(before[key], after[key])


def of_table(old: Table, new: Table) -> Iterator[Change]:
    for field, what in PARTS.items():
        before, after = _named(getattr(old, field)), _named(getattr(new, field))
        for verb, name in compared(before, after):
            yield Change(verb, what, name, old.id, before.get(name), after.get(name))
    names = {one.name for one in old.columns} & {one.name for one in new.columns}
    first, second = ([one.name for one in table.columns if one.name in names] for table in (old, new))
    if first != second:
        yield Change("changed", "column order", str(old.id), old.id, first, second)
    for field in _FIELDS:
        before, after = getattr(old, field), getattr(new, field)
        if before != after:
            yield Change("changed", field.replace("_", " "), str(old.id), old.id, before, after)


def _named(members: Iterable[Any]) -> dict[str, Any]:
    """The definition of an index says the same as its parts, which a backup of an older version lacks."""
    return {
        one.name: Index(one.name, one.definition, one.unique) if isinstance(one, Index) else one
        for one in members
    }
