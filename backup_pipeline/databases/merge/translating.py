"""References of staged rows, with the keys that their parents have in the target."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa

from backup_pipeline.databases.merge.constructs import Raw
from backup_pipeline.databases.merge.graph import Reference
from backup_pipeline.databases.merge.relations import LIVING, Column, Relation, Run


@dataclass(frozen=True)
class Translated:
    """Staged rows that are in no map yet, with some columns of the target: `rows["customer_id"]`."""

    relation: Relation
    clause: sa.Subquery
    #: Of the columns, those that are part of a reference.
    references: frozenset[str]

    @property
    def c(self) -> sa.ColumnCollection[str, Column]:
        return self.clause.c

    def __getitem__(self, column: str) -> Column:
        number = self.relation.shape.source(column)
        return self.clause.c[f"t{number}"] if column in self.references else self.staged(column)

    def staged(self, column: str) -> Column:
        """As the backup has it."""
        return self.relation.at(self.clause, column)

    def known(self, column: str) -> sa.ColumnElement[bool]:
        """The value is NULL in the backup, or its parent is known."""
        return sa.or_(self.staged(column).is_(None), self[column].is_not(None))


def translated(run: Run, relation: Relation, columns: Collection[str], *, turn: bool = False) -> Translated:
    """`turn`: only the rows that are matched in this turn."""
    rows = run.rows(relation)
    mapped = sa.select(relation.map.c.n).where(relation.map.c.n == rows.c.n).exists()
    needed = [one for one in run.outgoing(relation.shape.table) if set(one.columns) & set(columns)]
    joined, values = joined_to_parents(run, needed, rows, rows)
    chosen: list[Column] = list(rows.c)
    references = frozenset(column for column in values if column in columns)
    for column in sorted(references):
        chosen.append(values[column].label(f"t{relation.shape.source(column)}"))
    query = sa.select(*chosen).select_from(joined).where(~mapped)
    if turn:
        query = query.where(rows.c.n.in_(sa.select(relation.turn.c.n)))
    return Translated(relation, query.subquery(), references)


def joined_to_parents(
    run: Run, references: Collection[Reference], rows: sa.FromClause, joined: sa.FromClause
) -> tuple[sa.FromClause, Mapping[str, Column]]:
    """`joined` with the parents of each reference, and the new value of each referring column."""
    relation_of = run.relations
    found: dict[str, list[Column]] = {}
    always: set[str] = set()
    for reference in references:
        relation = relation_of[reference.table]
        parents = run.parents(reference, LIVING)
        for at, column in enumerate(reference.columns):
            values = found.setdefault(column, [])
            if parents is not None:
                value = parents.c[f"v{at}"]
                other = run.other_types(reference, at)
                values.append(retyped(relation, column, reference, value) if other else value)
            # Of several columns one may be NULL: the others are no reference then, and stay.
            if not reference.when and reference.missing != "keep" and len(reference.columns) == 1:
                always.add(column)
        if parents is not None:
            joined = joined.outerjoin(parents, run.meets(reference, rows, parents))
    result: dict[str, Column] = {}
    for column, values in found.items():
        relation = relation_of[next(iter(references)).table]
        staged = relation.at(rows, column)
        null = sa.cast(sa.null(), Raw(relation.shape.types[column]))
        fallback: Column = null if column in always else _unconditional(run, references, column, rows, staged)
        result[column] = sa.func.coalesce(*values, fallback) if values else fallback
    return joined, result


def _unconditional(
    run: Run, references: Collection[Reference], column: str, rows: sa.FromClause, staged: Column
) -> Column:
    """A polymorphic value: where no condition holds, nothing is known of it, and it stays as it is."""
    held = [run.condition(one, rows) for one in references if column in one.columns and one.missing != "keep"]
    return sa.case((sa.or_(*held), sa.null()), else_=staged) if held else staged


def retyped(relation: Relation, column: str, reference: Reference, value: Column) -> Column:
    """A number that a text column holds stays a text."""
    return value if reference.enforced else sa.cast(value, Raw(relation.shape.types[column]))
