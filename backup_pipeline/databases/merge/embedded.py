"""Keys inside of JSON: where a rule says that one stands, it becomes the key that its row has in the target.

In staging, after rows are matched and before they are compared. Only values in which a key changes are written anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import Raw, as_text
from backup_pipeline.databases.merge.graph import Reference, name_of
from backup_pipeline.databases.merge.json_constructs import (
    JSON_PLACES,
    json_kind,
    json_length,
    json_text,
    json_valid,
    json_with,
)
from backup_pipeline.databases.merge.relations import LIVING, Column, Relation, Run
from backup_pipeline.databases.merge.rules import Rules, ValueRule

_STEP = re.compile(r'\.(?P<name>\w+)|\["(?P<text>[^"\\]+)"\]|\[(?P<number>\d+|\*)\]')


def rewrite(run: Run, rules: Rules) -> None:
    for rule in rules.values:
        relation = run.relations.get(rule.table)
        if relation is None or rule.table in run.empty or relation.shape.source(rule.column) is None:
            continue
        if meanings := _meanings(run, rule):
            _Keys(run, relation, rule).rewrite(meanings)


def _meanings(run: Run, rule: ValueRule) -> list[Reference]:
    """What the key can be: of one table, or what the column beside it can be."""
    if rule.same_as:
        return [one for one in run.outgoing(rule.table) if one.columns == (rule.same_as,)]
    parent = run.session.schema.table(rule.parent) if rule.parent else None
    if parent is None or parent.primary_key is None or len(parent.primary_key.columns) != 1:
        return []
    return [
        Reference(
            table=rule.table,
            columns=(rule.column,),
            parent=parent.id,
            referenced=parent.primary_key.columns,
            name=name_of(rule.table, [rule.column]),
            when=rule.when,
            values=rule.values,
        )
    ]


@dataclass(frozen=True)
class _Keys:
    run: Run
    relation: Relation
    rule: ValueRule

    def rewrite(self, meanings: list[Reference]) -> None:
        run, keys = self.run, self._found()
        rows = self.relation.staged.alias()
        for meaning in meanings:
            parents = run.parents(meaning, LIVING)
            if parents is not None:
                mine = sa.select(rows.c.n).where(run.condition(meaning, rows))
                same = sa.and_(keys.c.key == as_text(parents.c.o0), keys.c.n.in_(mine))
                run.do(sa.update(keys).where(same).values(new=as_text(parents.c.v0)))
        run.do(sa.delete(keys).where(sa.or_(keys.c.new.is_(None), keys.c.new == keys.c.key)))
        turn = sa.func.row_number().over(partition_by=keys.c.n, order_by=keys.c.place)
        numbered = sa.select(*keys.c, turn.label("turn")).subquery()
        quoted = sa.case(
            (numbered.c.kind.in_(("number", "integer", "real")), numbered.c.new),
            else_=sa.literal('"').concat(numbered.c.new).concat('"'),
        )
        staged = self.relation.staged
        value = json_with(self._value(staged), numbered.c.place, quoted)
        for at in range(1, int(run.one(sa.select(sa.func.max(numbered.c.turn))) or 0) + 1):
            chosen = sa.and_(staged.c.n == numbered.c.n, numbered.c.turn == at)
            run.do(sa.update(staged).where(chosen).values({self._number: sa.cast(value, self._type)}))

    def _found(self) -> sa.Table:
        """Each place with a key."""
        run, relation = self.run, self.relation
        start, name, before, after = JSON_PLACES[run.session.schema.engine]
        places = run.make_anew(self._places(0))
        map, rows = relation.map, relation.staged
        valid = sa.select(rows.c.n, sa.literal(start)).where(
            rows.c.n.in_(sa.select(map.c.n).where(map.c.act.in_(LIVING))), json_valid(self._value(rows))
        )
        run.do(places.insert().from_select(["n", "place"], valid))
        tail = ""
        for depth, step in enumerate(_STEP.finditer(self.rule.path), 1):
            if step["number"] != "*":
                tail += (
                    f"{before}{step['number']}{after}"
                    if step["number"]
                    else name.format(step["name"] or step["text"])
                )
                continue
            places, above = run.make_anew(self._places(depth)), places
            self._each(above, places, tail, (before, after))
            tail = ""
        keys = run.make_anew(
            relation.scratch(
                "jk", *self._columns(), *(sa.Column(one, sa.Text) for one in ("key", "kind", "new"))
            )
        )
        place = places.c.place.concat(tail)
        value = self._value(rows)
        kind = json_kind(value, place)
        query = sa.select(places.c.n, place, json_text(value, place), kind)
        query = query.select_from(places.join(rows, rows.c.n == places.c.n))
        query = query.where(kind.in_(("string", "text", "number", "integer")))
        run.do(keys.insert().from_select(["n", "place", "key", "kind"], query))
        return keys

    def _each(self, above: sa.Table, places: sa.Table, tail: str, around: tuple[str, str]) -> None:
        """One place for each element of an array."""
        run, rows = self.run, self.relation.staged
        joined = above.join(rows, rows.c.n == above.c.n)
        array = above.c.place.concat(tail)
        length = json_length(self._value(rows), array)
        longest = run.one(sa.select(sa.func.max(length)).select_from(joined)) or 0
        numbers = sa.select(sa.literal(0).label("k")).cte("numbers", recursive=True)
        numbers = numbers.union_all(sa.select(numbers.c.k + 1).where(numbers.c.k + 1 < longest))
        place = array.concat(around[0]).concat(as_text(numbers.c.k)).concat(around[1])
        query = sa.select(above.c.n, place).select_from(joined.join(numbers, numbers.c.k < length))
        # SQLite does not count the rows of a statement that begins with WITH.
        run.session.connection.execute(places.insert().from_select(["n", "place"], query))

    def _places(self, depth: int) -> sa.Table:
        return self.relation.scratch(f"j{depth}_", *self._columns())

    def _columns(self) -> list[sa.Column[object]]:
        return [sa.Column("n", sa.BigInteger), sa.Column("place", sa.Text)]

    @property
    def _number(self) -> str:
        return f"c{self.relation.shape.source(self.rule.column)}"

    @property
    def _type(self) -> Raw:
        return Raw(
            self.relation.shape.columns[self.relation.shape.source(self.rule.column) or 0].type or "text"
        )

    def _value(self, rows: sa.FromClause) -> Column:
        return rows.c[self._number]
