"""Which staged rows take part: those that are asked for, those below a tenant, and the parents that they need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from backup_pipeline.databases.merge.asked import Tenant
from backup_pipeline.databases.merge.constructs import as_text
from backup_pipeline.databases.merge.graph import Reference
from backup_pipeline.databases.merge.relations import Part, Relation, Run, numbered
from backup_pipeline.model.schema import TableId


def close(run: Run, asked: Iterable[TableId]) -> None:
    """Fill the parts of each table of which not all rows take part."""
    wanted = set(asked)
    whole = {table for table in wanted if table not in run.asked.where} if run.asked.tenant is None else set()
    run.partial = set(run.relations) - whole
    for table in run.partial:
        run.make(run.relations[table].parts)
    below = _below(run, run.asked.tenant) if run.asked.tenant else None
    for table in sorted(wanted - whole):
        _ask(run, run.relations[table], below)
    _climb(run)
    for table in run.partial:
        run.session.analyze(run.relations[table].parts.name)


def _ask(run: Run, relation: Relation, below: dict[TableId, sa.Table] | None) -> None:
    table = relation.shape.table
    query = sa.select(relation.staged.c.n, sa.literal(int(Part.ASKED)))
    if below is not None:
        if table not in below:
            return
        query = query.where(relation.staged.c.n.in_(sa.select(below[table].c.n)))
    if condition := run.asked.where.get(table):
        query = query.where(relation.staged.c.n.in_(meeting(relation, condition)))
    run.do(relation.parts.insert().from_select(["n", "part"], query))


def meeting(relation: Relation, condition: str) -> sa.Select[Any]:
    """The staged rows that meet a condition of the user, on the names that the backup has."""
    staged = relation.staged
    columns = [staged.c[f"c{at}"].label(one.name) for at, one in enumerate(relation.shape.columns)]
    named = numbered(staged.c.n, columns, relation.shape.table.name)
    return sa.select(named.c[0]).where(sa.literal_column(f"({condition})"))


def _below(run: Run, tenant: Tenant) -> dict[TableId, sa.Table]:
    """The rows of each table that hang below one row, itself among them."""
    start = run.relations[tenant.table]
    found = {tenant.table: _made(run, start)}
    names = start.shape.key
    key = sa.and_(
        *(as_text(start.at(start.staged, name)) == one for name, one in zip(names, tenant.key, strict=True))
    )
    run.do(found[tenant.table].insert().from_select(["n"], sa.select(start.staged.c.n).where(key)))
    owned = [one for table in run.relations for one in run.outgoing(table) if one.owned]
    grown = {tenant.table}
    while grown:
        steps = [one for one in owned if one.parent in grown]
        grown = {one.table for one in steps if _grow(run, found, one)}
    return found


def _made(run: Run, relation: Relation) -> sa.Table:
    return run.make(
        relation.scratch("b", sa.Column("n", sa.BigInteger, primary_key=True, autoincrement=False))
    )


def _grow(run: Run, found: dict[TableId, sa.Table], reference: Reference) -> int:
    """The children of rows that were found."""
    child, parent = run.relations[reference.table], run.relations[reference.parent]
    if reference.table not in found:
        found[reference.table] = _made(run, child)
    mine, theirs = found[reference.table], found[reference.parent]
    up = parent.staged.alias()
    query = (
        sa.select(child.staged.c.n)
        .join(up, run.refers(reference, child.staged, up))
        .where(up.c.n.in_(sa.select(theirs.c.n)), child.staged.c.n.not_in(sa.select(mine.c.n)))
        .distinct()
    )
    return run.do(mine.insert().from_select(["n"], query))


def _climb(run: Run) -> None:
    """To the parents of the rows that take part, and to theirs."""
    needed = [
        one
        for table in run.relations
        for one in run.outgoing(table)
        if one.policy != "never" and one.parent in run.partial
    ]
    grown = set(run.relations)
    while grown:
        steps = [one for one in needed if one.table in grown]
        grown = {one.parent for one in steps if _add_parents(run, one)}


def _add_parents(run: Run, reference: Reference) -> int:
    """Under `update` a parent is asked for as well, though only because an asked row needs it."""
    child, parent = run.relations[reference.table], run.relations[reference.parent]
    rows, up, parts = run.rows(child), parent.staged.alias(), parent.parts
    asked = reference.policy == "update"
    chosen = sa.select(up.c.n).join(rows, run.refers(reference, rows, up)).distinct()
    changed = 0
    if asked:
        chosen = chosen.where(rows.c.part == Part.ASKED)
        lesser = sa.and_(parts.c.part == Part.ENSURED, parts.c.n.in_(chosen))
        changed = run.do(sa.update(parts).where(lesser).values(part=int(Part.ASKED)))
    new = chosen.where(up.c.n.not_in(sa.select(parts.c.n))).subquery()
    query = sa.select(new.c.n, sa.literal(int(Part.ASKED if asked else Part.ENSURED)))
    changed += run.do(parts.insert().from_select(["n", "part"], query))
    if asked:  # the parents of ensured rows are ensured, over such a reference as well
        rest = sa.select(up.c.n).join(rows, run.refers(reference, rows, up)).distinct()
        rest = rest.where(up.c.n.not_in(sa.select(parts.c.n)))
        found = rest.subquery()
        ensured = sa.select(found.c.n, sa.literal(int(Part.ENSURED)))
        changed += run.do(parts.insert().from_select(["n", "part"], ensured))
    return changed
