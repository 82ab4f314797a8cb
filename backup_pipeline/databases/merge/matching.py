"""Which staged row is which row of the target: docs/MERGE.md, "When two rows are the same row".

Tables are matched in the order in which their natural keys need each other. A tree is matched level by level.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import sqlalchemy as sa

from backup_pipeline.databases.merge import rewriting
from backup_pipeline.databases.merge.constructs import as_text, content
from backup_pipeline.databases.merge.graph import Reference
from backup_pipeline.databases.merge.keying import new_rows
from backup_pipeline.databases.merge.keys import KeyCandidate
from backup_pipeline.databases.merge.relations import Act, Column, How, Relation, Run
from backup_pipeline.databases.merge.remembering import known_rows
from backup_pipeline.databases.merge.translating import Translated, translated
from backup_pipeline.model.schema import TableId

Condition = sa.ColumnElement[bool]


def match(run: Run, components: Sequence[Sequence[TableId]]) -> None:
    """Fill every map. `components`: the order of identity, parents first."""
    for component in components:
        relations = [run.relations[table] for table in component if table not in run.empty]
        for table in component:
            run.make(run.relations[table].map)
            run.make(run.relations[table].disputed)
        for one in relations:
            run.make(one.answers, ("n",))
        if not relations:
            continue
        rewriting.rewrite(run, relations, matched=False)
        if run.bulk:
            for one in relations:
                _match_rows(run, one, turn=False)
        elif len(relations) > 1 or _waits(run, relations[0], relations):
            for one in relations:
                run.make(one.turn)
            while sum(_match_turn(run, one, relations) for one in relations) or sum(
                _match_stuck(run, one) for one in relations
            ):
                pass
            for one in relations:
                if new_rows(run, one, translated(run, one, one.shape.key if one.shape.keyed else ())):
                    run.stuck.add(one.shape.table)
        else:
            _match_rows(run, relations[0], turn=False)
        for one in relations:
            run.session.analyze(one.map.name)
        rewriting.rewrite(run, relations, matched=True)


def _waits(run: Run, relation: Relation, component: Sequence[Relation]) -> list[Reference]:
    """The references that a comparison of a row may need, and whose parents are matched in the same turn."""
    tables = {one.shape.table for one in component}
    return [one for one in run.outgoing(relation.shape.table) if one.parent in tables]


def _ready(run: Run, relation: Relation, mine: sa.FromClause, component: Sequence[Relation]) -> Condition:
    """Of a row: no parent that its natural keys need is still to be matched. Where its contents count: no parent at all."""
    keys = run.natural_keys[relation.shape.table]
    columns = {column for key in keys for column in key.columns}
    named: list[Condition] = []
    others: list[Condition] = []
    for reference in _waits(run, relation, component):
        parent = run.relations[reference.parent]
        rows = run.rows(parent)
        matched = sa.select(parent.map.c.n).where(parent.map.c.n == rows.c.n).exists()
        open_one = sa.select(rows.c.n).where(run.refers(reference, mine, rows), ~matched).exists()
        (named if columns & set(reference.columns) else others).append(~open_one)
    references = {column for one in run.outgoing(relation.shape.table) for column in one.columns}
    full = [
        sa.and_(
            sa.true(), *(relation.at(mine, one).is_not(None) for one in key.columns if one not in references)
        )
        for key in keys
    ]
    if not _contents_count(run, relation):
        return sa.and_(sa.true(), *named)
    return sa.and_(sa.true(), *named, sa.or_(*full, sa.and_(sa.true(), *others)))


def _contents_count(run: Run, relation: Relation) -> bool:
    """Whether a row of this table may be known, or told apart, by its contents."""
    shape = relation.shape
    uuid = shape.keyed and shape.generated == "uuid"
    by_key = run.same_lineage and shape.keyed and bool(shape.generated)
    compared = [name for name in shape.written if name not in shape.key]
    return not uuid or (by_key and len(compared) > 1 and _contents_tell(run, relation))


@dataclass(frozen=True)
class Matching:
    """One pass over one table."""

    run: Run
    relation: Relation
    #: The rows of this pass, translated; each is in no map yet.
    rows: Translated

    @property
    def keys(self) -> list[KeyCandidate]:
        return self.run.natural_keys[self.relation.shape.table]

    def usable(self, key: KeyCandidate) -> Condition:
        """The row has the natural key: no NULL but in a reference, and each reference is translated."""
        rows, columns = self.rows, key.columns
        found: list[Condition] = [
            rows.known(column) if column in rows.references else rows[column].is_not(None)
            for column in columns
        ]
        found.append(sa.or_(*(rows[column].is_not(None) for column in columns)))
        if key.where:
            found.append(rows.c.n.in_(self.relation.meeting(key)))
        return sa.and_(*found)

    def known_in(self, key: KeyCandidate, target: sa.FromClause) -> Condition:
        """The row of the target has it as well."""
        relation = self.relation
        found: list[Condition] = [
            target.c[column].is_not(None) for column in key.columns if column not in self.rows.references
        ]
        if key.where:
            meeting = relation.target_of(key)
            names = relation.key_names
            chosen = sa.select(*(meeting.c[name] for name in names))
            found.append(sa.tuple_(*(target.c[name] for name in names)).in_(chosen))
        return sa.and_(sa.true(), *found)

    def agree(self, key: KeyCandidate, target: sa.FromClause) -> Condition:
        found = []
        for column in key.columns:
            mine: Column = self.rows[column]
            theirs: Column = target.c[column]
            if column in self.rows.references and self.relation_is_nullable(column):
                mine, theirs = (sa.func.coalesce(as_text(one), "") for one in (mine, theirs))
            found.append(mine == theirs)
        return sa.and_(*found)

    def relation_is_nullable(self, column: str) -> bool:
        table = self.run.session.schema.table(self.relation.shape.table)
        assert table is not None
        return next(one.nullable for one in table.columns if one.name == column)

    def answer(self, how: How, target: sa.FromClause, on: Condition) -> int:
        """Note each row of the target that a step names."""
        keys = [target.c[name] for name in self.relation.key_names]
        rows = self.rows.clause
        query = sa.select(rows.c.n, sa.literal(int(how)), *keys).select_from(rows.join(target, on))
        return self.run.do(
            self.relation.answers.insert().from_select(list(self.relation.answers.c.keys()), query)
        )

    def contradicted(self, target: sa.FromClause) -> Condition:
        """Of two rows with one key: they are two rows all the same."""
        told = self._told(target)
        contents = self._contents_disagree(target) if _contents_tell(self.run, self.relation) else sa.false()
        return sa.case(*told, else_=contents) if told else contents

    def well_known(self, target: sa.FromClause) -> Condition:
        """Of two rows with one key: more than their contents can be compared."""
        return sa.or_(sa.false(), *(known for known, _ in self._told(target)))

    def _told(self, target: sa.FromClause) -> list[tuple[Condition, Condition]]:
        """What can be compared, and whether it speaks against them; the first counts."""
        shape, rows = self.relation.shape, self.rows
        told: list[tuple[Condition, Condition]] = []
        if shape.birth and shape.source(shape.birth) is not None:
            mine, theirs = rows[shape.birth], target.c[shape.birth]
            told.append((sa.and_(mine.is_not(None), theirs.is_not(None)), mine != theirs))
        comparable = [sa.and_(self.usable(key), self.known_in(key, target)) for key in self.keys]
        if comparable:
            agreeing = [
                sa.and_(one, self.agree(key, target)) for one, key in zip(comparable, self.keys, strict=True)
            ]
            told.append((sa.or_(*comparable), ~sa.func.coalesce(sa.or_(*agreeing), sa.false())))
        return told

    def _contents_disagree(self, target: sa.FromClause) -> Condition:
        relation = self.relation
        names = [name for name in relation.shape.written if name not in relation.shape.key]
        if len(names) < 2:
            return sa.false()
        counted: list[sa.ColumnElement[int]] = []
        differ: list[Condition] = []
        for name in names:
            mine, theirs = self.rows[name], target.c[name]
            neither = sa.and_(mine.is_(None), theirs.is_(None))
            if name in self.rows.references:  # a parent that is not to be had says nothing
                neither = sa.or_(neither, ~self.rows.known(name))
            counted.append(sa.case((neither, 0), else_=1))
            differ.append(sa.or_(neither, relation.differs(name, mine, theirs)))
        return sa.and_(reduce(lambda a, b: a + b, counted) >= 2, *differ)


def _match_turn(run: Run, relation: Relation, component: Sequence[Relation]) -> int:
    """The rows that wait for no other row now. They are noted first, because each match makes more of them ready."""
    rows, turn = run.rows(relation), relation.turn
    run.do(turn.delete())
    mapped = sa.select(relation.map.c.n).where(relation.map.c.n == rows.c.n).exists()
    ready = sa.select(rows.c.n).where(~mapped, _ready(run, relation, rows, component))
    return _match_rows(run, relation, turn=True) if run.do(turn.insert().from_select(["n"], ready)) else 0


def _match_stuck(run: Run, relation: Relation) -> int:
    """Of rows that wait for one another: those that are known without the references that wait."""
    matching = Matching(run, relation, translated(run, relation, relation.shape.written))
    run.do(relation.answers.delete())
    return _decide(matching, _ask(matching))


def _contents_tell(run: Run, relation: Relation) -> bool:
    """Whether the contents of two rows with one key may have to be compared."""
    return relation.shape.birth not in relation.shape.full and not run.sure_key(relation)


def _match_rows(run: Run, relation: Relation, *, turn: bool) -> int:
    """Put the rows that are not mapped yet into the map; how many that were."""
    shape = relation.shape
    columns = {column for key in run.natural_keys[shape.table] for column in key.columns}
    by_key = run.same_lineage and shape.keyed and bool(shape.generated)
    columns |= set(shape.written if by_key and _contents_tell(run, relation) else shape.key)
    matching = Matching(run, relation, translated(run, relation, columns, turn=turn))
    if run.bulk:
        return new_rows(run, relation, matching.rows)
    run.do(relation.answers.delete())
    means = _ask(matching)
    mapped = _single(matching) if means == 1 and not turn else _decide(matching, means)
    mapped += _by_content(run, relation, turn=turn)
    mapped += new_rows(run, relation, matching.rows)
    run.session.analyze(relation.map.name)
    return mapped


def _single(matching: Matching) -> int:
    """Only one step was asked, by a key that is unique on both sides: no row is named twice."""
    return matching.run.matched(matching.relation, matching.relation.answers)


def _remembered(matching: Matching) -> bool:
    """Whether a map was asked."""
    known = known_rows(matching.run, matching.relation)
    if known is None:
        return False
    (name,) = matching.relation.shape.key
    matching.answer(How.REMEMBERED, known, known.c.old_key == as_text(matching.rows.staged(name)))
    return True


def _by_own_key(matching: Matching) -> bool:
    """Whether rows can have the same key: in one lineage, where the key is generated."""
    run, relation, rows = matching.run, matching.relation, matching.rows
    if not (run.same_lineage and relation.shape.keyed and relation.shape.generated):
        return False
    target = relation.target.alias()
    same = sa.and_(*(rows[name] == target.c[name] for name in relation.shape.key))
    matching.answer(How.SAME_KEY, target, sa.and_(same, ~matching.contradicted(target)))
    return True


def _ask(matching: Matching) -> int:
    """The steps that look a row up by a key; how many of them there were."""
    run, relation, rows = matching.run, matching.relation, matching.rows
    shape, means = relation.shape, int(_remembered(matching)) + int(_by_own_key(matching))
    for key in matching.keys:
        means += 1
        there = relation.target_of(key)
        matching.answer(How.NATURAL, there, sa.and_(matching.usable(key), matching.agree(key, there)))
    if shape.keyed and shape.generated == "uuid":
        means += 1
        target = relation.target.alias()
        matching.answer(How.UUID, target, sa.and_(*(rows[name] == target.c[name] for name in shape.key)))
    run.session.analyze(relation.answers.name)
    return means


def _decide(matching: Matching, means: int) -> int:
    """The first answer decides. Two natural keys that name different rows, or a row that is named twice, are conflicts."""
    if not means:
        return 0
    run, relation = matching.run, matching.relation
    answers, keys = relation.answers, relation.of_map(relation.answers)
    first = sa.func.min(answers.c.how)
    apart: Condition = sa.false()
    if means > 1:
        known = answers.c.how.in_([How.REMEMBERED, How.SAME_KEY, How.NATURAL])
        texts = [sa.case((known, as_text(key))) for key in keys]
        apart = sa.and_(
            first <= How.NATURAL,
            sa.or_(*(sa.func.min(one) != sa.func.max(one) for one in texts)),
        )
    best = sa.select(answers.c.n, first.label("how"), apart.label("apart")).group_by(answers.c.n).subquery()
    chosen = (
        sa.select(answers.c.n, answers.c.how, *keys)
        .join(best, sa.and_(answers.c.n == best.c.n, answers.c.how == best.c.how))
        .where(~best.c.apart)
        .distinct()
        .subquery()
    )
    mapped = (
        run.conflict(relation, sa.select(best.c.n).where(best.c.apart), "keys-disagree") if means > 1 else 0
    )
    mapped += _taken_twice(run, relation, chosen)
    if mapped:
        in_conflict = sa.select(relation.map.c.n).where(relation.map.c.act == Act.CONFLICT)
        named = sa.select(answers.c.n, *keys).where(answers.c.n.in_(in_conflict))
        run.do(relation.disputed.insert().from_select(list(relation.disputed.c.keys()), named))
    return mapped + run.matched(relation, chosen)


def _taken_twice(run: Run, relation: Relation, chosen: sa.Subquery) -> int:
    """Staged rows that name one row of the target: the earlier step keeps it; else all of them are in conflict."""
    keys = relation.of_map(chosen)
    # Windows and a join: a subquery in an OR is asked again for each row.
    place = sa.func.rank().over(partition_by=keys, order_by=chosen.c.how)
    equals = sa.func.count().over(partition_by=[*keys, chosen.c.how])
    ranked = sa.select(chosen.c.n, place.label("place"), equals.label("equals")).subquery()
    earlier = relation.map.alias()
    same = (a == b for a, b in zip(keys, relation.of_map(earlier), strict=True))
    taken = sa.union(
        sa.select(ranked.c.n).where(sa.or_(ranked.c.place > 1, ranked.c.equals > 1)),
        sa.select(chosen.c.n).join(earlier, sa.and_(earlier.c.act == Act.MATCH, *same)),
    ).subquery()
    return run.conflict(relation, sa.select(taken.c.n), "taken-twice")


def _by_content(run: Run, relation: Relation, *, turn: bool) -> int:
    shape = relation.shape
    if (shape.generated == "uuid" and shape.keyed) or run.sure_key(relation):
        return 0
    names = [name for name in shape.written if not (shape.generated and name in shape.key)]
    names = [name for name in names if name not in shape.derived]
    keys = run.natural_keys[shape.table]
    rows = translated(run, relation, shape.written, turn=turn)
    matching = Matching(run, relation, rows)
    usable = [matching.usable(key) for key in keys]
    query = sa.select(rows.c.n).where(~sa.or_(sa.false(), *usable))
    if not names or run.one(query.limit(1)) is None:
        return 0
    order = [rows[name] for name in shape.key] if shape.keyed else [rows.c.n]
    mine = _numbered(query.with_only_columns(rows.c.n), _content(relation, rows, names), order)
    target = relation.target.alias()
    there = [target.c[name] for name in relation.key_names]
    taken = relation.map.alias()
    free = ~sa.select(taken.c.n).where(taken.c.act == Act.MATCH, relation.same_key(taken, target)).exists()
    labelled = [key.label(f"k{at}") for at, key in enumerate(there)]
    theirs = _numbered(sa.select(*labelled).where(free), _content(relation, target.c, names), there)
    equal = sa.and_(mine.c.content == theirs.c.content, mine.c.number == theirs.c.number)
    chosen = (
        sa.select(mine.c.n, sa.literal(int(How.CONTENT)).label("how"), *relation.of_map(theirs))
        .select_from(mine.join(theirs, equal))
        .subquery()
    )
    return run.matched(relation, chosen)


def _content(relation: Relation, values: Any, names: Sequence[str]) -> Column:
    return content(*(values[name] for name in names))


def _numbered(query: sa.Select[Any], text: Column, order: Sequence[Column]) -> sa.Subquery:
    number = sa.func.row_number().over(partition_by=text, order_by=list(order))
    return query.add_columns(text.label("content"), number.label("number")).subquery()
