"""What becomes of each mapped row: its final values, rows without a parent, unique keys that are taken, and the verb.

Three tables are filled for a relation. `f` has the final values of its references; `d` has the rows that differ.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import Raw, as_text
from backup_pipeline.databases.merge.keys import KeyCandidate
from backup_pipeline.databases.merge.relations import LIVING, Act, Column, Part, Relation, Run
from backup_pipeline.databases.merge.translating import joined_to_parents

#: In `d`: what is done with a matched row that differs.
UPDATE, KEPT = 1, 2


def prune(run: Run, components: Iterable[Sequence[Relation]]) -> None:
    """Skip new rows without a parent that they must have."""
    for component in components:
        while sum(_prune(run, one) for one in component):
            if len(component) == 1 and not any(r.to_itself for r in run.outgoing(component[0].shape.table)):
                break


def _prune(run: Run, relation: Relation) -> int:
    found = 0
    map, rows = relation.map, relation.staged.alias()
    for reference in run.outgoing(relation.shape.table) if relation.shape.table not in run.empty else ():
        if reference.missing in ("skip", "fail"):
            has = sa.select(rows.c.n).where(rows.c.n == map.c.n, run.condition(reference, rows))
            parents = run.parents(reference)
            if parents is not None:
                has = has.where(~sa.select(parents.c.n).where(run.meets(reference, rows, parents)).exists())
            lost = sa.update(map).where(map.c.act == Act.NEW, has.exists())
            found += run.do(lost.values(act=int(Act.SKIP), why=f"parent-missing: {reference.name}"))
    return found


def final_references(run: Run, relation: Relation) -> None:
    """Make `f`: n, the value r<i> of each referring column, and x<i> where a parent is not to be had."""
    outgoing = run.outgoing(relation.shape.table)
    if not outgoing:
        return
    map, rows = relation.map, relation.staged.alias()
    joined, values = joined_to_parents(run, outgoing, rows, rows.join(map, rows.c.n == map.c.n))
    chosen: list[Column] = []
    for column in referring(run, relation):
        number, staged = relation.shape.source(column), relation.at(rows, column)
        chosen += [
            values[column].label(f"r{number}"),
            sa.and_(staged.is_not(None), values[column].is_(None)).label(f"x{number}"),
        ]
    query = sa.select(rows.c.n, *chosen).select_from(joined).where(map.c.act.in_(LIVING))
    run.do(final(run, relation).insert().from_select([c.name for c in final(run, relation).c], query))
    run.session.analyze(final(run, relation).name)


def referring(run: Run, relation: Relation) -> list[str]:
    columns = {column for one in run.outgoing(relation.shape.table) for column in one.columns}
    return sorted(columns, key=lambda name: relation.shape.source(name) or 0)


def final(run: Run, relation: Relation) -> sa.Table:
    columns: list[sa.Column[Any]] = [sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False)]
    for name in referring(run, relation):
        number = relation.shape.source(name)
        columns.append(sa.Column(f"r{number}", Raw(relation.shape.types[name])))
        columns.append(sa.Column(f"x{number}", sa.Boolean))
    return relation.scratch("f", *columns)


def differing(relation: Relation) -> sa.Table:
    return relation.scratch(
        "d",
        sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("verb", sa.SmallInteger),
    )


class Final:
    """The rows of a relation that live, with their final values: `one[column]`."""

    def __init__(self, run: Run, relation: Relation) -> None:
        self.run, self.relation = run, relation
        self.rows, self.map = relation.staged.alias(), relation.map.alias()
        self.f = final(run, relation).alias() if run.outgoing(relation.shape.table) else None
        joined: sa.FromClause = self.rows.join(self.map, self.rows.c.n == self.map.c.n)
        self.clause = joined if self.f is None else joined.join(self.f, self.f.c.n == self.map.c.n)
        self.references = set(referring(run, relation)) if self.f is not None else set()

    def __getitem__(self, column: str) -> Column:
        relation = self.relation
        if column in relation.shape.key:
            return self.map.c[f"k{relation.shape.key.index(column)}"]
        if column in self.references and self.f is not None:
            return self.f.c[f"r{relation.shape.source(column)}"]
        return relation.at(self.rows, column)

    def kept(self, column: str, target: sa.FromClause) -> Column:
        """Of a matched row: a reference whose parent is not to be had keeps its live value."""
        if column in self.references and self.f is not None and column not in self.relation.shape.key:
            lost = self.f.c[f"x{self.relation.shape.source(column)}"]
            return sa.case((lost, target.c[column]), else_=self[column])
        return self[column]

    def select(self, *columns: Column, act: Act | None = None) -> sa.Select[Any]:
        query = sa.select(*columns).select_from(self.clause)
        return query if act is None else query.where(self.map.c.act == act)


def compare(run: Run, relation: Relation, compared: Sequence[str]) -> None:
    """Make `d`: the matched rows that differ from their live rows, and what is done with them."""
    one, target = Final(run, relation), relation.target.alias()
    table = differing(relation)
    if not compared:
        return
    differs = sa.or_(*(relation.differs(name, one.kept(name, target), target.c[name]) for name in compared))
    verbs = run.asked.verbs
    verb: Column = sa.literal(KEPT)
    if verbs.update and (not verbs.newest or verbs.newest in relation.shape.written):
        asked = one.map.c.part == Part.ASKED
        if verbs.newest:
            asked = sa.and_(asked, one[verbs.newest] > target.c[verbs.newest])
        verb = sa.case((sa.and_(asked, ~_named_in_conflict(relation, one.map)), UPDATE), else_=KEPT)
    query = (
        sa.select(one.map.c.n, verb)
        .select_from(one.clause.join(target, relation.same_key(one.map, target)))
        .where(one.map.c.act == Act.MATCH, differs)
    )
    run.do(table.insert().from_select(["n", "verb"], query))


def _named_in_conflict(relation: Relation, map: sa.FromClause) -> sa.ColumnElement[bool]:
    disputed = relation.disputed
    same = sa.and_(*(a == b for a, b in zip(relation.of_map(disputed), relation.of_map(map), strict=True)))
    return sa.select(disputed.c.n).where(same).exists()


def unique_taken(run: Run, relation: Relation, keys: Sequence[KeyCandidate]) -> int:
    """Rows that would break a unique key: because of a live row, or of another row that is written."""
    found = 0
    for key in keys:
        if all(name in relation.shape.written for name in key.columns) and not _surely_free(
            run, relation, key
        ):
            found += _taken_by_live(run, relation, key)
            found += _taken_by_written(run, relation, key)
    return found


def _surely_free(run: Run, relation: Relation, key: KeyCandidate) -> bool:
    """Each new row was looked up by this key and not found, and no row is updated."""
    references = {column for one in run.outgoing(relation.shape.table) for column in one.columns}
    looked_up = key in run.natural_keys[relation.shape.table] and relation.shape.table not in run.stuck
    return looked_up and not run.asked.verbs.update and not key.where and not references & set(key.columns)


def _to_write(run: Run, relation: Relation, key: KeyCandidate) -> tuple[Final, sa.Select[Any]]:
    one, d = Final(run, relation), differing(relation)
    updated = sa.select(d.c.n).where(d.c.n == one.map.c.n, d.c.verb == UPDATE).exists()
    writes = sa.or_(one.map.c.act == Act.NEW, sa.and_(one.map.c.act == Act.MATCH, updated))
    query = sa.select(one.map.c.n).select_from(one.clause).where(writes)
    return one, query.where(one.map.c.n.in_(relation.meeting(key))) if key.where else query


def _null_is_a_value(run: Run, relation: Relation, key: KeyCandidate) -> set[str]:
    """The references of a natural key that counts: the roots of a tree have names as well."""
    if key not in run.natural_keys[relation.shape.table]:
        return set()
    return {column for one in run.outgoing(relation.shape.table) for column in one.columns}


def _taken_by_live(run: Run, relation: Relation, key: KeyCandidate) -> int:
    one, query = _to_write(run, relation, key)
    target, disputed = relation.target_of(key), relation.disputed
    loose = _null_is_a_value(run, relation, key)
    same = sa.and_(
        *(
            sa.func.coalesce(as_text(one[name]), "") == sa.func.coalesce(as_text(target.c[name]), "")
            if name in loose
            else one[name] == target.c[name]
            for name in key.columns
        ),
        sa.or_(*(one[name].is_not(None) for name in key.columns)),
    )
    itself = sa.and_(one.map.c.act == Act.MATCH, relation.same_key(one.map, target))
    taken = query.join(target, sa.and_(same, ~itself))
    if run.one(taken.limit(1)) is None:
        return 0
    # The live row stays as it is: without it the same merge again would find the value free.
    named = taken.add_columns(*(target.c[name] for name in relation.key_names))
    run.do(disputed.insert().from_select(list(disputed.c.keys()), named))
    return _into_conflict(run, relation, taken)


def _taken_by_written(run: Run, relation: Relation, key: KeyCandidate) -> int:
    one, query = _to_write(run, relation, key)
    values = [one[name] for name in key.columns]
    loose = _null_is_a_value(run, relation, key)
    numbered = query.add_columns(sa.func.count().over(partition_by=values).label("times")).where(
        *(one[name].is_not(None) for name in key.columns if name not in loose),
        sa.or_(*(value.is_not(None) for value in values)),
    )
    twice = numbered.subquery()
    return _into_conflict(run, relation, sa.select(twice.c.n).where(twice.c.times > 1))


def _into_conflict(run: Run, relation: Relation, rows: sa.Select[Any]) -> int:
    """A new row is not written. A matched row stays a parent, and is not updated."""
    if run.one(rows.limit(1)) is None:
        return 0
    map, d, chosen = relation.map, differing(relation), rows.subquery()
    # In one statement: a row that is in conflict is not to be written, and so would no longer count.
    act = sa.case((map.c.act == Act.NEW, int(Act.CONFLICT)), else_=map.c.act)
    hurt = sa.update(map).where(
        map.c.act.in_(LIVING), map.c.why.is_(None), map.c.n.in_(sa.select(chosen.c.n))
    )
    found = run.do(hurt.values(act=act, why="unique-taken"))
    run.do(
        sa.update(d).where(d.c.n.in_(sa.select(map.c.n).where(map.c.why == "unique-taken"))).values(verb=KEPT)
    )
    return found
