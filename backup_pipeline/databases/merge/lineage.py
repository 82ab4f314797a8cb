"""Whether an equal key may mean an equal row: docs/MERGE.md, "Lineage"."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from backup_pipeline.databases.merge.matching import Matching
from backup_pipeline.databases.merge.relations import Relation, Run
from backup_pipeline.databases.merge.translating import Translated

#: What tells one database of a server from another.
_IDENTITY = ("system_identifier", "database_oid", "database_xmin")
#: So many rows of a table are looked at.
_SAMPLE = 20_000


def of(run: Run, state: Mapping[str, str]) -> tuple[bool, str]:
    if run.asked.lineage != "auto":
        return run.asked.lineage == "same", "the order says so"
    known = [run.session.state.get(name) for name in _IDENTITY]
    if all(known) and known == [state.get(name) for name in _IDENTITY]:
        return True, "it is the database that the backup was made of"
    strong, weak = (0, 0), (0, 0)
    for relation in run.relations.values():
        if relation.shape.keyed and relation.shape.generated and relation.shape.table not in run.empty:
            found = _compared(run, relation)
            strong = strong[0] + found[0], strong[1] + found[1]
            weak = weak[0] + found[2], weak[1] + found[3]
    if sum(strong):
        why = "and are known by natural keys or by the moment they were made"
        return strong[0] >= strong[1], f"{strong[0]:,} of {sum(strong):,} rows with equal keys agree, {why}"
    if sum(weak):
        return weak[0] >= 9 * weak[
            1
        ], f"{weak[0]:,} of {sum(weak):,} rows with equal keys agree in their contents"
    return False, "no row of the target has the key of a row of the backup"


def _compared(run: Run, relation: Relation) -> Sequence[int]:
    """Of rows with equal keys: those that agree and those that are contradicted, where birth or natural keys can be
    compared; and the same of the others. References are not translated yet."""
    staged, target = relation.staged, relation.target.alias()
    some = sa.select(staged).where(staged.c.n <= _SAMPLE).subquery()
    matching = Matching(run, relation, Translated(relation, some, frozenset()))
    (name,) = relation.shape.key
    joined = some.join(target, matching.rows[name] == target.c[name])
    strong, apart = matching.well_known(target), matching.contradicted(target)
    sums = [
        sa.func.coalesce(sa.func.sum(sa.case((sa.and_(one, other), 1), else_=0)), 0)
        for one in (strong, ~strong)
        for other in (~apart, apart)
    ]
    return [int(count) for count in run.all(sa.select(*sums).select_from(joined))[0]]
