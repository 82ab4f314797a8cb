"""Ids inside of JSON: rules say where they stand, and each becomes the key that its row has in the target.

They are rewritten in staging, before the rows of a table are matched and compared. So a value with the key of now is no difference.
Where a table and the parents of its values hang together in a circle, they are rewritten after its rows are matched.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import as_text
from backup_pipeline.databases.merge.graph import Reference, name_of, named
from backup_pipeline.databases.merge.json_paths import Place, ReadIds, WriteIds, steps_of
from backup_pipeline.databases.merge.relations import LIVING, Relation, Run
from backup_pipeline.databases.merge.rules import ValueRule
from backup_pipeline.databases.merge.translating import joined_to_parents
from backup_pipeline.errors import RowsRefused
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId


def edges(run: Run) -> Iterator[Reference]:
    """For the order of tables: the parents of a value come before it."""
    for rule in run.values:
        for parent in _parents(run, rule) if rule.table in run.relations else ():
            if parent in run.relations:
                yield Reference(
                    table=rule.table, columns=(rule.column,), parent=parent, referenced=(), name=""
                )


def rewrite(run: Run, relations: Collection[Relation], *, matched: bool) -> None:
    """The values of these tables. `matched`: those whose parents are among these tables, else the others."""
    together = {one.shape.table for one in relations}
    for rule in run.values:
        if rule.table in together and bool(together & set(_parents(run, rule))) == matched:
            _rewrite(run, run.relations[rule.table], rule)


def _parents(run: Run, rule: ValueRule) -> list[TableId]:
    if rule.parent is not None:
        return [rule.parent]
    relation = run.relations.get(rule.table)
    if relation is not None and rule.same_as in relation.shape.key:
        return [rule.table]
    return [one.parent for one in _references(run, rule)]


def _references(run: Run, rule: ValueRule) -> list[Reference]:
    return [one for one in run.outgoing(rule.table) if one.columns == (rule.same_as,)]


def _rewrite(run: Run, relation: Relation, rule: ValueRule) -> None:
    at = relation.shape.source(rule.column)
    if at is None or rule.table in run.empty:
        return
    what = f"{name_of(rule.table, (rule.column,))} ({rule.path})"
    pairs = _pairs(run, relation, rule)
    if isinstance(pairs, str):
        if pairs:
            run.told.append(_not_rewritten(what, pairs))
        return
    known = _scratch(run, "i", "old", "new")
    run.do(known.insert().from_select(["n", "old", "new"], pairs))
    if run.one(sa.select(known.c.old).where(_is_other(known)).limit(1)) is None:
        return
    run.index(known, ["old"])
    run.session.analyze(known.name)
    type_ = relation.shape.columns[at].type or "text"
    ids, turns = _scratch(run, "j", "path", "kind", "id"), _scratch(run, "k", "at", "path", "kind", "new")
    place = Place(
        relation.staged, f"c{at}", type_, steps_of(rule.path), ids, turns, known, rule.parent is None
    )
    try:
        with run.session.connection.begin_nested():
            _read(run, relation, rule, place)
            told = _write(run, place)
    except RowsRefused as error:
        run.told.append(_not_rewritten(what, error.message))
        return
    written, stay = told
    if written:
        run.told.append(Finding.of("merge-values", what=what, count=f"{written:,}"))
    if stay:
        run.told.append(Finding.of("merge-values-stay", what=what, count=f"{stay:,}"))


def _not_rewritten(what: str, why: str) -> Finding:
    return Finding.of("merge-not-followed", why=f"ids in {what} are not rewritten: {why}")


def _scratch(run: Run, kind: str, *names: str) -> sa.Table:
    columns: list[sa.Column[Any]] = [sa.Column("n", sa.BigInteger)]
    columns += [sa.Column(name, sa.BigInteger if name == "at" else sa.Text) for name in names]
    number = sum(one.startswith(kind) for one in run.made)
    table = sa.Table(f"{kind}{number}", sa.MetaData(), *columns, schema=run.session.staging)
    return run.make_anew(table)


def _is_other(known: sa.FromClause) -> sa.ColumnElement[bool]:
    """The row of an id has another key, or none, in the target."""
    return known.c.new.is_distinct_from(known.c.old)


def _pairs(run: Run, relation: Relation, rule: ValueRule) -> sa.Select[tuple[int, str, str]] | str:
    """(n, old key, new key), the new one NULL where the row is not to be had. Or why there are none; "": all keys stay."""
    if rule.parent is not None:
        return _keys_of(run, rule.parent, None)
    if rule.same_as in relation.shape.key:
        return _keys_of(run, rule.table, rule.same_as)
    references = _references(run, rule)
    if not references:
        return f"{rule.same_as} is no reference"
    rows = run.rows(relation)
    joined, values = joined_to_parents(run, references, rows, rows)
    old, new = relation.at(rows, rule.same_as), values[rule.same_as]
    return sa.select(rows.c.n, as_text(old), as_text(new)).select_from(joined).where(old.is_not(None))


def _keys_of(run: Run, table: TableId, own: str | None) -> sa.Select[tuple[int, str, str]] | str:
    """`own`: of each row its own key."""
    parent = run.relations.get(table)
    if parent is None:
        return f"{named(table)} takes no part"
    if table in run.empty:
        return ""
    if not parent.shape.keyed or (own is None and len(parent.shape.key) != 1):
        return f"{named(table)} has no key of one column"
    name = own or parent.shape.key[0]
    staged, map = parent.staged.alias(), parent.map.alias()
    new = map.c[f"k{parent.shape.key.index(name)}"]
    query = sa.select(
        staged.c.n, as_text(parent.at(staged, name)), sa.case((map.c.act.in_(LIVING), as_text(new)))
    )
    # Of rows that take no part nothing is known.
    return query.select_from(staged.join(map, staged.c.n == map.c.n))


def _read(run: Run, relation: Relation, rule: ValueRule, place: Place) -> None:
    """The ids that stand in values, of rows that take part and meet the condition."""
    ids = place.ids
    run.do(ReadIds(place))
    rows = run.rows(relation)
    wanted = sa.select(rows.c.n)
    if rule.when:
        wanted = wanted.where(as_text(relation.at(rows, rule.when)).in_(rule.values))
    run.do(ids.delete().where(ids.c.n.not_in(wanted)))
    known = place.pairs.alias()
    run.do(ids.delete().where(~sa.select(known.c.old).where(_of(place, known), _is_other(known)).exists()))
    run.index(ids, ["n"])
    run.session.analyze(ids.name)


def _of(place: Place, known: sa.FromClause) -> sa.ColumnElement[bool]:
    same = known.c.old == place.ids.c.id
    return sa.and_(same, known.c.n == place.ids.c.n) if place.of_row else same


def _write(run: Run, place: Place) -> tuple[int, int]:
    """The number of ids that are rewritten, and of those that stay because their rows are not to be had."""
    ids, known = place.ids, place.pairs.alias()
    lost = sa.select(known.c.old).where(_of(place, known), known.c.new.is_(None)).exists()
    stay = run.do(ids.delete().where(lost))
    number = sa.func.row_number().over(partition_by=ids.c.n)
    query = sa.select(ids.c.n, number, ids.c.path, ids.c.kind, known.c.new)
    query = query.select_from(ids.join(known, _of(place, known)))
    written = run.do(place.turns.insert().from_select(["n", "at", "path", "kind", "new"], query))
    if written:
        run.index(place.turns, ["n", "at"])
        run.session.analyze(place.turns.name)
        run.do(WriteIds(place))
    return written, stay
