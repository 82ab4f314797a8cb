"""What a plan tells beside its counts: references that are perhaps there, and parents without which it is refused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import texts
from backup_pipeline.databases.merge.graph import Reference, named
from backup_pipeline.databases.merge.plan import EXAMPLES
from backup_pipeline.databases.merge.relations import Act, Run
from backup_pipeline.databases.merge.rules import Rules
from backup_pipeline.databases.merge.suggesting import suggested_references
from backup_pipeline.model.findings import Finding


def suggestions(run: Run, references: Sequence[Reference], rules: Rules) -> Iterator[Finding]:
    """Of tables that have rows in the backup."""
    there = run.relations.keys() - run.empty
    for one in suggested_references(run.session.schema, references, rules.polymorphic):
        rule = one.rule
        if {rule.table, rule.parent} <= there:
            line = f"{{from: {named(rule.table)}.{rule.columns[0]}, to: {named(rule.parent)}}}"
            yield Finding.of("merge-suggested", table=rule.table, evidence=one.evidence, line=line)


def missing_parents(run: Run) -> Iterator[Finding]:
    """Of references that must not be without their parent."""
    for table in sorted(run.relations.keys() - run.empty):
        for reference in run.outgoing(table):
            if reference.missing == "fail":
                yield from _missing(run, reference)


def _missing(run: Run, reference: Reference) -> Iterator[Finding]:
    relation = run.relations[reference.table]
    map, rows = relation.map, relation.staged.alias()
    lost = sa.and_(map.c.act == Act.SKIP, map.c.why == f"parent-missing: {reference.name}")
    count = int(run.one(sa.select(sa.func.count()).select_from(map).where(lost)) or 0)
    if not count:
        return
    names = relation.shape.key if relation.shape.keyed else ()
    row = texts([relation.at(rows, name) for name in names] or [rows.c.n])
    parent = texts([relation.at(rows, name) for name in reference.columns])
    query = sa.select(row, parent).select_from(map.join(rows, rows.c.n == map.c.n)).where(lost)
    found = run.all(query.order_by(map.c.n).limit(EXAMPLES))
    examples = [f"{named(reference.table)} {key} refers to {value}" for key, value in found]
    yield Finding.of(
        "merge-parent-missing",
        table=reference.table,
        reference=reference.name,
        parent=named(reference.parent),
        count=f"{count:,}",
        some=", ".join(examples),
        examples=examples,
    )
