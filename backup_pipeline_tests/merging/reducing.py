"""Makes a failing case smaller: fewer tables, columns, references, rows and wishes, as long as it fails. Hypothesis would
shrink its tape of bytes, which is slow and says little."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from backup_pipeline.databases.merge.asked import Verbs
from backup_pipeline_tests.merging.generating import VALUES, Case, repaired
from backup_pipeline_tests.merging.shapes import Design, Row, Rows, Shape


def reduced(case: Case, fails: Callable[[Case], bool], *, seconds: float = 60.0) -> Case:
    until = time.monotonic() + seconds
    again = True
    while again:
        again = False
        for smaller in smaller_cases(case):
            if time.monotonic() > until:
                return case
            if is_sound(smaller) and fails(smaller):
                case, again = smaller, True
                break
    return case


def is_sound(case: Case) -> bool:
    """The databases would take these tables and rows, and the order fits them."""
    by_name = case.design.by_name
    for shape in case.design.shapes:
        for one in shape.references:
            parent = by_name[one.parent]
            whole = [parent.key, *(unique.columns for unique in parent.uniques if unique.condition is None)]
            if one.referenced not in whole:
                return False
    if not case.design.shapes or case.ask.only == frozenset():
        return False
    if any(some.column not in by_name[table].columns for table, some in case.ask.where.items()):
        return False
    return all(repaired(case.design, rows) == rows for rows in (case.backup, case.live))


def smaller_cases(case: Case) -> Iterator[Case]:
    yield from without_tables(case)
    yield from with_simpler_wishes(case)
    yield from without_rows(case)
    for shape in case.design.shapes:
        for other in simpler_shapes(shape):
            yield with_shape(case, other)
    yield from with_simpler_values(case)


def without_tables(case: Case) -> Iterator[Case]:
    for gone in case.design.shapes:
        shapes = tuple(
            replace(one, references=tuple(r for r in one.references if r.parent != gone.name))
            for one in case.design.shapes
            if one != gone
        )
        ask = case.ask
        if ask.tenant is not None and ask.tenant[0] == gone.name:
            continue
        where = {table: some for table, some in ask.where.items() if table != gone.name}
        only = None if ask.only is None else ask.only - {gone.name}
        yield replace(
            case,
            design=Design(shapes),
            backup={table: some for table, some in case.backup.items() if table != gone.name},
            live={table: some for table, some in case.live.items() if table != gone.name},
            ask=replace(ask, where=where, only=only, skip=ask.skip - {gone.name}),
        )


def with_simpler_wishes(case: Case) -> Iterator[Case]:
    ask = case.ask
    simpler = (
        replace(ask, only=None),
        replace(ask, skip=frozenset()),
        replace(ask, where={}),
        replace(ask, tenant=None),
        replace(ask, verbs=Verbs()),
        replace(ask, verbs=replace(ask.verbs, newest="")),
        replace(ask, verbs=replace(ask.verbs, update=False)),
        replace(ask, verbs=replace(ask.verbs, delete=False)),
        replace(ask, verbs=replace(ask.verbs, create=True)),
        replace(ask, same_lineage=True),
    )
    yield from (replace(case, ask=one) for one in simpler if one != ask)
    if case.reset:
        yield replace(case, reset=False)


def without_rows(case: Case) -> Iterator[Case]:
    for table in case.backup:
        if case.backup[table] or case.live[table]:
            yield replace(case, backup={**case.backup, table: []}, live={**case.live, table: []})
    for table, some in case.backup.items():
        for number, row in enumerate(some):
            backup = {**case.backup, table: [*some[:number], *some[number + 1 :]]}
            if row in case.live[table]:
                yield replace(case, backup=backup, live=without(case.live, table, row))
            yield replace(case, backup=backup)
    for table, some in case.live.items():
        for row in some:
            yield replace(case, live=without(case.live, table, row))


def without(rows: Rows, table: str, row: Row) -> Rows:
    left = list(rows[table])
    left.remove(row)
    return {**rows, table: left}


def with_shape(case: Case, shape: Shape) -> Case:
    def fitting(rows: Rows) -> Rows:
        return {
            table: [{c: row[c] for c in shape.columns} for row in some] if table == shape.name else some
            for table, some in rows.items()
        }

    shapes = tuple(shape if one.name == shape.name else one for one in case.design.shapes)
    return replace(case, design=Design(shapes), backup=fitting(case.backup), live=fitting(case.live))


def simpler_shapes(shape: Shape) -> Iterator[Shape]:
    if shape.never or shape.keep or shape.natural_keys:
        yield replace(shape, never=False)
        yield replace(shape, keep=())
        yield replace(shape, natural_keys=())
    for one in shape.references:
        yield replace(shape, references=tuple(r for r in shape.references if r != one))
        if one.policy != "ensure" or one.missing or not one.enforced:
            plain = replace(one, policy="ensure", missing=None, enforced=True)
            yield replace(shape, references=tuple(plain if r == one else r for r in shape.references))
    for unique in shape.uniques:
        yield replace(shape, uniques=tuple(u for u in shape.uniques if u != unique))
    used = {*shape.key, *shape.keep, *(c for key in shape.natural_keys for c in key)}
    used |= {c for unique in shape.uniques for c in unique.columns}
    used |= {unique.condition.column for unique in shape.uniques if unique.condition}
    used |= {c for one in shape.references for c in one.columns}
    for column in shape.columns:
        if column not in used:
            columns = {name: kind for name, kind in shape.columns.items() if name != column}
            yield replace(shape, columns=columns, nullable=shape.nullable - {column})
        elif column in shape.nullable:
            yield replace(shape, nullable=shape.nullable - {column})


def with_simpler_values(case: Case) -> Iterator[Case]:
    for side in ("backup", "live"):
        rows: Rows = getattr(case, side)
        for table, some in rows.items():
            kinds = case.design.by_name[table].columns
            for number, row in enumerate(some):
                for column, value in row.items():
                    simple = VALUES[kinds[column]][0]
                    if value not in (simple, None):
                        changed = [*some[:number], {**row, column: simple}, *some[number + 1 :]]
                        yield replace(case, **{side: {**rows, table: changed}})  # type: ignore[arg-type]
