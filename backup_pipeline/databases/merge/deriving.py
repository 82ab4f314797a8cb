"""Derived data: SQL of rules computes columns again, after the rows are written and in the same transaction.

The SQL changes live rows as well: a counter in a row that the merge does not write. Those rows are known afterwards, with
what they were, so that an undo puts them back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import Raw, as_text
from backup_pipeline.databases.merge.fitting import comparable
from backup_pipeline.databases.merge.graph import name_of, named
from backup_pipeline.databases.merge.relations import Act, Run
from backup_pipeline.databases.merge.rules import DerivedRule, Rules
from backup_pipeline.databases.merge.session import Counted, Session
from backup_pipeline.databases.merge.settling import UPDATE, differing
from backup_pipeline.errors import RestoreError, SourceError, TargetChanged
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Schema, Table, TableId


@dataclass(frozen=True)
class Due:
    """What is computed again."""

    rules: tuple[DerivedRule, ...] = ()
    findings: tuple[Finding, ...] = ()

    @property
    def tables(self) -> tuple[TableId, ...]:
        return tuple(sorted({table for rule in self.rules for table in rule.columns}))


@dataclass(frozen=True)
class Recomputed:
    """The live rows of one table that only the SQL of rules has changed."""

    table: TableId
    key: tuple[str, ...]
    #: Their derived columns.
    columns: tuple[str, ...]
    target: sa.Table
    #: k0 … is the key of such a row, and d0 … what its derived columns were.
    before: sa.Table
    rows: int

    def image(self, names: Sequence[str], which: Literal["before", "after"]) -> sa.Select[Any]:
        """These columns of the rows, as they were or as they are now."""
        was = {name: self.before.c[f"d{at}"] for at, name in enumerate(self.columns)}
        chosen = [was[one] if which == "before" and one in was else self.target.c[one] for one in names]
        return sa.select(*chosen).select_from(self.target.join(self.before, self.same))

    @property
    def same(self) -> sa.ColumnElement[bool]:
        return sa.and_(*(self.before.c[f"k{at}"] == self.target.c[name] for at, name in enumerate(self.key)))


def about(rules: Rules, tables: Collection[TableId]) -> set[TableId]:
    """The tables that may be computed again when rows of `tables` are written."""
    wanted = set(tables)
    return {table for rule in rules.derived if wanted & set(rule.tables) for table in rule.columns}


def due(rules: Rules, schema: Schema, written: Collection[TableId]) -> Due:
    """`written`: the tables that get other rows."""
    chosen: list[DerivedRule] = []
    findings: list[Finding] = []
    for rule in rules.derived:
        if not set(written) & set(rule.tables):
            continue
        what = rule.what or " and ".join(name_of(table, names) for table, names in rule.columns.items())
        why = _why_not(rule, schema)
        if why:
            findings.append(Finding.of("merge-not-derived", what=what, why=why))
        else:
            chosen.append(rule)
            findings.append(Finding.of("merge-derived", what=what))
    return Due(tuple(chosen), tuple(findings))


def _why_not(rule: DerivedRule, schema: Schema) -> str:
    if schema.engine not in rule.sql:
        return f"the rule has no SQL for {schema.engine}"
    for table in rule.columns:
        described = schema.table(table)
        if described is None or described.primary_key is None:
            return f"{named(table)} has no primary key, so that an undo could not find its rows"
    return ""


def derive(run: Run, due: Due) -> tuple[Recomputed, ...]:
    """Run the SQL. What it has changed, beside the rows that the merge has written itself."""
    before = [_copied(run, table, due.rules, number) for number, table in enumerate(due.tables)]
    again(run.session, due)
    return tuple(_changed(run, one) for one in before)


def again(session: Session, due: Due) -> None:
    """Run the SQL alone: after an undo, whose rows are known already."""
    for rule in due.rules:
        _execute(session, rule)


def beyond(due: Due, before: Counted, after: Counted) -> list[str]:
    """What the SQL did beside updating rows of its own table, where the engine counts by table."""
    none = (0, 0, 0)
    more = []
    for table, counts in sorted(after.tables.items()):
        new, updated, gone = (a - b for a, b in zip(counts, before.tables.get(table, none), strict=True))
        if new or gone or (updated and table not in due.tables):
            more.append(f"{named(table)}: created {new:+,}, updated {updated:+,}, deleted {gone:+,}")
    return more


def _execute(session: Session, rule: DerivedRule) -> None:
    text = rule.sql[session.schema.engine]
    try:
        # Without parameters, so that the driver leaves each % alone.
        session.connection.exec_driver_sql(text, execution_options={"no_parameters": True})
    except (sa.exc.DBAPIError, TargetChanged, SourceError) as error:
        said = error.orig if isinstance(error, sa.exc.DBAPIError) else error.message
        raise RestoreError(
            f"the SQL of {rule.source or 'a rule'} that computes {rule.what or rule.tables[0]} fails: {said}",
            remedy="correct it under `derived:` in backup.yaml; tables are named by {table} and by the names of `reads`",
        ) from error


def _copied(run: Run, table: TableId, rules: Iterable[DerivedRule], number: int) -> Recomputed:
    described = run.session.schema.table(table)
    assert described is not None
    assert described.primary_key is not None
    columns = tuple(dict.fromkeys(name for rule in rules for name in rule.columns.get(table, ())))
    key = described.primary_key.columns
    target = _target(described)
    kinds = {one.name: one.type for one in described.columns}
    made = [sa.Column(f"k{at}", Raw(kinds[name])) for at, name in enumerate(key)]
    made += [sa.Column(f"d{at}", Raw(kinds[name])) for at, name in enumerate(columns)]
    before = run.make(sa.Table(f"y{number}", sa.MetaData(), *made, schema=run.session.staging))
    query = sa.select(*(target.c[name] for name in (*key, *columns)))
    run.do(before.insert().from_select(list(before.c.keys()), query))
    run.index(before, [f"k{at}" for at in range(len(key))])
    run.session.analyze(before.name)
    return Recomputed(table, key, columns, target, before, 0)


def _target(table: Table) -> sa.Table:
    columns = [sa.Column(one.name, Raw(one.type)) for one in table.columns]
    return sa.Table(table.id.name, sa.MetaData(), *columns, schema=table.id.schema)


def _changed(run: Run, one: Recomputed) -> Recomputed:
    """Only the rows that are others now. The images of rows that the merge has written tell their derived columns."""
    before, differ = one.before, []
    for at, name in enumerate(one.columns):
        was: sa.ColumnElement[Any] = before.c[f"d{at}"]
        now: sa.ColumnElement[Any] = one.target.c[name]
        if not comparable(now.type.compile()):
            was, now = as_text(was), as_text(now)
        differ.append(was.is_distinct_from(now))
    other = sa.select(sa.literal(1)).select_from(one.target).where(one.same, sa.or_(*differ)).exists()
    run.do(before.delete().where(~other))
    relation = run.relations.get(one.table)
    if relation is not None and one.table not in run.empty:
        map, d = relation.map, differing(relation)
        updated = sa.select(d.c.n).where(d.c.n == map.c.n, d.c.verb == UPDATE).exists()
        written = sa.or_(map.c.act == Act.NEW, sa.and_(map.c.act == Act.MATCH, updated))
        same = sa.and_(*(a == b for a, b in zip(relation.of_map(map), relation.of_map(before), strict=True)))
        run.do(before.delete().where(sa.select(map.c.n).where(same, written).exists()))
    rows = run.one(sa.select(sa.func.count()).select_from(before))
    return Recomputed(one.table, one.key, one.columns, one.target, before, int(rows))
