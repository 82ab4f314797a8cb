"""What a restore would do, before it does anything; and what it did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from backup_pipeline.errors import RestoreError, TargetNotEmpty
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.schema import TableId

#: Below this, everything is loaded in one transaction on one connection: workers would take longer to start.
SMALL = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class TablePlan:
    table: TableId
    rows: int
    #: Plain bytes of the row text.
    bytes: int
    chunks: int
    #: load · empty (the table has no row) · no rows here (its rows are not in this backup; it is made without any)
    action: Literal["load", "empty", "no rows here"]
    note: str = ""


@dataclass(frozen=True, slots=True)
class SectionPlan:
    """A part of the definitions."""

    name: str
    statements: int
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class RestorePlan:
    system: str
    backup_id: str
    engine: str
    #: The version that the backup was made from, and the one that it would be restored to.
    backup_version: str
    target_version: str
    #: Without a password.
    target: str
    #: The target does not exist and would be made.
    create: bool
    strategy: str
    why: str
    #: One transaction: all or nothing. Else: several sessions, and what they made is removed if one fails.
    one_transaction: bool
    jobs: int
    tables: tuple[TablePlan, ...]
    sections: tuple[SectionPlan, ...] = ()
    sequences: int = 0
    #: What will not be as it was: roles, tablespaces, collations that the target lacks, tables without their rows.
    findings: tuple[Finding, ...] = ()
    #: Why it would not be done; the restore raises the first of them.
    refused: tuple[Finding, ...] = ()

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def bytes(self) -> int:
        return sum(table.bytes for table in self.tables)

    def raise_if_refused(self) -> None:
        for finding in self.refused:
            kind = TargetNotEmpty if finding.code == TargetNotEmpty.code else RestoreError
            raise kind(finding.message, remedy=finding.remedy)


@dataclass(frozen=True, slots=True)
class RestoreResult:
    plan: RestorePlan
    #: Nothing of it was kept.
    dry_run: bool
    tables: int
    rows: int
    bytes: int
    #: By phase: definitions, load, indexes, foreign keys, rest, finish … and total.
    seconds: dict[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def table_plans(manifest: Manifest, without_rows: tuple[TableId, ...] = ()) -> tuple[TablePlan, ...]:
    """`without_rows`: tables that the definitions make and that this backup holds no rows of."""
    reasons = {TableId(left.schema, left.name): left.reason for left in manifest.left_out}
    plans = [
        TablePlan(
            table=entry.id,
            rows=entry.rows,
            bytes=entry.bytes,
            chunks=len(entry.chunks),
            action="load" if entry.rows else "empty",
        )
        for entry in manifest.tables
    ]
    for table in without_rows:
        plans.append(TablePlan(table, 0, 0, 0, "no rows here", reasons.get(table, "not in this backup")))
    return tuple(sorted(plans, key=lambda plan: plan.table))
