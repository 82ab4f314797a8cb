"""The answer of a merge: what it would do or did, table by table, and why. Everything in it can become JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from backup_pipeline.databases.restore_plan import Refusable
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId

#: asked: the order names it · parents: rows that the asked rows need · below: rows that hang below the tenant
Mode = Literal["asked", "parents", "below"]
Verb = Literal["create", "update", "delete", "keep"]
Did = Literal["plan", "dry run", "merge"]

#: So many examples stand in a plan.
EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Conflict:
    """A row that is not written, because no one can say which row of the target it is."""

    #: keys-disagree · taken-twice · unique-taken · parent-missing …
    reason: str
    #: In words, with the values.
    message: str
    #: The key of the row in the backup.
    key: str = ""


@dataclass(frozen=True, slots=True)
class ColumnDrift:
    """A difference of a table between the backup and the target, and what is done about it."""

    column: str
    #: missing · new · renamed · type-changed · not-null-added · enum-value-gone · now-generated · now-plain
    what: str
    detail: str = ""
    done: str = ""
    #: Why the table cannot be merged; "": it can.
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """One row, for `--show`: column → (before, after). A created row has no before, a deleted one no after."""

    verb: Verb
    key: str
    columns: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class TableMerge:
    table: TableId
    mode: Mode = "asked"
    #: Why it comes along: "orders.customer_id needs it".
    why: str = ""
    staged: int = 0
    matched: int = 0
    create: int = 0
    update: int = 0
    delete: int = 0
    unchanged: int = 0
    #: Live rows that differ and are left as they are.
    kept: int = 0
    #: Reason → rows of the backup that are not written.
    skipped: Mapping[str, int] = field(default_factory=dict)
    #: Reference → rows in which it becomes NULL.
    nulled: Mapping[str, int] = field(default_factory=dict)
    #: Live rows that the backup does not know, and that stay because other rows refer to them.
    spared: int = 0
    #: Created rows that get another key than they had.
    remapped: int = 0
    conflicts: int = 0
    examples: tuple[Conflict, ...] = ()
    #: How rows were known: remembered, same key, natural key (username), uuid, content → rows.
    identity: Mapping[str, int] = field(default_factory=dict)
    #: Keys that are not used, and why: "email is not unique in the target".
    unused_keys: tuple[str, ...] = ()
    drift: tuple[ColumnDrift, ...] = ()
    triggers: tuple[str, ...] = ()
    row_security: bool = False
    sequences: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()

    @property
    def writes(self) -> int:
        return self.create + self.update + self.delete


@dataclass(frozen=True, slots=True)
class Cycle:
    tables: tuple[TableId, ...]
    #: How it is broken: "inserted in one statement".
    how: str


@dataclass(frozen=True, slots=True)
class MergePlan(Refusable):
    system: str
    backup_id: str
    engine: str
    #: Without a password.
    target: str
    did: Did
    strategy: str
    why: str
    #: same · other, and how it is known.
    lineage: str = ""
    lineage_why: str = ""
    tables: tuple[TableMerge, ...] = ()
    cycles: tuple[Cycle, ...] = ()
    #: What is not rewritten, locks, rules that apply, triggers …: worth knowing.
    findings: tuple[Finding, ...] = ()
    refused: tuple[Finding, ...] = ()
    locks: tuple[str, ...] = ()
    #: How long writing may take, in seconds.
    estimate: float = 0.0
    #: How long it took to come to this.
    seconds: float = 0.0
    #: The rules that apply.
    rules: tuple[str, ...] = ()
    #: Of everything that decides what is written: the backup, the order, both schemas, each decision.
    digest: str = ""

    @property
    def writes(self) -> int:
        return sum(table.writes for table in self.tables)

    @property
    def written(self) -> dict[str, dict[str, int]]:
        """For the record: what is written to each table."""
        return {
            str(one.table): {"create": one.create, "update": one.update, "delete": one.delete}
            for one in self.tables
            if one.writes
        }

    @property
    def conflicts(self) -> int:
        return sum(table.conflicts for table in self.tables)


@dataclass(frozen=True, slots=True)
class Rejected:
    """A row that the database refused."""

    table: TableId
    error: str
    sqlstate: str = ""
    columns: tuple[str, ...] = ()
    values: tuple[str | None, ...] = ()


@dataclass(frozen=True, slots=True)
class MergeResult:
    plan: MergePlan
    #: "": nothing was written, or the merge leaves no record.
    restore_id: str = ""
    rejected: tuple[Rejected, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
