"""An undo: the rows that a restore touched become as they were, by their keys.

The writes of the restore are taken back in the reverse order: rows that it deleted are created, rows that it updated get their old
values, rows that it created are deleted. So each step leads to a state that was there before.

A row that was changed since is not touched. The plan names it, and without `except_changed` it refuses the undo.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import InsertWithKeys, Raw, as_text, content, texts
from backup_pipeline.databases.merge.fitting import comparable
from backup_pipeline.databases.merge.graph import Reference, named, order
from backup_pipeline.databases.merge.images import Keeper
from backup_pipeline.databases.merge.plan import EXAMPLES, Conflict, Did, MergePlan, TableMerge
from backup_pipeline.databases.merge.references import references_of
from backup_pipeline.databases.merge.rules import Rules
from backup_pipeline.databases.merge.session import Session, Staged
from backup_pipeline.errors import TargetChanged
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Table, TableId

Condition = sa.ColumnElement[bool]
#: Why a row cannot be as it was.
_WHY = {
    "changed": "it was changed since",
    "gone": "it was deleted since",
    "taken": "another row has its key now",
    "unique-taken": "another row has a value of it that only one row may have",
    "referred": "a row that was made since refers to it",
    "parent-gone": "a row that it refers to is gone",
}


@dataclass(frozen=True, slots=True)
class Image:
    """The touched rows of one table, at one side of the restore."""

    table: TableId
    columns: tuple[str, ...]
    rows: Callable[[], Iterable[bytes]]


Sides = tuple[Sequence[Image], Sequence[Image]]


@dataclass(frozen=True)
class Touched:
    """The touched rows of one table: staging tables with its rows before and after the restore."""

    session: Session
    described: Table
    columns: tuple[str, ...]
    number: int
    #: Columns that SQL of rules computes again after the undo.
    derived: frozenset[str]

    @property
    def table(self) -> TableId:
        return self.described.id

    @property
    def key(self) -> tuple[str, ...]:
        return self.described.primary_key.columns if self.described.primary_key else ()

    @cached_property
    def kinds(self) -> dict[str, str]:
        return {one.name: one.type for one in self.described.columns}

    @cached_property
    def target(self) -> sa.Table:
        columns = [sa.Column(name, Raw(kind)) for name, kind in self.kinds.items()]
        if not self.key:
            columns.append(sa.Column(self.row_name, Raw("tid")))
        return sa.Table(self.table.name, sa.MetaData(), *columns, schema=self.table.schema)

    @cached_property
    def row_name(self) -> str:
        return self.session.row_name(self.table)

    def _staging(self, side: str) -> sa.Table:
        columns = [sa.Column(f"c{at}", Raw(self.kinds[name])) for at, name in enumerate(self.columns)]
        n = sa.Column("n", sa.BigInteger)
        return sa.Table(f"{side}{self.number}", sa.MetaData(), n, *columns, schema=self.session.staging)

    @cached_property
    def before(self) -> sa.Table:
        return self._staging("ub")

    @cached_property
    def after(self) -> sa.Table:
        return self._staging("ua")

    @cached_property
    def held(self) -> sa.Table:
        """Keys of rows that are not touched, and why."""
        keys = [sa.Column(f"k{at}", Raw(self.kinds[name])) for at, name in enumerate(self.key)]
        columns = [sa.Column("why", sa.Text), *keys]
        return sa.Table(f"uh{self.number}", sa.MetaData(), *columns, schema=self.session.staging)

    def of(self, staged: sa.FromClause, column: str) -> sa.ColumnElement[Any]:
        return staged.c[f"c{self.columns.index(column)}"]

    def keys(self, staged: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        return [self.of(staged, name) for name in self.key]

    def same(self, one: Sequence[sa.ColumnElement[Any]], other: Sequence[sa.ColumnElement[Any]]) -> Condition:
        return sa.and_(*(a == b for a, b in zip(one, other, strict=True)))

    def live_keys(self, target: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        return [target.c[name] for name in self.key]

    def held_keys(self, held: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        return [held.c[f"k{at}"] for at in range(len(self.key))]

    def differs(self, staged: sa.FromClause, target: sa.FromClause) -> Condition:
        found = []
        for name in (name for name in self.columns if name not in self.derived):
            pair: list[sa.ColumnElement[Any]] = [self.of(staged, name), target.c[name]]
            one, other = pair if comparable(self.kinds[name]) else map(as_text, pair)
            found.append(one.is_distinct_from(other))
        return sa.or_(*found)


@dataclass(frozen=True)
class Undoing:
    """One undo on its way."""

    session: Session
    touched: tuple[Touched, ...]
    #: Parents first.
    components: tuple[tuple[Touched, ...], ...]
    references: tuple[Reference, ...]
    plan: MergePlan


def _do(session: Session, statement: sa.Executable) -> int:
    found = session.connection.execute(statement, execution_options={"preserve_rowcount": True})
    return int(found.rowcount)


def prepare(
    session: Session,
    images: Sides,
    base: MergePlan,
    rules: Rules,
    *,
    except_changed: bool,
) -> Undoing:
    """`images`: before and after. `base`: a plan with the names of the restore, filled here."""
    refused = list(_unfit(session, images))
    if refused:
        return Undoing(session, (), (), (), replace(base, refused=tuple(refused)))
    touched = tuple(_staged(session, images, rules))
    references = references_of(session.schema, rules)
    by_table = {one.table: one for one in touched}
    groups = order(by_table, [one for one in references if one.table in by_table and one.parent in by_table])
    components = tuple(tuple(by_table[table] for table in some) for some in groups)
    if base.did != "plan":
        around = {one.table for one in references if one.parent in by_table}
        session.lock(sorted({*by_table, *around}), waiting=60.0)
    for one in touched:
        if one.key:
            _hold_changed(session, one)
    while sum(_hold_bound(session, by_table, reference) for reference in references):
        pass
    counts = tuple(_counted(session, one) for one in sorted(touched, key=lambda one: one.table))
    held = [one for one in counts if one.conflicts]
    if not except_changed:
        refused += [
            Finding.of(
                "undo-changed",
                table=one.table,
                name=named(one.table),
                count=f"{one.conflicts:,}",
                examples=[conflict.message for conflict in one.examples],
            )
            for one in held
        ]
    plan = replace(base, tables=counts, refused=tuple(refused))
    return Undoing(session, touched, components, references, plan)


def _unfit(session: Session, images: Sides) -> Iterator[Finding]:
    """Tables that are another table by now."""
    for image in dict.fromkeys(image for side in images for image in side):
        table = session.schema.table(image.table)
        lost = [] if table is None else [name for name in image.columns if name not in table.exported_columns]
        if table is None or lost:
            why = f"has no {', '.join(lost)} any more" if lost else "is gone"
            yield Finding.of("undo-table-changed", table=image.table, name=named(image.table), why=why)


def _staged(session: Session, images: Sides, rules: Rules) -> Iterator[Touched]:
    before, after = ({image.table: image for image in side} for side in images)
    for number, table in enumerate(sorted({*before, *after})):
        described = session.schema.table(table)
        assert described is not None
        columns = (before.get(table) or after[table]).columns
        one = Touched(session, described, columns, number, rules.computed(table))
        kinds = tuple(one.kinds[name] for name in columns)
        for side, staged in ((before, one.before), (after, one.after)):
            rows = side[table].rows() if table in side else ()
            session.fill(Staged(table, columns, kinds, staged.name), rows)
            if one.key:
                places = [staged.c[f"c{columns.index(name)}"] for name in one.key]
                sa.Index(f"{staged.name}_key", *places).create(session.connection, checkfirst=False)
        if one.key:
            one.held.create(session.connection, checkfirst=False)
        yield one


def _hold(session: Session, one: Touched, why: str, keys: Sequence[Any], rows: sa.Select[Any]) -> int:
    """Note keys of rows that are not touched; each once."""
    held, known = one.held, one.held.alias()
    query = rows.with_only_columns(sa.literal(why), *keys)
    query = query.where(~sa.select(known.c.why).where(one.same(one.held_keys(known), keys)).exists())
    return _do(session, held.insert().from_select(list(held.c.keys()), query.distinct()))


def _hold_changed(session: Session, one: Touched) -> None:
    before, after, live = one.before, one.after, one.target.alias()
    keys, old = one.keys(after), one.keys(before)
    there = sa.select(sa.literal(1)).select_from(live)
    same = one.same(one.live_keys(live), keys)
    _hold(session, one, "gone", keys, sa.select(after.c.n).where(~there.where(same).exists()))
    changed = sa.select(after.c.n).select_from(after.join(live, same)).where(one.differs(after, live))
    _hold(session, one, "changed", keys, changed)
    deleted = _deleted(one)
    taken = there.where(one.same(one.live_keys(live), old)).exists()
    _hold(session, one, "taken", old, deleted.where(taken))
    table = one.described
    uniques = [key.columns for key in table.uniques]
    uniques += [
        tuple(part.column for part in index.parts)
        for index in table.indexes
        if index.unique and index.predicate is None and all(part.column for part in index.parts)
    ]
    for columns in dict.fromkeys(uniques):
        if all(name in one.columns for name in columns):
            mine = one.same([one.of(before, name) for name in columns], [live.c[name] for name in columns])
            touched = sa.select(after.c.n).where(one.same(keys, one.live_keys(live))).exists()
            itself = one.same(old, one.live_keys(live))
            other = there.where(mine, ~touched, ~itself).exists()
            _hold(session, one, "unique-taken", old, sa.select(before.c.n).where(other))


def _deleted(one: Touched) -> sa.Select[Any]:
    """The rows that the restore deleted."""
    before, after = one.before, one.after
    stayed = sa.select(after.c.n).where(one.same(one.keys(after), one.keys(before))).exists()
    return sa.select(before.c.n).where(~stayed)


def _created(one: Touched, after: sa.FromClause) -> Condition:
    before = one.before.alias()
    return ~sa.select(before.c.n).where(one.same(one.keys(before), one.keys(after))).exists()


def _free(one: Touched, staged: sa.FromClause) -> Condition:
    """The row is not held."""
    held = one.held.alias()
    return ~sa.select(held.c.why).where(one.same(one.held_keys(held), one.keys(staged))).exists()


def _hold_bound(session: Session, touched: dict[TableId, Touched], reference: Reference) -> int:
    """A row that will be deleted and that another row refers to; a row that will be created and lacks its parent."""
    found = 0
    parent, child = touched.get(reference.parent), touched.get(reference.table)
    if parent is not None and parent.key and set(reference.referenced) <= set(parent.columns):
        found += _hold_parents(session, parent, child, reference)
    if child is not None and child.key and set(reference.columns) <= set(child.columns):
        found += _hold_children(session, child, parent, reference)
    return found


def _live(session: Session, table: TableId) -> sa.FromClause:
    described = session.schema.table(table)
    assert described is not None
    columns = [sa.Column(one.name, Raw(one.type)) for one in described.columns]
    return sa.Table(table.name, sa.MetaData(), *columns, schema=table.schema).alias()


def _hold_parents(session: Session, parent: Touched, child: Touched | None, reference: Reference) -> int:
    after = parent.after
    live = child.target.alias() if child is not None else _live(session, reference.table)
    refers = sa.select(sa.literal(1)).select_from(live)
    for column, name in zip(reference.columns, reference.referenced, strict=True):
        refers = refers.where(live.c[column] == parent.of(after, name))
    if child is not None and child.key:
        # A child that is deleted or gets its old values as well does not stay in the way, unless it is held.
        mine = child.after.alias()
        own = sa.select(mine.c.n).where(child.same(child.keys(mine), child.live_keys(live)))
        refers = refers.where(~own.where(_free(child, mine)).exists())
    elif child is not None:
        return 0  # rows without a key are taken back with the others
    query = sa.select(after.c.n).where(_created(parent, after), refers.exists())
    return _hold(session, parent, "referred", parent.keys(after), query)


def _hold_children(session: Session, child: Touched, parent: Touched | None, reference: Reference) -> int:
    before = child.before
    live = parent.target.alias() if parent is not None else _live(session, reference.parent)
    values = [child.of(before, column) for column in reference.columns]
    there = sa.select(sa.literal(1)).select_from(live)
    for value, name in zip(values, reference.referenced, strict=True):
        there = there.where(live.c[name] == value)
    missing: list[Condition] = [value.is_not(None) for value in values]
    if parent is not None and parent.key and set(reference.referenced) <= set(parent.columns):
        again = parent.before.alias()
        back = sa.select(again.c.n).where(_free(parent, again))
        made = parent.after.alias()
        goes = sa.select(made.c.n).where(
            parent.same(parent.keys(made), parent.live_keys(live)),
            _created(parent, made),
            _free(parent, made),
        )
        there = there.where(~goes.exists())
        for value, name in zip(values, reference.referenced, strict=True):
            back = back.where(parent.of(again, name) == value)
        missing.append(~back.exists())
    query = sa.select(before.c.n).where(*missing, ~there.exists(), _free(child, before))
    return _hold(session, child, "parent-gone", child.keys(before), query)


def _counted(session: Session, one: Touched) -> TableMerge:
    def count(query: sa.Select[Any]) -> int:
        return int(
            session.connection.execute(sa.select(sa.func.count()).select_from(query.subquery())).scalar() or 0
        )

    if not one.key:
        created = count(sa.select(one.before.c.n))
        deleted = count(sa.select(one.after.c.n))
        return TableMerge(one.table, staged=created + deleted, create=created, delete=deleted)
    before, after, held = one.before, one.after, one.held
    updated = sa.select(before.c.n).join(after, one.same(one.keys(before), one.keys(after)))
    examples = session.connection.execute(
        sa.select(held.c.why, texts(one.held_keys(held))).order_by(*one.held_keys(held)).limit(EXAMPLES)
    ).all()
    return TableMerge(
        one.table,
        staged=count(sa.select(before.c.n)) + count(sa.select(after.c.n).where(_created(one, after))),
        create=count(_deleted(one).where(_free(one, before))),
        update=count(updated.where(_free(one, before))),
        delete=count(sa.select(after.c.n).where(_created(one, after), _free(one, after))),
        conflicts=count(sa.select(held.c.why)),
        examples=tuple(
            Conflict(why, f"{named(one.table)} {key}: {_WHY[why]}", str(key)) for why, key in examples
        ),
    )


# ── writing


def write(undoing: Undoing, keeper: Keeper | None) -> None:
    """The caller commits. The record of the undo holds the same rows with the sides changed."""
    session = undoing.session
    if keeper is not None:
        for one in undoing.touched:
            _keep(session, keeper, one)
    start = session.counted().total
    for component in undoing.components:
        session.write_together([_insert(one) for one in component])
    for component in undoing.components:
        for one in component:
            if one.key:
                _update(undoing, one)
    for component in reversed(undoing.components):
        session.write_together([_delete(one) for one in component])
    wrote, wanted = session.counted().total - start, undoing.plan.writes
    if wrote < wanted:  # of rows without a key no other step can know it
        raise TargetChanged(
            f"{wrote:,} rows could be taken back, and the restore wrote {wanted:,}",
            remedy="rows without a key were changed since; the rows of the pre-restore backup can be merged with "
            "`restore --live`; nothing was written",
        )


def _keep(session: Session, keeper: Keeper, one: Touched) -> None:
    for which, staged in (("before", one.after), ("after", one.before)):
        query = sa.select(*(one.of(staged, name) for name in one.columns))
        query = query.where(_free(one, staged)) if one.key else query
        if session.connection.execute(query.limit(1)).first() is not None:
            blocks = session.out(query)
            keeper.image(one.table, one.columns, one.key, which, blocks)  # type: ignore[arg-type]


def _insert(one: Touched) -> sa.Insert:
    before = one.before
    columns = list(one.columns)
    query = sa.select(*(one.of(before, name) for name in columns))
    if one.key:
        stayed = sa.select(one.after.c.n).where(one.same(one.keys(one.after), one.keys(before))).exists()
        query = query.where(~stayed, _free(one, before))
    always = any(column.identity == "always" for column in one.described.columns)
    insert = InsertWithKeys(one.target) if always else sa.insert(one.target)
    return insert.from_select(columns, query)


def _update(undoing: Undoing, one: Touched) -> None:
    names = [name for name in one.columns if name not in one.key]
    if not names:
        return
    before, target = one.before, one.target
    both = sa.select(one.after.c.n).where(one.same(one.keys(one.after), one.keys(before))).exists()
    statement = sa.update(target).where(
        one.same(one.keys(before), one.live_keys(target)), both, _free(one, before)
    )
    _do(undoing.session, statement.values({name: one.of(before, name) for name in names}))


def _delete(one: Touched) -> sa.Delete:
    after, target = one.after, one.target
    if one.key:
        gone = sa.select(after.c.n).where(one.same(one.keys(after), one.live_keys(target)))
        return target.delete().where(gone.where(_created(one, after), _free(one, after)).exists())
    # Without a key: as many rows with these values as the restore created, the newest of them.
    values = [one.of(after, name) for name in one.columns]
    wanted = sa.select(content(*values).label("content"), sa.func.count().label("times")).group_by(
        content(*values)
    )
    counted = wanted.subquery()
    row = target.c[one.row_name]
    text = content(*(target.c[name] for name in one.columns))
    number = sa.func.row_number().over(partition_by=text, order_by=row.desc())
    numbered = sa.select(row.label("row"), text.label("content"), number.label("number")).subquery()
    chosen = sa.select(numbered.c.row).join(counted, counted.c.content == numbered.c.content)
    return target.delete().where(row.in_(chosen.where(numbered.c.number <= counted.c.times)))


def base_plan(names: tuple[str, str], session: Session, did: Did, why: str) -> MergePlan:
    """`names`: the system, and the restore that is undone."""
    return MergePlan(
        system=names[0],
        backup_id=names[1],
        engine=session.schema.engine,
        target=session.address,
        did=did,
        strategy="undo",
        why=why,
    )
