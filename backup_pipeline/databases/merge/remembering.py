"""What a merge remembers in its target: the keys that rows got, and that the restore was committed.

Both are written in the transaction of the merge. So the same merge again finds the rows that it created, also where they were
changed meanwhile. A process that finds a record without an end asks the target whether the restore happened.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import Raw, as_text
from backup_pipeline.databases.merge.relations import Act, How, Relation, Run
from backup_pipeline.databases.merge.session import Memory, Session
from backup_pipeline.model.findings import Finding


def _map(session: Session) -> sa.Table:
    schema, name = session.own_table("map")
    names = ("lineage", "table_name", "old_key", "new_key", "restore_id", "until")
    key = sa.PrimaryKeyConstraint("lineage", "table_name", "old_key")
    return sa.Table(name, sa.MetaData(), *(sa.Column(one, sa.Text) for one in names), key, schema=schema)


def _restores(session: Session) -> sa.Table:
    schema, name = session.own_table("restores")
    columns = (sa.Column("restore_id", sa.Text, primary_key=True), sa.Column("until", sa.Text))
    return sa.Table(name, sa.MetaData(), *columns, schema=schema)


def _there(session: Session, table: sa.Table) -> bool:
    return session.has_own_place() and bool(
        sa.inspect(session.connection).has_table(table.name, schema=table.schema)
    )


def happened(session: Session, restore_id: str) -> bool | None:
    """Whether this restore was committed here; None: the target does not tell. Without an older entry it may have remembered
    nothing at that time: the login of the restore was not allowed to make the place."""
    table = _restores(session)
    if not _there(session, table):
        return None
    known = sa.select(sa.func.max(table.c.restore_id)).where(table.c.restore_id <= restore_id)
    newest = session.connection.execute(known).scalar()
    return None if newest is None else newest == restore_id


def is_kept(session: Session) -> bool:
    """Whether the target has a map."""
    return _there(session, _map(session))


def known_rows(run: Run, relation: Relation) -> sa.Subquery | None:
    """Old keys as text, and the rows that the map names for them, where they are still there."""
    memory, shape = run.memory, relation.shape
    if not (run.has_map and memory and memory.lineage and shape.keyed and shape.generated):
        return None
    (name,) = shape.key
    map, target = _map(run.session), relation.target.alias()
    key = sa.cast(map.c.new_key, Raw(shape.types[name]))
    named = sa.and_(map.c.lineage == memory.lineage, map.c.table_name == str(shape.table))
    joined = map.join(target, target.c[name] == key)
    return sa.select(map.c.old_key, target.c[name]).select_from(joined).where(named).subquery()


def remember(run: Run, relations: Iterable[Relation], memory: Memory) -> tuple[Finding, ...]:
    """Where the target does not let us, the merge goes on, and that is told."""
    session = run.session
    if why := session.make_own_place():
        return (Finding.of("merge-not-remembered", why=why),)
    map, restores = _map(session), _restores(session)
    for table in (map, restores):
        if not _there(session, table):
            table.create(session.connection, checkfirst=False)
    _expire(session, map, restores)
    if memory.restore_id:
        run.do(sa.insert(restores).values(restore_id=memory.restore_id, until=memory.until))
    for relation in relations:
        if memory.lineage and relation.shape.table not in run.empty:
            _note(run, relation, map, memory)
    return ()


def _note(run: Run, relation: Relation, map: sa.Table, memory: Memory) -> None:
    """Rows that only the map will know again: those with another key than in the backup, or with no key of this lineage."""
    shape, mapped, staged = relation.shape, relation.map, relation.staged
    if not (shape.keyed and shape.generated):
        return
    old, new = as_text(relation.at(staged, shape.key[0])), as_text(mapped.c.k0)
    written = sa.or_(mapped.c.act == Act.NEW, sa.and_(mapped.c.act == Act.MATCH, mapped.c.how == How.CONTENT))
    chosen = (
        sa.select(old.label("old_key"), new.label("new_key"))
        .select_from(mapped.join(staged, staged.c.n == mapped.c.n))
        .where(written, old != new if run.same_lineage else sa.true())
        .subquery()
    )
    named = sa.and_(map.c.lineage == memory.lineage, map.c.table_name == str(shape.table))
    run.do(map.delete().where(named, map.c.old_key.in_(sa.select(chosen.c.old_key))))
    query = sa.select(
        sa.literal(memory.lineage),
        sa.literal(str(shape.table)),
        chosen.c.old_key,
        chosen.c.new_key,
        sa.literal(memory.restore_id),
        sa.literal(memory.until),
    )
    run.do(map.insert().from_select([column.name for column in map.c], query))


def undone(session: Session, restore_id: str, memory: Memory | None) -> None:
    """The rows of the restore are gone, or as they were. The undo is noted as a restore is."""
    if memory is not None and memory.restore_id and not session.make_own_place():
        restores = _restores(session)
        if not _there(session, restores):
            restores.create(session.connection, checkfirst=False)
        noted = sa.insert(restores).values(restore_id=memory.restore_id, until=memory.until)
        session.connection.execute(noted)
    for table in (_map(session), _restores(session)):
        if _there(session, table):
            session.connection.execute(table.delete().where(table.c.restore_id == restore_id))
    _expire(session, _map(session), _restores(session))


def _expire(session: Session, *tables: sa.Table) -> None:
    """Without an undo that could need it, nothing is remembered."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    for table in tables:
        if _there(session, table):
            past = sa.and_(table.c.until != "", table.c.until < now)
            session.connection.execute(table.delete().where(past))
