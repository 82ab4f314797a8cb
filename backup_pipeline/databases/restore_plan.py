"""The plan of a restore, before it changes anything, and its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.errors import BackupError, Damaged, InTheWay, RestoreError, TargetNotEmpty
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.schema import TableId

if TYPE_CHECKING:
    # Not loaded here, because a worker process that loads this package needs none of it.
    from backup_pipeline.vault.backup import Backup

_SHOWN = 10
#: Below this, everything is loaded in one transaction on one connection: workers would take longer to start.
SMALL = 32 * 1024 * 1024


class Refusable:
    """A plan of a restore that may be refused."""

    __slots__ = ()
    refused: tuple[Finding, ...]

    @property
    def refusal(self) -> BackupError | None:
        """The first reason, in the class of the error that the reason is about."""
        for finding in self.refused:
            kind: type[BackupError] = Damaged if finding.marked("against_backup") else RestoreError
            for about_target in (TargetNotEmpty, InTheWay):
                kind = about_target if finding.code == about_target.code else kind
            return kind(finding.message, remedy=finding.remedy)
        return None

    def raise_if_refused(self) -> None:
        if self.refusal is not None:
            raise self.refusal


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
class RestorePlan(Refusable):
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
    #: What the backup's source wrote and the target's server would run: how many functions, triggers …
    code: Mapping[str, int] = field(default_factory=dict)
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
    #: What the target does not have.
    remainder: tuple[Left, ...] = ()

    @property
    def lacking(self) -> tuple[Left, ...]:
        """What it does not have although it was not asked to be left out."""
        return tuple(left for left in self.remainder if not left.asked)


def missing_objects(backup: Backup) -> Iterator[Finding]:
    """Before a byte is written: is every object there, and as long as it should be?"""
    manifest = backup.manifest
    missing = backup.vault.presence.missing(manifest.objects())
    if not missing:
        return
    lost = {reference.sha256 for reference in missing}
    hurt = [str(t.id) for t in manifest.tables if any(chunk.object.sha256 in lost for chunk in t.chunks)]
    others = len(missing) - len({c.object.sha256 for t in manifest.tables for c in t.chunks} & lost)
    parts = [*hurt[:_SHOWN], *([f"{len(hurt) - _SHOWN} more tables"] if len(hurt) > _SHOWN else [])]
    parts += ["the file itself" if manifest.image else "the definitions"] if others else []
    what = "1 object" if len(missing) == 1 else f"{len(missing)} objects"
    yield Finding.of(
        "object-missing",
        objects=what,
        backup=backup,
        parts=", ".join(parts),
        examples=(reference.sha256 + reference.suffix for reference in missing[:_SHOWN]),
    )


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


def without_rows(tables: tuple[TableId, ...]) -> Finding:
    return Finding.of("tables-without-rows", count=len(tables), examples=map(str, tables[:20]))
