"""The keys of new rows: the old key where it is free, else one that no row has."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import Raw, new_uuid
from backup_pipeline.databases.merge.relations import Act, Column, How, Relation, Run
from backup_pipeline.databases.merge.translating import Translated


def new_rows(run: Run, relation: Relation, rows: Translated) -> int:
    """Map the rows that no step has found: they are created, or they are left out where nothing may be created."""
    map, shape = relation.map, relation.shape
    source: sa.FromClause = rows.clause
    keys: list[Column] = []
    if not shape.keyed:
        pass
    elif shape.generated:
        target = relation.target.alias()
        (name,) = shape.key
        source = source.outerjoin(target, target.c[name] == rows[name])
        keys = [sa.case((target.c[name].is_(None), rows[name]))]
    else:
        keys = [rows[name] for name in shape.key]
    create = run.asked.verbs.create
    act, why = (int(Act.NEW), None) if create else (int(Act.SKIP), "not-created")
    known = (rows.c.n, rows.c.part, sa.literal(act), sa.literal(int(How.NEW)), sa.literal(why))
    query = sa.select(*known, *keys).select_from(source)
    names = ["n", "part", "act", "how", "why", *(f"k{at}" for at in range(len(keys)))]
    mapped = run.do(map.insert().from_select(names, query))
    if mapped and shape.keyed and shape.generated:
        _number(run, relation)
    return mapped


def _number(run: Run, relation: Relation) -> None:
    """Give a key to the new rows whose own key another row has."""
    shape, map = relation.shape, relation.map
    homeless = sa.and_(map.c.act == Act.NEW, map.c.k0.is_(None))
    if run.one(sa.select(map.c.n).where(homeless).limit(1)) is None:
        return
    kind = Raw(shape.types[shape.key[0]])
    if shape.generated == "uuid":
        run.do(sa.update(map).where(homeless).values(k0=sa.cast(new_uuid(), kind)))
        return
    above = _highest(run, relation)
    drawn = None if run.rehearsal else run.session.next_keys(shape.table, shape.key[0], above=above)
    if drawn is not None:
        run.do(sa.update(map).where(homeless).values(k0=sa.cast(drawn, kind)))
        return
    order = sa.func.row_number().over(order_by=map.c.n)
    numbers = sa.select(map.c.n, (sa.literal(above) + order).label("key")).where(homeless).subquery()
    run.do(sa.update(map).where(map.c.n == numbers.c.n).values(k0=sa.cast(numbers.c.key, kind)))


def _highest(run: Run, relation: Relation) -> int:
    """No key at or below it is free: those of the target, those that new rows keep, and those given to new rows."""
    name = relation.shape.key[0]
    sources: list[sa.Select[Any]] = [
        sa.select(sa.func.max(relation.target.c[name])),
        sa.select(sa.func.max(relation.at(relation.staged, name))),
        sa.select(sa.func.max(relation.map.c.k0)),
    ]
    return max(int(run.one(query) or 0) for query in sources)
