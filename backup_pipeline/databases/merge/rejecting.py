"""Rows that the database refuses are isolated by halving, set aside, and left out; so are new rows that need one of them.

Only data errors lead here. A lost connection, a missing right or a full disk end the merge.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import sqlalchemy as sa

from backup_pipeline.databases.merge import settling
from backup_pipeline.databases.merge.constructs import as_text
from backup_pipeline.databases.merge.plan import Rejected
from backup_pipeline.databases.merge.relations import Act, Relation, Run
from backup_pipeline.errors import RowsRefused

#: Makes the statement for the rows whose number is from the first to the second, both included.
Between = Callable[[int, int], sa.Executable]
#: So many refused rows are no accident.
_MOST = 10_000


def write(
    run: Run, relation: Relation, rows: sa.Select[tuple[int]], between: Between, why: str
) -> list[Rejected]:
    """`rows`: the numbers of the rows. Each row that is refused is no row of the merge any more."""
    numbers = sorted(int(n) for (n,) in run.all(rows))
    waiting = [numbers] if numbers else []
    found: list[Rejected] = []
    while waiting:
        part = waiting.pop()
        error = _try(run, between(part[0], part[-1]))
        if error is None:
            continue
        if len(part) > 1:
            half = len(part) // 2
            waiting += [part[half:], part[:half]]
            continue
        if len(found) >= _MOST:
            raise error
        found.append(_reject(run, relation, part[0], error, why))
    return found


def _try(run: Run, statement: sa.Executable) -> RowsRefused | None:
    savepoint = run.session.connection.begin_nested()
    try:
        run.session.connection.execute(statement)
    except RowsRefused as error:
        savepoint.rollback()
        return error
    savepoint.commit()
    return None


def _reject(run: Run, relation: Relation, n: int, error: RowsRefused, why: str) -> Rejected:
    shape, staged, map = relation.shape, relation.staged, relation.map
    columns = [as_text(staged.c[f"c{at}"]) for at in range(len(shape.columns))]
    values = run.all(sa.select(*columns).where(staged.c.n == n))[0]
    act = Act.SKIP if why == "created" else Act.MATCH
    run.do(sa.update(map).where(map.c.n == n).values(act=int(act), why="refused"))
    d = settling.differing(relation)
    run.do(sa.update(d).where(d.c.n == n).values(verb=settling.KEPT))
    return Rejected(
        shape.table, error.message, error.sqlstate, tuple(one.name for one in shape.columns), tuple(values)
    )


def without_lost_parents(run: Run, component: Sequence[Relation]) -> None:
    """Rows of this component may need a row that was refused."""
    settling.prune(run, [component])
    for relation in component:
        if run.outgoing(relation.shape.table) and relation.shape.table not in run.empty:
            run.make_anew(settling.final(run, relation))
            settling.final_references(run, relation)
