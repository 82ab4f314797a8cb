"""Derived columns: SQL of rules that computes counters, trees and addresses again, after rows were written."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import sqlalchemy as sa

from backup_pipeline.databases.merge.graph import named
from backup_pipeline.databases.merge.rules import DerivedRule
from backup_pipeline.databases.merge.session import Session
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId


def derive(session: Session, rules: Sequence[DerivedRule], written: Collection[TableId]) -> Iterator[Finding]:
    """In the order of the rules. Each says which rows are wrong, so the other rows are not touched."""
    for rule in rules:
        if not set(rule.tables).isdisjoint(written):
            rows = _run(session, rule)
            if rows:
                yield Finding.of("merge-derived", table=rule.tables[0], what=_what(rule), rows=f"{rows:,}")


def _run(session: Session, rule: DerivedRule) -> int:
    # SQL of a rule may hold a % or a colon, and neither stands for a parameter.
    connection = session.connection.execution_options(no_parameters=True)
    try:
        return int(connection.exec_driver_sql(rule.sql[session.schema.engine]).rowcount)
    except sa.exc.DBAPIError as error:
        raise RestoreError(
            f"the SQL that computes {_what(rule)} failed: {error.orig}",
            remedy=f"correct it under `derived:` of {rule.source}; nothing was written",
        ) from error


def _what(rule: DerivedRule) -> str:
    return rule.what or f"{', '.join(rule.columns[rule.tables[0]])} of {named(rule.tables[0])}"
