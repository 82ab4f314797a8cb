"""One merge from the order to its end: shape, stage, close, match, settle, count; and where it is asked for, write."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from backup_pipeline.databases.merge import (
    closing,
    deriving,
    images,
    lineage,
    matching,
    planning,
    polymorphic,
    remembering,
    rewriting,
    settling,
    telling,
    trees,
    unwritable,
    writing,
)
from backup_pipeline.databases.merge.asked import Asked
from backup_pipeline.databases.merge.graph import Reference, named, order
from backup_pipeline.databases.merge.images import Keeper
from backup_pipeline.databases.merge.keys import KeyCandidate
from backup_pipeline.databases.merge.plan import Did, MergePlan, Rejected
from backup_pipeline.databases.merge.references import (
    references_of,
    root_of,
    skipped_references,
)
from backup_pipeline.databases.merge.relations import Relation, Run
from backup_pipeline.databases.merge.rules import Rules
from backup_pipeline.databases.merge.session import Counted, Counts, Session, SessionOptions
from backup_pipeline.databases.merge.shape import asked_tables, draw
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId
from backup_pipeline.vault.backup import Backup

_NONE: Counts = (0, 0, 0)
_VERBS = ("created", "updated", "deleted")


@dataclass(frozen=True, slots=True)
class Way:
    options: SessionOptions
    #: plan: nothing is locked, and nothing can be written · dry run: no key of a sequence is used up
    did: Did


@dataclass(frozen=True)
class Prepared:
    """Everything that was decided before the first write."""

    settled: planning.Settled
    plan: MergePlan
    rejected: tuple[Rejected, ...]
    #: What is computed again after writing.
    due: deriving.Due

    @property
    def run(self) -> Run:
        return self.settled.run

    @property
    def components(self) -> tuple[tuple[Relation, ...], ...]:
        """Parents first."""
        return self.settled.components


def prepare(
    session: Session,
    backup: Backup,
    asked: Asked,
    rules: Rules,
    way: Way,
) -> Prepared:
    begin = time.monotonic()
    before, now = backup.schema, session.schema
    meant, unknown = polymorphic.found(session, backup, rules)
    references = (*references_of(now, rules), *meant)
    tables = {root_of(before, entry.id) for entry in backup.manifest.tables}
    drawn = draw(before, now, tables, rules, asked, references)
    relations = {table: Relation(shape, session) for table, shape in drawn.shapes.items()}
    by_table = {
        table: tuple(one for one in references if one.table == table and _fits(relations, one))
        for table in relations
    }
    run = Run(session, relations, asked, False, way.options.listener, by_table, rehearsal=way.did != "merge")
    run.values = rules.values
    run.memory = way.options.memory if asked.remember else None
    run.has_map = run.memory is not None and remembering.is_kept(session)
    rejected = [row for one in relations.values() for row in _stage(run, backup, one)]
    if way.did != "plan":
        session.lock(_touched(run, references, rules), waiting=way.options.waiting)
    components = _components(run)
    wanted = {table for table in asked_tables(tables, asked) if table in relations}
    if wanted != set(relations) or asked.where or asked.tenant:
        closing.close(run, wanted)
    _natural_keys(run)
    run.same_lineage, why = lineage.of(run, backup.manifest.state)
    run.bulk = _may_be_bulk(run)
    matching.match(run, [[one.shape.table for one in some] for some in components])
    trees.place(run)
    unwritable.set_aside(run)
    spared = _settle(run, components, references)
    skipped = (*skipped_references(now, rules), *unknown)
    settled = planning.Settled(run, drawn, components, references, spared, why, skipped)
    plan = planning.plan_of(settled, backup, way.did)
    written = [one.table for one in plan.tables if one.writes]
    due = deriving.due(rules, now, written)
    unfit = () if asked.rejects else planning.unfit(rejected)
    hindered = session.hindrances(sorted({*written, *due.tables}))
    plan = replace(
        plan,
        findings=(*plan.findings, *run.told, *due.findings, *telling.suggestions(run, references, rules)),
        refused=(*plan.refused, *unfit, *hindered, *telling.missing_parents(run)),
        seconds=time.monotonic() - begin,
    )
    return Prepared(settled, plan, tuple(rejected), due)


def _may_be_bulk(run: Run) -> bool:
    """No table has a row that a row of the backup could be."""
    if run.asked.strategy not in ("auto", "bulk"):
        return False
    rows = (
        run.one(sa.select(sa.literal(1)).select_from(one.target).limit(1)) for one in run.relations.values()
    )
    return all(row is None for row in rows)


def _touched(run: Run, references: Sequence[Reference], rules: Rules) -> list[TableId]:
    """Where rows are deleted, no row may come to refer to them meanwhile."""
    found = set(run.relations) | deriving.about(rules, run.relations)
    if run.asked.verbs.delete:
        found |= {one.table for one in references if one.parent in found}
    return sorted(found)


def _fits(relations: dict[TableId, Relation], one: Reference) -> bool:
    """The backup has the columns of the reference."""
    child, parent = relations[one.table].shape, relations.get(one.parent)
    if any(child.source(name) is None for name in one.columns):
        return False
    return parent is None or all(parent.shape.source(name) is not None for name in one.referenced)


def _stage(run: Run, backup: Backup, relation: Relation) -> tuple[Rejected, ...]:
    found = run.session.stage(backup, relation.shape.staged, run.listener)
    shape = relation.shape
    if not found.rows:
        run.empty.add(shape.table)
        return found.rejected
    wanted = [shape.key] if shape.keyed else []
    wanted += [
        one.referenced for some in run.references.values() for one in some if one.parent == shape.table
    ]
    for columns in dict.fromkeys(tuple(names) for names in wanted):
        if all(shape.source(name) is not None for name in columns):
            run.index(relation.staged, [f"c{shape.source(name)}" for name in columns])
    run.session.analyze(relation.staged.name)
    return found.rejected


def _components(run: Run) -> tuple[tuple[Relation, ...], ...]:
    all_of_them = [one for some in run.references.values() for one in some]
    all_of_them += rewriting.edges(run)
    return tuple(tuple(run.relations[table] for table in some) for some in order(run.relations, all_of_them))


def _natural_keys(run: Run) -> None:
    """Those that name one row at most, in staging and in the target."""
    for table, relation in run.relations.items():
        if table in run.empty:
            run.natural_keys[table] = []
            continue
        for key in relation.shape.natural_keys:
            where = _not_unique(run, relation, key)
            if where:
                run.unused_keys.setdefault(table, []).append(f"{key.name} is not unique in {where}")
            else:
                run.natural_keys.setdefault(table, []).append(key)
        run.natural_keys.setdefault(table, [])


def _not_unique(run: Run, relation: Relation, key: KeyCandidate) -> str:
    references = {column for one in run.outgoing(relation.shape.table) for column in one.columns}
    rows = run.rows(relation)
    if key.where:
        rows = sa.select(rows).where(rows.c.n.in_(relation.meeting(key))).subquery()
    staged = [relation.at(rows, name) for name in key.columns]
    target = relation.target_of(key)
    live = [target.c[name] for name in key.columns]
    for place, columns in (("the backup", staged), ("the target", live)):
        if place == "the target" and key.enforced and not references & set(key.columns):
            continue
        full = [column for name, column in zip(key.columns, columns, strict=True) if name not in references]
        twice = sa.select(sa.literal(1)).group_by(*columns).having(sa.func.count() > 1)
        twice = twice.where(
            *(column.is_not(None) for column in full), sa.or_(*(c.is_not(None) for c in columns))
        )
        if run.one(twice.limit(1)) is not None:
            return place
    return ""


def _settle(
    run: Run, components: Sequence[Sequence[Relation]], references: Sequence[Reference]
) -> dict[TableId, int]:
    while True:
        settling.prune(run, components)
        taken = 0
        for relation in (one for some in components for one in some if one.shape.table not in run.empty):
            if run.outgoing(relation.shape.table):
                run.make_anew(settling.final(run, relation))
                settling.final_references(run, relation)
            run.make_anew(settling.differing(relation))
            settling.compare(run, relation, run.compared(relation))
            unwritable.keep(run, relation)
            taken += settling.unique_taken(run, relation, _unique_keys(run, relation))
        if not taken:
            break
    if not run.asked.verbs.delete:
        return {}
    asked = [table for table, one in run.relations.items() if one.shape.mode != "parents"]
    return dict(writing.doom(run, asked, references))


def _unique_keys(run: Run, relation: Relation) -> list[KeyCandidate]:
    """What the target enforces, and the natural keys that count: they must count in the next merge as well."""
    enforced = [key for key in relation.shape.natural_keys if key.enforced]
    return list(dict.fromkeys([*enforced, *run.natural_keys[relation.shape.table]]))


def write(prepared: Prepared, keeper: Keeper | None = None) -> tuple[Prepared, tuple[Finding, ...]]:
    """Everything that the plan says; the caller commits. The plan comes back without the rows that were refused."""
    run = prepared.run
    relations = [one for some in prepared.components for one in some]
    written = {one.table: one.create + one.update for one in prepared.plan.tables if one.writes}
    findings = run.session.ready_to_write(sorted({*written, *prepared.due.tables}), run.asked.triggers)
    if keeper is not None:
        images.before(run, keeper, relations)
    before = run.session.counted()
    with run.session.fast(written):
        # An empty INSERT needs a right as well.
        busy = [[one for one in some if one.shape.table in written] for some in prepared.components]
        rejected = writing.write(run, [some for some in busy if some])
    if rejected:
        plan = planning.counted_again(prepared.settled, prepared.plan)
        prepared = replace(prepared, plan=plan, rejected=(*prepared.rejected, *rejected))
    after = run.session.counted()
    recomputed = deriving.derive(run, prepared.due)
    derived = deriving.beyond(prepared.due, after, run.session.counted())
    # Rows that were tried and taken back are counted as well.
    counted = [] if rejected else _beyond(prepared.plan, before, after)
    beyond = (*counted, *map(_wrote, derived))
    if keeper is not None:
        images.after(run, keeper, relations)
        images.recomputed(run, keeper, recomputed)
    if run.memory is not None and not run.rehearsal:
        findings = (*findings, *remembering.remember(run, relations, run.memory))
    run.session.written()
    run.session.checked()
    return prepared, (*findings, *beyond)


def _beyond(plan: MergePlan, before: Counted, after: Counted) -> list[Finding]:
    """What the engine counted is what the plan says. More than that is told: a trigger wrote it, for no cascade can run."""
    if not after.tables:
        wrote = after.total - before.total
        return [] if wrote == plan.writes else [_wrote(f"{wrote - plan.writes:+,} rows in all tables")]
    planned = {one.table: (one.create, one.update, one.delete) for one in plan.tables}
    found = []
    for table, counts in sorted(after.tables.items()):
        did = tuple(a - b for a, b in zip(counts, before.tables.get(table, _NONE), strict=True))
        wanted = planned.get(table, _NONE)
        if did != wanted:
            more = [f"{verb} {a - b:+,}" for a, b, verb in zip(did, wanted, _VERBS, strict=True) if a != b]
            found.append(_wrote(f"{named(table)}: {', '.join(more)}"))
    return found


def _wrote(what: str) -> Finding:
    return Finding.of("merge-beyond-plan", what=what)
