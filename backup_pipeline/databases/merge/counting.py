"""The plan, read out of the maps: how many rows of each table have which fate, with examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import texts
from backup_pipeline.databases.merge.graph import named
from backup_pipeline.databases.merge.plan import EXAMPLES, Conflict, Difference, TableMerge
from backup_pipeline.databases.merge.relations import Act, Column, How, Relation, Run
from backup_pipeline.databases.merge.settling import UPDATE, Final, differing, final, referring

_HOW = {
    How.REMEMBERED: "remembered",
    How.SAME_KEY: "same key",
    How.NATURAL: "natural key",
    How.UUID: "uuid",
    How.CONTENT: "content",
}
_CONFLICT = {
    "keys-disagree": "its keys name several rows of the target",
    "taken-twice": "another row of the backup names the same row of the target",
    "unique-taken": "another row has a value of it that only one row may have",
}
#: Differences of one table that `--show` prints.
SHOWN = 200


def counted(run: Run, relation: Relation, spared: int) -> TableMerge:
    shape, map = relation.shape, relation.map
    deletes = run.asked.verbs.delete and shape.mode != "parents"
    delete = run.one(sa.select(sa.func.count()).select_from(relation.doomed)) if deletes else 0
    if shape.table in run.empty:
        return TableMerge(
            shape.table,
            shape.mode,
            shape.why,
            delete=delete,
            spared=spared,
            drift=shape.drift,
            differences=tuple(_deleted(run, relation)) if shape.table in run.asked.show else (),
        )
    acts = _by(run, map, map.c.act)
    updates, kept = _differing(run, relation)
    matched = acts.get(Act.MATCH, 0)
    in_conflict = acts.get(Act.CONFLICT, 0)
    stuck = run.one(sa.select(sa.func.count()).where(map.c.act == Act.MATCH, map.c.why.is_not(None))) or 0
    how = _by(run, map, map.c.how, map.c.act == Act.MATCH)
    skipped = _by(run, map, map.c.why, map.c.act == Act.SKIP)
    return TableMerge(
        table=shape.table,
        mode=shape.mode,
        why=shape.why,
        staged=sum(acts.values()),
        matched=matched,
        create=acts.get(Act.NEW, 0),
        update=updates,
        delete=delete,
        unchanged=matched - updates - kept,
        kept=kept,
        skipped=skipped,
        nulled=_nulled(run, relation),
        remapped=_remapped(run, relation),
        conflicts=in_conflict + stuck,
        examples=_examples(run, relation) if in_conflict + stuck else (),
        identity={_HOW[How(one)]: count for one, count in sorted(how.items())},
        unused_keys=(*shape.unused_keys, *run.unused_keys.get(shape.table, ())),
        drift=shape.drift,
        spared=spared,
        differences=_differences(run, relation) if shape.table in run.asked.show else (),
    )


def _by(run: Run, table: sa.Table, column: Column, *where: sa.ColumnElement[bool]) -> dict[Any, int]:
    query = sa.select(column, sa.func.count()).select_from(table).where(*where).group_by(column)
    return {value: count for value, count in run.all(query)}  # noqa: C416 - a row is no pair of a dict


def _differing(run: Run, relation: Relation) -> tuple[int, int]:
    d = differing(relation)
    found = _by(run, d, d.c.verb)
    return found.pop(UPDATE, 0), sum(found.values())


def _nulled(run: Run, relation: Relation) -> Mapping[str, int]:
    """New rows in which a reference becomes NULL; a matched row keeps its live value."""
    if not run.outgoing(relation.shape.table):
        return {}
    f, map = final(run, relation), relation.map
    joined = f.join(map, map.c.n == f.c.n)
    names = referring(run, relation)
    lost = [sa.func.sum(sa.case((f.c[f"x{relation.shape.source(name)}"], 1), else_=0)) for name in names]
    counts = run.all(sa.select(*lost).select_from(joined).where(map.c.act == Act.NEW))[0]
    table = named(relation.shape.table)
    return {f"{table}.{name}": int(count) for name, count in zip(names, counts, strict=True) if count}


def _remapped(run: Run, relation: Relation) -> int:
    shape, map, staged = relation.shape, relation.map, relation.staged
    if not (shape.keyed and shape.generated):
        return 0
    (name,) = shape.key
    query = sa.select(sa.func.count()).select_from(map.join(staged, staged.c.n == map.c.n))
    other = relation.at(staged, name).is_distinct_from(map.c.k0)
    return int(run.one(query.where(map.c.act == Act.NEW, other)) or 0)


def _key_text(relation: Relation, staged: sa.FromClause) -> Column:
    names = relation.shape.key if relation.shape.keyed else ()
    return texts([relation.at(staged, name) for name in names]) if names else texts([staged.c.n])


def _examples(run: Run, relation: Relation) -> tuple[Conflict, ...]:
    map, staged = relation.map, relation.staged
    hurt = sa.or_(map.c.act == Act.CONFLICT, sa.and_(map.c.act == Act.MATCH, map.c.why.is_not(None)))
    query = sa.select(map.c.n, map.c.why, _key_text(relation, staged))
    query = query.select_from(map.join(staged, staged.c.n == map.c.n)).where(hurt)
    table, found = named(relation.shape.table), []
    for n, why, key in run.all(query.order_by(map.c.n).limit(EXAMPLES)):
        others = _others(run, relation, n) if why != "unique-taken" else ""
        found.append(Conflict(why, f"{table} {key}: {_CONFLICT[why]}{others}", str(key)))
    return tuple(found)


def _others(run: Run, relation: Relation, n: int) -> str:
    disputed = relation.disputed
    query = sa.select(texts(relation.of_map(disputed))).where(disputed.c.n == n).distinct().limit(EXAMPLES)
    keys = sorted(str(key) for (key,) in run.all(query))
    return f" ({' and '.join(keys)})" if keys else ""


def _differences(run: Run, relation: Relation) -> tuple[Difference, ...]:
    return (*_changed(run, relation), *_created(run, relation), *_deleted(run, relation))[:SHOWN]


def _changed(run: Run, relation: Relation) -> list[Difference]:
    names = run.compared(relation)
    if not names:
        return []
    one, target, d = Final(run, relation), relation.target.alias(), differing(relation)
    pairs: list[Column] = []
    for name in names:
        pairs += [texts([target.c[name]]), texts([one.kept(name, target)])]
    changed = [relation.differs(name, one.kept(name, target), target.c[name]) for name in names]
    joined = one.clause.join(d, d.c.n == one.map.c.n).join(target, relation.same_key(one.map, target))
    query = sa.select(d.c.verb, texts(relation.of_map(one.map)), *pairs, *changed).select_from(joined)
    found = []
    for verb, key, *values in run.all(query.order_by(d.c.n).limit(SHOWN)):
        texts_of, flags = values[: 2 * len(names)], values[2 * len(names) :]
        columns = {
            name: (texts_of[2 * at], texts_of[2 * at + 1]) for at, name in enumerate(names) if flags[at]
        }
        found.append(Difference("update" if verb == UPDATE else "keep", str(key), columns))
    return found


def _created(run: Run, relation: Relation) -> list[Difference]:
    one = Final(run, relation)
    # A derived column gets its value after writing.
    names = [name for name in relation.shape.written if name not in relation.shape.derived]
    query = one.select(texts(relation.of_map(one.map)), *(texts([one[name]]) for name in names), act=Act.NEW)
    rows = run.all(query.order_by(one.map.c.n).limit(SHOWN))
    return [
        Difference(
            "create", str(key), {name: (None, value) for name, value in zip(names, values, strict=True)}
        )
        for key, *values in rows
    ]


def _deleted(run: Run, relation: Relation) -> list[Difference]:
    if not run.asked.verbs.delete or relation.shape.mode == "parents":
        return []
    target, doomed, names = relation.target, relation.doomed, relation.shape.written
    query = sa.select(texts(relation.of_map(doomed)), *(texts([target.c[name]]) for name in names))
    rows = run.all(query.select_from(doomed.join(target, relation.same_key(doomed, target))).limit(SHOWN))
    return [
        Difference(
            "delete", str(key), {name: (value, None) for name, value in zip(names, values, strict=True)}
        )
        for key, *values in rows
    ]
