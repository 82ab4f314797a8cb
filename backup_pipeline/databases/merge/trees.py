"""Trees whose rows hold their place as a path: the path of the parent, and one step. A new row goes below its parent as the
target has it; where another row has that place by now, it becomes the last child.

Depths and numbers of children follow from the paths: rules compute them again (`deriving`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import as_text, position_in
from backup_pipeline.databases.merge.graph import name_of
from backup_pipeline.databases.merge.relations import Act, Column, Relation, Run

#: The digits of a step.
DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def place(run: Run) -> None:
    """Give new rows their paths in staging."""
    for relation in run.relations.values():
        column = relation.shape.tree_path
        if column and relation.shape.table not in run.empty and relation.shape.source(column) is not None:
            _Tree(run, relation, column).place()


@dataclass(frozen=True)
class _Tree:
    run: Run
    relation: Relation
    column: str

    def place(self) -> None:
        run, relation, places = self.run, self.relation, self.places
        step = self._step()
        if step == 0:
            return
        run.make(places, ["n"], ["old"])
        rows, map, target = relation.staged.alias(), relation.map, relation.target.alias()
        joined = rows.join(map, rows.c.n == map.c.n)
        matched = joined.join(target, relation.same_key(map, target))
        old = relation.at(rows, self.column)
        query = (
            sa.select(map.c.n, old, target.c[self.column]).select_from(matched).where(map.c.act == Act.MATCH)
        )
        run.do(places.insert().from_select(["n", "old", "new"], query))
        new = sa.select(map.c.n, as_text(old).label("old")).select_from(joined).where(map.c.act == Act.NEW)
        lengths = sa.select(sa.func.length(new.subquery().c.old)).distinct()
        for length in sorted(int(one) for (one,) in run.all(lengths)):
            self._level(new.where(sa.func.length(old) == length).subquery(), length, step)
        self._write()

    @property
    def places(self) -> sa.Table:
        return self.relation.scratch(
            "p", sa.Column("n", sa.BigInteger), sa.Column("old", sa.Text), sa.Column("new", sa.Text)
        )

    def _step(self) -> int:
        """The path of a root is one step."""
        sides = (self.relation.target.c[self.column], self.relation.at(self.relation.staged, self.column))
        found = [self.run.one(sa.select(sa.func.min(sa.func.length(one)))) for one in sides]
        return min((int(one) for one in found if one), default=0)

    def _level(self, new: sa.FromClause, length: int, step: int) -> None:
        """The children of parents that have their places."""
        wanted, places, target = self._wanted(new, length, step), self.places, self.relation.target.alias()
        path = wanted.c.above.concat(wanted.c.step)
        times = sa.func.row_number().over(partition_by=[wanted.c.above, wanted.c.step], order_by=wanted.c.n)
        has = sa.select(sa.literal(1)).select_from(target).where(target.c[self.column] == path).exists()
        tried = sa.select(
            wanted.c.n, wanted.c.old, path.label("new"), times.label("times"), has.label("taken")
        ).subquery()
        free = sa.select(tried.c.n, tried.c.old, tried.c.new).where(tried.c.times == 1, ~tried.c.taken)
        self.run.do(places.insert().from_select(["n", "old", "new"], free))
        left = (
            sa.select(wanted)
            .where(~sa.select(places.c.n).where(places.c.n == wanted.c.n).exists())
            .subquery()
        )
        if self.run.one(sa.select(left.c.n).limit(1)) is not None:
            self.run.do(places.insert().from_select(["n", "old", "new"], self._behind(left, step)))

    def _wanted(self, new: sa.FromClause, length: int, step: int) -> sa.Subquery:
        """n, old, the path above it in the target, and its step."""
        last = sa.func.substr(new.c.old, length - step + 1)
        if length == step:
            return sa.select(new.c.n, new.c.old, sa.literal("").label("above"), last.label("step")).subquery()
        above = sa.func.substr(new.c.old, 1, length - step)
        parent, target = self.places.alias(), self.relation.target.alias()
        joined = new.outerjoin(parent, parent.c.old == above)
        found: Column = parent.c.new
        if self.run.same_lineage:
            # A parent that takes no part has the path that it had.
            joined = joined.outerjoin(target, target.c[self.column] == above)
            found = sa.func.coalesce(parent.c.new, as_text(target.c[self.column]))
        chosen = sa.select(new.c.n, new.c.old, found.label("above"), last.label("step"))
        return chosen.select_from(joined).where(found.is_not(None)).subquery()

    def _behind(self, left: sa.FromClause, step: int) -> sa.Select[Any]:
        """As the last children of their parents."""
        target, places = self.relation.target.alias(), self.places.alias()
        paths = sa.union_all(
            sa.select(as_text(target.c[self.column]).label("path")), sa.select(places.c.new)
        ).subquery()
        size = sa.func.length(paths.c.path)
        above = sa.func.substr(paths.c.path, 1, size - step)
        number = _number(sa.func.substr(paths.c.path, size - step + 1), step)
        highest = (
            sa.select(above.label("above"), sa.func.max(number).label("number"))
            .where(above.in_(sa.select(left.c.above)))
            .group_by(above)
            .subquery()
        )
        order = sa.func.row_number().over(partition_by=left.c.above, order_by=left.c.old)
        joined = left.join(highest, highest.c.above == left.c.above)
        given = sa.select(left.c.n, left.c.old, left.c.above, (highest.c.number + order).label("number"))
        behind = given.select_from(joined).subquery()
        return sa.select(behind.c.n, behind.c.old, behind.c.above.concat(_spelled(behind.c.number, step)))

    def _write(self) -> None:
        relation, map, places = self.relation, self.relation.map, self.places
        staged = relation.staged
        new = sa.select(places.c.n, places.c.new).join(map, map.c.n == places.c.n).where(map.c.act == Act.NEW)
        source = new.subquery()
        column = f"c{relation.shape.source(self.column)}"
        self.run.do(sa.update(staged).where(staged.c.n == source.c.n).values({column: source.c.new}))
        lost = sa.update(map).where(
            map.c.act == Act.NEW, ~sa.select(places.c.n).where(places.c.n == map.c.n).exists()
        )
        why = f"parent-missing: {name_of(relation.shape.table, [self.column])}"
        self.run.do(lost.values(act=int(Act.SKIP), why=why))


def _number(step: Column, length: int) -> Column:
    digits = [position_in(sa.literal(DIGITS), sa.func.substr(step, at, 1)) - 1 for at in range(1, length + 1)]
    total: Column = digits[0] * len(DIGITS) ** (length - 1)
    for at, digit in enumerate(digits[1:], 2):
        total = total + digit * len(DIGITS) ** (length - at)
    return total


def _spelled(number: Column, length: int) -> Column:
    places = [number // len(DIGITS) ** (length - at) % len(DIGITS) + 1 for at in range(1, length + 1)]
    # PostgreSQL's substr takes no bigint.
    digits = [sa.func.substr(sa.literal(DIGITS), sa.cast(one, sa.Integer), 1) for one in places]
    text: Column = digits[0]
    for digit in digits[1:]:
        text = text.concat(digit)
    return text
