"""The writes: rows are created, updated and deleted, in this order. So no row that was updated away hangs on a deleted row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import sqlalchemy as sa

from backup_pipeline.databases.merge import rejecting
from backup_pipeline.databases.merge.constructs import InsertWithKeys, Raw, of_type
from backup_pipeline.databases.merge.graph import Reference
from backup_pipeline.databases.merge.plan import Rejected
from backup_pipeline.databases.merge.relations import Act, Relation, Run
from backup_pipeline.databases.merge.settling import UPDATE, Final, differing, final
from backup_pipeline.model.schema import TableId


def doom(run: Run, asked: Iterable[TableId], references: Sequence[Reference]) -> Mapping[TableId, int]:
    """Note the live rows of these tables that the backup does not know; how many a live row keeps, by table."""
    chosen = [run.relations[table] for table in asked]
    for relation in chosen:
        run.make(relation.doomed)
        _doom(run, relation)
    spared: dict[TableId, int] = {}
    into = [one for one in references if one.parent in set(asked)]
    while True:
        found = {one: _spare(run, one, set(asked)) for one in into}
        for one, count in found.items():
            spared[one.parent] = spared.get(one.parent, 0) + count
        if not any(found.values()):
            return {table: count for table, count in spared.items() if count}


def _doom(run: Run, relation: Relation) -> None:
    target, map, disputed = relation.target, relation.map, relation.disputed
    matched = sa.select(map.c.n).where(map.c.act == Act.MATCH, relation.same_key(map, target)).exists()
    named = sa.select(disputed.c.n).where(relation.same_key(disputed, target)).exists()
    query = sa.select(*(target.c[name] for name in relation.key_names)).where(~matched, ~named)
    if condition := run.asked.where.get(relation.shape.table):
        meeting = sa.select(*(target.c[name] for name in relation.key_names)).where(
            sa.literal_column(f"({condition})")
        )
        query = query.where(sa.tuple_(*(target.c[name] for name in relation.key_names)).in_(meeting))
        query = query.where(~_staged_elsewhere(run, relation))
    run.do(relation.doomed.insert().from_select(list(relation.doomed.c.keys()), query))


def _staged_elsewhere(run: Run, relation: Relation) -> sa.ColumnElement[bool]:
    """The backup has the row, outside of the condition: it came to meet the condition since."""
    shape, staged = relation.shape, relation.staged.alias()
    if not shape.keyed or shape.table in run.empty:
        return sa.false()
    pairs = [relation.at(staged, name) == relation.target.c[name] for name in shape.key]
    map = relation.map.alias()
    asked = sa.select(map.c.n).where(map.c.n == staged.c.n).exists()
    return sa.select(staged.c.n).where(*pairs, ~asked).exists()


def _spare(run: Run, reference: Reference, asked: set[TableId]) -> int:
    """Keep the rows that a row refers to which stays."""
    parent = run.relations[reference.parent]
    doomed, target, child = parent.doomed, parent.target.alias(), _live(run, reference.table)
    pairs = [
        child.c[column] == target.c[name]
        for column, name in zip(reference.columns, reference.referenced, strict=True)
    ]
    staying: list[sa.ColumnElement[bool]] = []
    if reference.table in asked:
        own = run.relations[reference.table]
        staying.append(
            ~sa.select(sa.literal(1)).select_from(own.doomed).where(own.same_key(own.doomed, child)).exists()
        )
    if reference.table in run.relations and reference.table not in run.empty:
        staying.append(~_moved(run, reference, child))
    refers = sa.select(sa.literal(1)).select_from(child.join(target, sa.and_(*pairs)))
    refers = refers.where(parent.same_key(doomed, target), *staying)
    return run.do(doomed.delete().where(refers.exists()))


def _live(run: Run, table: TableId) -> sa.FromClause:
    if table in run.relations:
        return run.relations[table].target.alias()
    described = run.session.schema.table(table)
    assert described is not None
    columns = [sa.Column(one.name, Raw(one.type)) for one in described.columns]
    return sa.Table(table.name, sa.MetaData(), *columns, schema=table.schema).alias()


def _moved(run: Run, reference: Reference, child: sa.FromClause) -> sa.ColumnElement[bool]:
    """The live row is updated, and refers to another row then."""
    relation = run.relations[reference.table]
    map, d = relation.map.alias(), differing(relation)
    query = (
        sa.select(map.c.n).join(d, d.c.n == map.c.n).where(d.c.verb == UPDATE, relation.same_key(map, child))
    )
    f = final(run, relation)
    lost = [f.c[f"x{relation.shape.source(column)}"] for column in reference.columns]
    query = query.join(f, f.c.n == map.c.n).where(~sa.or_(*lost))
    return query.exists()


def write(run: Run, components: Sequence[Sequence[Relation]]) -> list[Rejected]:
    """The rows that the database refused, where such rows may be set aside."""
    rejected: list[Rejected] = []
    for component in components:
        if rejected:
            rejecting.without_lost_parents(run, component)
        rejected += _create(run, [one for one in component if one.shape.table not in run.empty])
    for component in components:
        for relation in component:
            if run.asked.verbs.update and relation.shape.table not in run.empty and run.compared(relation):
                rejected += _update_all(run, relation)
    if run.asked.verbs.delete:
        for component in reversed(components):
            run.session.write_together(
                [_delete(relation) for relation in component if relation.shape.mode != "parents"]
            )
    return rejected


def _create(run: Run, component: Sequence[Relation]) -> list[Rejected]:
    if not run.asked.rejects or len(component) != 1:  # in a circle no row can be tried alone
        run.session.write_together([_insert(run, one) for one in component])
        return []
    (relation,) = component
    map = relation.map
    new = sa.select(map.c.n).where(map.c.act == Act.NEW)
    return rejecting.write(run, relation, new, lambda a, b: _insert(run, relation, (a, b)), "created")


def _update_all(run: Run, relation: Relation) -> list[Rejected]:
    if not run.asked.rejects:
        run.do(_update(run, relation))
        return []
    d = differing(relation)
    rows = sa.select(d.c.n).where(d.c.verb == UPDATE)
    return rejecting.write(run, relation, rows, lambda a, b: _update(run, relation, (a, b)), "updated")


def _delete(relation: Relation) -> sa.Delete:
    target, doomed = relation.target, relation.doomed
    gone = sa.select(sa.literal(1)).select_from(doomed).where(relation.same_key(doomed, target)).exists()
    return target.delete().where(gone)


def _insert(run: Run, relation: Relation, between: tuple[int, int] | None = None) -> sa.Executable:
    one = Final(run, relation)
    filled = relation.shape.filled
    columns = (*relation.shape.written, *filled)
    values = [one[name] for name in relation.shape.written]
    values += [of_type(value, relation.shape.types[name]) for name, value in filled.items()]
    query = one.select(*values, act=Act.NEW)
    query = query.where(one.map.c.n.between(*between)) if between else query
    insert = InsertWithKeys(relation.target) if relation.shape.overriding else sa.insert(relation.target)
    return insert.from_select(list(columns), query)


def _update(run: Run, relation: Relation, between: tuple[int, int] | None = None) -> sa.Executable:
    columns = run.compared(relation)
    one, target, d = Final(run, relation), relation.target, differing(relation)
    live = relation.target.alias("live")
    values = [one.kept(name, live).label(f"v{at}") for at, name in enumerate(columns)]
    source = (
        sa.select(*relation.of_map(one.map), *values)
        .select_from(one.clause.join(d, d.c.n == one.map.c.n).join(live, relation.same_key(one.map, live)))
        .where(d.c.verb == UPDATE, d.c.n.between(*between) if between else sa.true())
        .subquery("changed")
    )
    statement = sa.update(target).where(relation.same_key(source, target))
    return statement.values({name: source.c[f"v{at}"] for at, name in enumerate(columns)})
