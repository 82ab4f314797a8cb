"""A schema in a few words: what the model of a merge, the generator and the DDL of both engines are made from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from backup_pipeline.databases.merge.rules import Policy, ReferenceRule, Rules, TableRule
from backup_pipeline.model.schema import TableId

Engine = Literal["postgres", "sqlite"]
#: Values are int, str and bool. A moment and a UUID are text, spelled as the engines spell them.
Kind = Literal["int", "text", "bool", "moment", "uuid"]
Value = int | str | bool | None
Row = dict[str, Value]
#: Table → its rows.
Rows = dict[str, list[Row]]

BIRTH = "created_at"
SCHEMA = {"postgres": "public", "sqlite": "main"}
TYPES: dict[Engine, dict[Kind, str]] = {
    "postgres": {"int": "bigint", "text": "text", "bool": "boolean", "moment": "timestamp", "uuid": "uuid"},
    "sqlite": {"int": "bigint", "text": "text", "bool": "boolean", "moment": "timestamp", "uuid": "uuid"},
}


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def names(columns: tuple[str, ...]) -> str:
    return ", ".join(quoted(column) for column in columns)


@dataclass(frozen=True)
class Condition:
    """`column = value`, and `column IS NULL`."""

    column: str
    value: Value

    def meets(self, row: Mapping[str, Value]) -> bool:
        return row[self.column] == self.value

    @property
    def sql(self) -> str:
        if self.value is None:
            return f"{quoted(self.column)} IS NULL"
        if isinstance(self.value, bool):
            return f"{quoted(self.column)} = {str(self.value).upper()}"
        return f"{quoted(self.column)} = " + (
            f"'{self.value}'" if isinstance(self.value, str) else str(self.value)
        )


@dataclass(frozen=True)
class Unique:
    columns: tuple[str, ...]
    #: Of a partial unique index.
    condition: Condition | None = None


@dataclass(frozen=True)
class Reference:
    columns: tuple[str, ...]
    parent: str
    referenced: tuple[str, ...] = ("id",)
    #: False: only a rule knows it.
    enforced: bool = True
    policy: Policy = "ensure"
    missing: Literal["null", "skip", "keep"] | None = None


@dataclass(frozen=True)
class Shape:
    """One table."""

    name: str
    columns: Mapping[str, Kind]
    nullable: frozenset[str] = frozenset()
    key: tuple[str, ...] = ("id",)
    #: The key is one column that a generator fills: numbers, or UUIDs.
    generated: bool = True
    uniques: tuple[Unique, ...] = ()
    references: tuple[Reference, ...] = ()
    #: What a rule says.
    natural_keys: tuple[tuple[str, ...], ...] = ()
    keep: tuple[str, ...] = ()
    never: bool = False

    @property
    def has_uuid(self) -> bool:
        """A reference is no such key: it names the parent."""
        one = len(self.key) == 1 and self.reference_of(self.key[0]) is None
        return one and self.columns[self.key[0]] == "uuid"

    def reference_of(self, column: str) -> Reference | None:
        return next((one for one in self.references if column in one.columns), None)

    def key_of(self, row: Mapping[str, Value]) -> tuple[Value, ...]:
        return tuple(row[column] for column in self.key)


@dataclass(frozen=True)
class Design:
    """A whole schema. `cyclic` foreign keys are made after all tables."""

    shapes: tuple[Shape, ...]
    by_name: Mapping[str, Shape] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {one.name: one for one in self.shapes})

    def referenced(self, table: str) -> frozenset[str]:
        """The columns of a table that a reference refers to."""
        return frozenset(
            column
            for shape in self.shapes
            for one in shape.references
            if one.parent == table
            for column in one.referenced
        )

    def rules(self, engine: Engine) -> Rules:
        def of(name: str) -> TableId:
            return TableId(SCHEMA[engine], name)

        return Rules(
            tables={
                of(one.name): TableRule(
                    natural_keys=one.natural_keys, keep=one.keep, never="bookkeeping" if one.never else ""
                )
                for one in self.shapes
                if one.natural_keys or one.keep or one.never
            },
            references=tuple(
                ReferenceRule(
                    of(shape.name),
                    one.columns,
                    of(one.parent),
                    one.referenced,
                    policy=one.policy,
                    missing=one.missing,
                )
                for shape in self.shapes
                for one in shape.references
                if not one.enforced or one.policy != "ensure" or one.missing
            ),
        )

    def ddl(self, engine: Engine) -> Iterator[str]:
        for shape in self.shapes:
            yield _table(shape, engine)
        for shape in self.shapes:
            yield from _additions(shape, engine)


def _column(shape: Shape, name: str, engine: Engine) -> str:
    kind = shape.columns[name]
    if shape.generated and shape.key == (name,) and kind == "int":
        return f"{quoted(name)} " + (
            "bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"
            if engine == "postgres"
            else "INTEGER PRIMARY KEY"
        )
    return f"{quoted(name)} {TYPES[engine][kind]}{'' if name in shape.nullable else ' NOT NULL'}"


def _foreign_key(one: Reference) -> str:
    return f"FOREIGN KEY ({names(one.columns)}) REFERENCES {quoted(one.parent)} ({names(one.referenced)})"


def _table(shape: Shape, engine: Engine) -> str:
    parts = [_column(shape, name, engine) for name in shape.columns]
    numbered = shape.generated and not shape.has_uuid
    if shape.key and not numbered:
        parts.append(f"PRIMARY KEY ({names(shape.key)})")
    parts += [f"UNIQUE ({names(one.columns)})" for one in shape.uniques if one.condition is None]
    if engine == "sqlite":
        parts += [_foreign_key(one) for one in shape.references if one.enforced]
    return f"CREATE TABLE {quoted(shape.name)} ({', '.join(parts)})"


def _additions(shape: Shape, engine: Engine) -> Iterator[str]:
    """Foreign keys of PostgreSQL can make a circle only after the tables exist."""
    if engine == "postgres":
        for one in shape.references:
            if one.enforced:
                yield f"ALTER TABLE {quoted(shape.name)} ADD {_foreign_key(one)}"
    for number, unique in enumerate(shape.uniques):
        if unique.condition is not None:
            yield (
                f"CREATE UNIQUE INDEX {quoted(f'{shape.name}_{number}')} ON {quoted(shape.name)}"
                f" ({names(unique.columns)}) WHERE {unique.condition.sql}"
            )
