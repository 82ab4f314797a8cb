"""From a run that has matched and settled its rows to the plan that people read: counts, reasons, strategy, digest."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from backup_pipeline.databases.merge import counting, surroundings
from backup_pipeline.databases.merge.graph import Reference, cycles, named
from backup_pipeline.databases.merge.plan import Did, MergePlan, Rejected, TableMerge
from backup_pipeline.databases.merge.relations import Act, Relation, Run
from backup_pipeline.databases.merge.settling import UPDATE, differing
from backup_pipeline.databases.merge.shape import Drawn
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.plural import plural
from backup_pipeline.model.schema import TableId
from backup_pipeline.vault.backup import Backup

#: Rows a second that a merge writes: for the estimate of time. Six related tables with indexes and foreign keys, measured.
_RATE = 25_000


@dataclass(frozen=True)
class Settled:
    """What is known when no row is asked about any more."""

    run: Run
    drawn: Drawn
    #: Parents first.
    components: tuple[tuple[Relation, ...], ...]
    references: tuple[Reference, ...]
    #: Table → live rows that stay because rows refer to them.
    spared: Mapping[TableId, int]
    #: Why equal keys mean equal rows, or not.
    lineage: str
    #: What is not rewritten.
    skipped: tuple[str, ...]


def plan_of(settled: Settled, backup: Backup, did: Did) -> MergePlan:
    run, session = settled.run, settled.run.session
    now = session.schema
    counts = _counts(settled)
    rows = {one.table: one.create + one.update for one in counts if one.writes}
    strategy, why = _strategy(run, counts)
    plan = MergePlan(
        system=backup.system,
        backup_id=backup.id,
        engine=now.engine,
        target=session.address,
        did=did,
        strategy=strategy,
        why=why,
        lineage="same" if run.same_lineage else "other",
        lineage_why=settled.lineage,
        tables=counts,
        cycles=cycles(
            [tuple(one.shape.table for one in some) for some in settled.components],
            settled.references,
            now.engine,
        ),
        findings=tuple(_findings(settled)),
        refused=(*_refused(settled.drawn), *_not_exact(run, counts)),
        locks=session.locks(rows),
        estimate=round(sum(one.writes for one in counts) / _RATE, 1),
    )
    return replace(plan, digest=digest(plan, backup, _decided(run)))


def counted_again(settled: Settled, plan: MergePlan) -> MergePlan:
    """After rows were refused."""
    return replace(plan, tables=_counts(settled))


def digest(plan: MergePlan, backup: Backup, decided: str) -> str:
    """Of the backup, of what the plan says, and of each decision; not of the time that it took, nor of the rows that it
    shows."""
    tables = tuple(replace(one, differences=()) for one in plan.tables)
    said = replace(plan, seconds=0.0, did="plan", digest="", tables=tables, locks=())
    data = backup.link.sha256.encode() + canonical.encode(said) + decided.encode()
    return hashlib.sha256(data).hexdigest()


def _decided(run: Run) -> str:
    """Digest of each decision: which row is which, which are created, and the live rows that are changed, as they are."""
    found = hashlib.sha256()
    for table in sorted(run.relations):
        found.update(str(table).encode())
        for query in _decisions(run, run.relations[table]):
            for block in run.session.out(query):
                found.update(block)
    return found.hexdigest()


def _decisions(run: Run, relation: Relation) -> Iterator[sa.Select[tuple[object, ...]]]:
    map, target = relation.map, relation.target.alias()
    live = [target.c[name] for name in relation.shape.written]
    if relation.shape.table not in run.empty:
        # The key of a new row is drawn when the row is written.
        yield sa.select(map.c.n, map.c.act, map.c.how).where(map.c.act != Act.MATCH).order_by(map.c.n)
        matched = sa.select(map.c.n, map.c.how, *relation.of_map(map)).where(map.c.act == Act.MATCH)
        yield matched.order_by(map.c.n)
        d = differing(relation)
        joined = target.join(map, relation.same_key(map, target)).join(d, d.c.n == map.c.n)
        changed = sa.select(map.c.n, *live).select_from(joined).where(d.c.verb == UPDATE)
        yield changed.order_by(map.c.n)
    if run.asked.verbs.delete and relation.shape.mode != "parents":
        doomed = relation.doomed
        joined = target.join(doomed, relation.same_key(doomed, target))
        keys = [target.c[name] for name in relation.key_names]
        yield sa.select(*keys, *live).select_from(joined).order_by(*keys)


def _counts(settled: Settled) -> tuple[TableMerge, ...]:
    run = settled.run
    counts = (
        counting.counted(run, one, settled.spared.get(table, 0))
        for table, one in sorted(run.relations.items())
    )
    return surroundings.described(run.session.schema, counts)


def _strategy(run: Run, counts: Sequence[TableMerge]) -> tuple[str, str]:
    asked = run.asked.strategy
    if asked != "auto":
        return asked, "the order says so"
    if run.bulk:
        return "bulk", "the tables of the target are empty: rows go in as they are"
    if run.same_lineage and not any(one.remapped for one in counts):
        return "exact", "the same lineage, and every row keeps its key"
    remapped = sum(one.remapped for one in counts)
    if not remapped:
        return "merge", "the target has rows of its own"
    return "merge", f"{plural(remapped, 'row gets', 'rows get')} another key"


def _not_exact(run: Run, counts: Sequence[TableMerge]) -> Iterator[Finding]:
    if run.asked.strategy == "exact":
        for one in counts:
            if one.remapped:
                name, count = named(one.table), f"{one.remapped:,}"
                yield Finding.of("merge-not-exact", table=one.table, name=name, count=count)

    if run.asked.tenant is not None and run.asked.verbs.delete:
        yield Finding.of("merge-tenant-delete")
    if run.asked.strategy == "bulk" and not run.bulk:
        yield Finding.of("merge-not-empty")


def _findings(settled: Settled) -> Iterator[Finding]:
    for table, why in sorted(settled.drawn.never.items()):
        yield Finding.of("merge-never", table=table, name=named(table), why=why)
    for why in settled.skipped:
        yield Finding.of("merge-not-followed", why=why)


def unfit(rejected: Sequence[Rejected]) -> Iterator[Finding]:
    """Rows that do not fit the types of the target, and were not asked to be set aside."""
    counts = Counter(one.table for one in rejected)
    for table, count in sorted(counts.items()):
        first = next(one.error for one in rejected if one.table == table)
        yield Finding.of("merge-rows-unfit", table=table, name=named(table), count=f"{count:,}", why=first)


def _refused(drawn: Drawn) -> Iterator[Finding]:
    for table, one in sorted(drawn.refused.items()):
        why, _, remedy = one.refused.partition(" → ")
        yield Finding.of("merge-table-refused", table=table, why=why, remedy=remedy)
