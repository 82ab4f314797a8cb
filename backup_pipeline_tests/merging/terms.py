"""The words of the model of a merge: rows, keys, references and answers, and how a row is looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from backup_pipeline.databases.merge.asked import Verbs
from backup_pipeline_tests.merging.shapes import Condition, Design, Reference, Row, Rows, Shape, Value

#: A row of the backup or of the target: its table, and its place in the list.
At = tuple[str, int]
Values = tuple[Value, ...]


@dataclass(frozen=True)
class Fresh:
    """A key that the target gives to a new row: any value that no other row has."""

    row: At


#: As the target will have them.
Written = tuple[Value | Fresh, ...]


@dataclass(frozen=True, kw_only=True)
class Ask:
    only: frozenset[str] | None = None
    skip: frozenset[str] = frozenset()
    where: Mapping[str, Condition] = field(default_factory=dict)
    #: A table, and the key of a row.
    tenant: tuple[str, Values] | None = None
    verbs: Verbs = field(default_factory=Verbs)
    same_lineage: bool = True
    #: Table and key in the backup → key in the target.
    remembered: Mapping[tuple[str, Values], Values] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What became of a staged row."""

    step: str = ""
    #: The row of the target.
    live: At | None = None
    conflict: str = ""
    #: Rows of the target that a conflict names.
    names: frozenset[At] = frozenset()

    @property
    def is_new(self) -> bool:
        return self.live is None and not self.conflict


STEPS = ("remembered", "same key", "natural key", "uuid", "content")


@dataclass(frozen=True)
class Parent:
    """What a reference of a staged row translates to."""

    what: str  # none · waits · missing · known
    values: Written = ()
    #: Of a new row.
    row: At | None = None


@dataclass(frozen=True)
class NaturalKey:
    columns: tuple[str, ...]
    condition: Condition | None = None


def every(rows: Rows) -> Iterator[tuple[At, Row]]:
    return (((table, number), row) for table, some in rows.items() for number, row in enumerate(some))


def find(rows: list[Row], columns: tuple[str, ...], values: Values) -> int | None:
    return next(
        (at for at, row in enumerate(rows) if tuple(row[column] for column in columns) == values), None
    )


def parent_in(rows: Rows, one: Reference, row: Row) -> At | None:
    values = tuple(row[column] for column in one.columns)
    found = None if None in values else find(rows[one.parent], one.referenced, values)
    return None if found is None else (one.parent, found)


def order(shape: Shape, row: Row) -> tuple[str, ...]:
    """Of keys that a generator makes; a UUID never comes here."""
    return tuple(f"{value:020d}" if isinstance(value, int) else str(value) for value in shape.key_of(row))


def compared_columns(shape: Shape) -> tuple[str, ...]:
    return tuple(c for c in shape.columns if not (is_generated_key(shape) and c in shape.key))


def is_generated_key(shape: Shape) -> bool:
    one = len(shape.key) == 1 and shape.reference_of(shape.key[0]) is None
    return one and (shape.generated or shape.has_uuid)


def owner_of(design: Design, table: str, column: str) -> str:
    """The table whose generated key the values of a column are; "": of none."""
    shape = design.by_name[table]
    if is_generated_key(shape) and column == shape.key[0]:
        return table
    one = shape.reference_of(column)
    if one is None or one.referenced[one.columns.index(column)] not in design.by_name[one.parent].key:
        return ""
    return owner_of(design, one.parent, one.referenced[one.columns.index(column)])


def candidates(shape: Shape) -> Iterator[NaturalKey]:
    yield from (NaturalKey(columns) for columns in shape.natural_keys)
    generated = set(shape.key) if is_generated_key(shape) else set()
    if shape.key and not generated:
        yield NaturalKey(shape.key)
    for unique in shape.uniques:
        if not generated & set(unique.columns):
            yield NaturalKey(unique.columns, unique.condition)


def live_values(shape: Shape, key: NaturalKey, row: Mapping[str, Value]) -> Values | None:
    """The values of a natural key, as the row has them. None: it has a NULL, or the row does not meet its condition."""
    if key.condition is not None and not key.condition.meets(row):
        return None
    values = tuple(row[column] for column in key.columns)
    if all(value is None for value in values):
        return None
    if any(row[column] is None and shape.reference_of(column) is None for column in key.columns):
        return None
    return values
