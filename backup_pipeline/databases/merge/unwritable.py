"""Rows with a value that the target takes no more: a label that its enum lacks, NULL where it takes none."""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa

from backup_pipeline.databases.merge.graph import name_of
from backup_pipeline.databases.merge.relations import Act, Relation, Run
from backup_pipeline.databases.merge.settling import KEPT, UPDATE, differing


def set_aside(run: Run) -> None:
    """Such rows are not created. Each has its reason."""
    for table, relation in run.relations.items():
        if table in run.empty:
            continue
        map, rows = relation.map, relation.staged.alias()
        for why, condition in _unwritable(run, relation, rows):
            those = sa.select(rows.c.n).where(rows.c.n == map.c.n, condition)
            new = sa.update(map).where(map.c.act == Act.NEW, those.exists())
            run.do(new.values(act=int(Act.SKIP), why=why))


def keep(run: Run, relation: Relation) -> None:
    """Such rows update no live row."""
    d, rows = differing(relation), relation.staged.alias()
    for _, condition in _unwritable(run, relation, rows) if run.asked.verbs.update else ():
        those = sa.select(rows.c.n).where(rows.c.n == d.c.n, condition)
        run.do(sa.update(d).where(d.c.verb == UPDATE, those.exists()).values(verb=KEPT))


def _unwritable(
    run: Run, relation: Relation, rows: sa.FromClause
) -> Iterator[tuple[str, sa.ColumnElement[bool]]]:
    shape = relation.shape
    table = run.session.schema.table(shape.table)
    assert table is not None
    never_null = {one.name for one in table.columns if not one.nullable} - shape.full - set(shape.key)
    for at, one in enumerate(shape.columns):
        if one.target is None:
            continue
        value, name = rows.c[f"c{at}"], name_of(shape.table, (one.target,))
        if one.lost_labels:
            yield f"enum-value-gone: {name}", value.in_(one.lost_labels)
        if one.target in never_null and not one.fill:
            yield f"not-null-added: {name}", value.is_(None)
