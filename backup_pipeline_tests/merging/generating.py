"""Random schemas, rows, damage and life, for Hypothesis. Values come from small sets, so that rows meet by chance."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from hypothesis import strategies as st

from backup_pipeline.databases.merge.asked import Verbs
from backup_pipeline_tests.merging.shapes import (
    BIRTH,
    Condition,
    Design,
    Kind,
    Reference,
    Row,
    Rows,
    Shape,
    Unique,
    Value,
)
from backup_pipeline_tests.merging.terms import Ask, every, is_generated_key, owner_of, parent_in

Thing = TypeVar("Thing")

VALUES: dict[Kind, Sequence[Value]] = {
    "int": (0, 1, 2, 3, 4),
    "text": ("a", "b", "c", "d", "e", "f"),
    "bool": (False, True),
    "moment": tuple(f"2026-11-0{day} 08:15:00" for day in (1, 2, 3, 4)),
    "uuid": tuple(f"00000000-0000-4000-8000-00000000000{one}" for one in range(1, 9)),
}
KEYS: Sequence[Value] = (1, 2, 3, 4, 5, 6, 7, 8)
PLAIN: dict[str, Kind] = {"name": "text", "size": "int", "on": "bool", "tag": "text"}
#: Bytes; most cases need no more.
TAPE = 500
NAMES = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta")


@dataclass(frozen=True)
class Case:
    design: Design
    backup: Rows
    live: Rows
    ask: Ask
    #: The sequences of the target begin at 1 again.
    reset: bool
    #: A plan is made before.
    planned: bool = True
    #: The same merge is made again.
    repeated: bool = True


class Dice:
    """Throws that stand on a tape of bytes. Hypothesis draws the tape in one go, and shrinks it byte by byte: that is ten
    times as quick as a draw for each throw, and each case is as rich as the others. After the end of the tape all are 0."""

    def __init__(self, tape: bytes) -> None:
        self.tape, self.at = tape, 0

    def number(self, below: int) -> int:
        self.at += 1
        return self.tape[self.at - 1] % below if self.at <= len(self.tape) else 0

    def chance(self, percent: int) -> bool:
        """False is simpler."""
        return 0 < self.number(100) <= percent

    def one(self, things: Sequence[Thing]) -> Thing:
        return things[self.number(len(things))]

    def some(self, things: Sequence[Thing], most: int) -> list[Thing]:
        left = list(things)
        return [left.pop(self.number(len(left))) for _ in range(min(self.number(most + 1), len(left)))]


# Schemas


def key_of(dice: Dice, name: str, earlier: Sequence[Shape]) -> Shape:
    """A table with its key only."""
    columns: dict[str, Kind]
    kind = dice.one(("number", "number", "number", "uuid", "text", "none", "pair", "line", "parent"))
    parents = [one for one in earlier if len(one.key) == 1]
    if kind == "pair" and parents:
        one, other = dice.one(parents), dice.one(parents)
        columns = {
            "one_id": one.columns[one.key[0]],
            "other_id": other.columns[other.key[0]],
        }
        both = (Reference(("one_id",), one.name, one.key), Reference(("other_id",), other.name, other.key))
        return Shape(name, columns, key=("one_id", "other_id"), generated=False, references=both)
    if kind in ("line", "parent") and parents:
        parent = dice.one(parents)
        columns = {"up_id": parent.columns[parent.key[0]]}
        if kind == "line":
            columns["line"] = "int"
        references = (Reference(("up_id",), parent.name, parent.key),)
        return Shape(name, columns, key=tuple(columns), generated=False, references=references)
    if kind == "none":
        return Shape(name, {"n": "int"}, frozenset({"n"}), key=(), generated=False)
    if kind == "text":
        return Shape(name, {"code": "text"}, key=("code",), generated=False)
    return Shape(name, {"id": "uuid" if kind == "uuid" else "int"})


def with_columns(dice: Dice, shape: Shape) -> Shape:
    columns, nullable = dict(shape.columns), set(shape.nullable)
    for name in dice.some(tuple(PLAIN), 3):
        columns[name] = PLAIN[name]
        if dice.chance(50):
            nullable.add(name)
    if dice.chance(30):
        columns[BIRTH] = "moment"
        if dice.chance(40):
            nullable.add(BIRTH)
    own = [name for name in columns if shape.reference_of(name) is None and columns[name] in ("text", "int")]
    own = [name for name in own if name not in shape.key]
    uniques = [Unique((dice.one(own),))] if own and dice.chance(45) else []
    return replace(shape, columns=columns, nullable=frozenset(nullable), uniques=tuple(uniques))


def with_references(dice: Dice, shape: Shape, shapes: Sequence[Shape]) -> Shape:
    columns, nullable, references = dict(shape.columns), set(shape.nullable), list(shape.references)
    for number in range(dice.one((0, 1, 1, 2))):
        parent = dice.one(shapes)
        ways = [key for key in (parent.key, *(one.columns for one in parent.uniques)) if key]
        if not ways:
            continue
        referenced = dice.one(ways)
        made = tuple(f"{parent.name}{number}_{column}" for column in referenced)
        columns.update(zip(made, (parent.columns[column] for column in referenced), strict=True))
        if dice.chance(60):
            nullable.update(made)
        enforced = not dice.chance(15)
        policy = dice.one(("ensure", "ensure", "ensure", "update", "never"))
        missing = dice.one((None, None, None, "skip", None if enforced else "keep"))
        references.append(Reference(made, parent.name, referenced, enforced, policy, missing))  # type: ignore[arg-type]
    return replace(shape, columns=columns, nullable=frozenset(nullable), references=tuple(references))


def with_uniques(dice: Dice, shape: Shape) -> Shape:
    """Over references too, and partial ones."""
    others = [name for name in shape.columns if name not in shape.key or shape.reference_of(name) is not None]
    others = [name for name in others if shape.columns[name] != "bool"]
    uniques = list(shape.uniques)
    for _ in range(dice.one((0, 1, 1, 2))):
        chosen = tuple(sorted(dice.some(others, 2)))
        if not chosen or any(one.columns == chosen for one in uniques) or set(chosen) == set(shape.key):
            continue
        conditions = [Condition("on", True)] if "on" in shape.columns else []
        conditions += [Condition(name, None) for name in ("tag", BIRTH) if name in shape.nullable]
        partial = bool(conditions) and dice.chance(30)
        uniques.append(Unique(chosen, dice.one(conditions) if partial else None))
    natural: tuple[tuple[str, ...], ...] = ()
    if others and dice.chance(15):
        natural = (tuple(sorted({dice.one(others), dice.one(others)})),)
    plain = [name for name in shape.columns if name not in shape.key and shape.reference_of(name) is None]
    keep = (dice.one(plain),) if plain and dice.chance(10) else ()
    return replace(shape, uniques=tuple(uniques), natural_keys=natural, keep=keep, never=dice.chance(5))


def design(dice: Dice) -> Design:
    shapes: list[Shape] = []
    for name in NAMES[: dice.one((2, 2, 3, 3, 3, 4, 6))]:
        shapes.append(with_columns(dice, key_of(dice, name, shapes)))
    shapes = [with_references(dice, one, shapes) for one in shapes]
    return Design(tuple(with_uniques(dice, one) for one in shapes))


# Rows


def value_of(dice: Dice, shape: Shape, column: str) -> Value:
    if column in shape.nullable and dice.chance(25):
        return None
    if shape.generated and shape.key == (column,) and shape.columns[column] == "int":
        return dice.one(KEYS)
    return dice.one(VALUES[shape.columns[column]])


def row_of(dice: Dice, shape: Shape, rows: Rows) -> Row:
    """Its references go to rows of `rows`, where there are some."""
    row = {column: value_of(dice, shape, column) for column in shape.columns}
    for one in shape.references:
        parents = rows[one.parent]
        if parents and not (set(one.columns) <= shape.nullable and dice.chance(20)):
            parent = dice.one(parents)
            row.update(zip(one.columns, (parent[column] for column in one.referenced), strict=True))
    return row


def rows_of(dice: Dice, design: Design) -> Rows:
    rows: Rows = {shape.name: [] for shape in design.shapes}
    for shape in design.shapes:
        rows[shape.name] = [row_of(dice, shape, rows) for _ in range(dice.one((3, 4, 5, 6, 7, 8, 2, 1, 0)))]
    for shape in design.shapes:
        for number, row in enumerate(rows[shape.name]):
            if is_generated_key(shape) and not shape.has_uuid:
                row[shape.key[0]] = KEYS[number]
            for one in shape.references:
                parents = rows[one.parent]
                if (
                    parents
                    and None not in (row[c] for c in one.columns)
                    and parent_in(rows, one, row) is None
                ):
                    parent = dice.one(parents)
                    row.update(zip(one.columns, (parent[c] for c in one.referenced), strict=True))
    return repaired(design, rows)


def repaired(design: Design, rows: Rows) -> Rows:
    """Without the rows that the database would refuse."""
    kept: Rows = {shape.name: [] for shape in design.shapes}
    for shape in design.shapes:
        keys = [Unique(shape.key)] if shape.key else []
        taken: set[tuple[object, ...]] = set()
        for row in rows[shape.name]:
            values = [
                (key, *(row[column] for column in key.columns))
                for key in (*keys, *shape.uniques)
                if key.condition is None or key.condition.meets(row)
                if all(row[column] is not None for column in key.columns)
            ]
            nulls = any(row[column] is None for column in shape.columns if column not in shape.nullable)
            if not nulls and taken.isdisjoint(values):
                taken.update(values)
                kept[shape.name].append(row)
    while dangling := [
        row
        for (table, _), row in every(kept)
        for one in design.by_name[table].references
        if None not in (row[c] for c in one.columns) and parent_in(kept, one, row) is None
        if one.enforced or not was_a_key(design, kept, one, row)
    ]:
        gone = {id(row) for row in dangling}
        kept = {table: [row for row in some if id(row) not in gone] for table, some in kept.items()}
    return kept


def was_a_key(design: Design, rows: Rows, one: Reference, row: Row) -> bool:
    """Of a value that refers to no row: no new row can get it as its key."""
    parent = design.by_name[one.parent]
    if not is_generated_key(parent) or parent.has_uuid or one.referenced != parent.key:
        return True
    top = max((number for there in rows[one.parent] if isinstance(number := there["id"], int)), default=0)
    value = row[one.columns[0]]
    return isinstance(value, int) and value <= top


# Damage and life


def lived(dice: Dice, design: Design, backup: Rows) -> Rows:
    """What became of the database since."""
    rows = copy.deepcopy(backup)
    for _ in range(dice.one((2, 4, 6, 8, 10, 12, 1, 0))):
        shape = dice.one(design.shapes)
        some = rows[shape.name]
        what = dice.one(("delete", "change", "new", "change", "reused", "wipe"))
        if what == "new":
            some.append(row_of(dice, shape, rows))
        elif what == "wipe" and dice.chance(40):
            some.clear()
        elif what == "delete" and some:
            del some[dice.number(len(some))]
        elif what == "reused" and some and shape.key:
            old = some.pop(dice.number(len(some)))
            some.append({**row_of(dice, shape, rows), **{column: old[column] for column in shape.key}})
        elif some:
            others = tuple(c for c in shape.columns if c not in shape.key)
            column = dice.one(others if others and not dice.chance(15) else tuple(shape.columns))
            some[dice.number(len(some))][column] = value_of(dice, shape, column)
    return repaired(design, rows)


def renumbered(dice: Dice, design: Design, rows: Rows) -> Rows:
    """The same rows in another database: every generated number is another."""
    turn = 1 + dice.number(7)
    made = copy.deepcopy(rows)
    numbered = {one.name for one in design.shapes if is_generated_key(one) and not one.has_uuid}
    for (table, _), row in every(made):
        for column, value in row.items():
            if isinstance(value, int) and owner_of(design, table, column) in numbered:
                row[column] = (value - 1 + turn) % len(KEYS) + 1
    return made


def order(dice: Dice, design: Design, backup: Rows) -> Ask:
    tables = tuple(one.name for one in design.shapes)
    only = frozenset(dice.some(tables, 3)) if dice.chance(30) else frozenset()
    skip = frozenset(dice.some(tables, 1)) if dice.chance(15) else frozenset()
    where: dict[str, Condition] = {}
    if dice.chance(20):
        shape = dice.one(design.shapes)
        column = dice.one(tuple(shape.columns))
        where[shape.name] = Condition(column, value_of(dice, shape, column))
    tenant = None
    tops = [(table, row) for (table, _), row in every(backup) if design.by_name[table].key]
    tops = [(table, row) for table, row in tops if not design.by_name[table].never]
    if tops and dice.chance(20):
        table, row = dice.one(tops)
        tenant = (table, design.by_name[table].key_of(row))
    update = dice.chance(50)
    # A merge of a tenant does not delete yet.
    newest = BIRTH if update and dice.chance(20) else ""
    verbs = Verbs(
        create=not dice.chance(10), update=update, newest=newest, delete=dice.chance(25) and tenant is None
    )
    return Ask(
        only=only or None,
        skip=skip,
        where=where,
        tenant=tenant,
        verbs=verbs,
        same_lineage=not dice.chance(30),
    )


def case_of(tape: bytes) -> Case:
    dice = Dice(tape)
    made = design(dice)
    backup = rows_of(dice, made)
    ask = order(dice, made, backup)
    live = lived(dice, made, backup)
    if not ask.same_lineage:
        live = renumbered(dice, made, live)
    return Case(made, backup, live, ask, dice.chance(20), dice.chance(30), dice.chance(50))


def cases() -> st.SearchStrategy[Case]:
    return st.binary(min_size=TAPE, max_size=TAPE).map(case_of)
