"""The rows that a merge touches, before and after: what an undo needs. `Keeper` stores them.

Before the first write: the rows that will be updated or deleted. After the last: the rows that were created or updated.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Literal, Protocol

import sqlalchemy as sa

from backup_pipeline.databases.merge.deriving import Recomputed
from backup_pipeline.databases.merge.relations import Act, Relation, Run
from backup_pipeline.databases.merge.settling import UPDATE, differing
from backup_pipeline.model.schema import TableId

Which = Literal["before", "after"]
SIDES: tuple[Which, ...] = ("before", "after")


class Keeper(Protocol):
    """The record of a restore: `vault/recording.Recording`."""

    def image(
        self,
        table: TableId,
        columns: Sequence[str],
        key: Sequence[str],
        which: Which,
        blocks: Iterable[bytes],
    ) -> int: ...

    def prepared(self) -> None: ...


def before(run: Run, keeper: Keeper, relations: Iterable[Relation]) -> None:
    for relation in relations:
        _keep(run, keeper, relation, "before", [*_updated(run, relation), *_deleted(run, relation)])


def after(run: Run, keeper: Keeper, relations: Iterable[Relation]) -> None:
    for relation in relations:
        _keep(run, keeper, relation, "after", [*_created(run, relation), *_updated(run, relation)])


def recomputed(run: Run, keeper: Keeper, found: Iterable[Recomputed]) -> None:
    """The rows that only the SQL of rules has changed."""
    for one in found:
        names = columns_of(run, one.table)
        for which in SIDES if one.rows else ():
            keeper.image(one.table, names, one.key, which, run.session.out(one.image(names, which)))


def _keep(
    run: Run,
    keeper: Keeper,
    relation: Relation,
    which: Which,
    queries: Sequence[sa.Select[Any]],
) -> None:
    blocks: Iterator[bytes] = chain.from_iterable(run.session.out(query) for query in queries)
    first = next(blocks, None)
    if first is not None:
        table = relation.shape.table
        keeper.image(table, columns_of(run, table), relation.shape.key, which, chain([first], blocks))


def columns_of(run: Run, table: TableId) -> tuple[str, ...]:
    described = run.session.schema.table(table)
    assert described is not None
    return described.exported_columns


def _all(run: Run, relation: Relation, target: sa.FromClause) -> sa.Select[Any]:
    return sa.select(*(target.c[name] for name in columns_of(run, relation.shape.table)))


def _updated(run: Run, relation: Relation) -> list[sa.Select[Any]]:
    if relation.shape.table in run.empty or not run.asked.verbs.update:
        return []
    target, map, d = relation.target.alias(), relation.map, differing(relation)
    joined = target.join(map, relation.same_key(map, target)).join(d, d.c.n == map.c.n)
    return [_all(run, relation, target).select_from(joined).where(d.c.verb == UPDATE)]


def _deleted(run: Run, relation: Relation) -> list[sa.Select[Any]]:
    if not run.asked.verbs.delete or relation.shape.mode == "parents":
        return []
    target, doomed = relation.target.alias(), relation.doomed
    return [_all(run, relation, target).select_from(target.join(doomed, relation.same_key(doomed, target)))]


def _created(run: Run, relation: Relation) -> list[sa.Select[Any]]:
    if relation.shape.table in run.empty:
        return []
    map = relation.map
    if not relation.shape.keyed:
        if run.one(sa.select(map.c.n).where(map.c.act == Act.NEW).limit(1)) is None:
            return []
        live = relation.target
        return [_all(run, relation, live).where(run.session.fresh(relation.shape.table, live))]
    target = relation.target.alias()
    joined = target.join(map, relation.same_key(map, target))
    return [_all(run, relation, target).select_from(joined).where(map.c.act == Act.NEW)]
