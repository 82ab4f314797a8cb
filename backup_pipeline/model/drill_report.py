"""What a drill hands back."""

from __future__ import annotations

from dataclasses import dataclass, field

from backup_pipeline.model.findings import Finding, Report


@dataclass(frozen=True, slots=True)
class DrillReport:
    """`report.ok`: the backup was restored for real, and nothing about it was different."""

    report: Report
    #: How long the restore alone took: what an emergency would take on a machine like this one.
    recovery_seconds: float
    #: Where it was restored to, and which version that was.
    scratch: str = ""
    #: By phase: create, definitions, load … of the restore; then compare, definitions, writes.
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return self.report.ok

    @property
    def findings(self) -> tuple[Finding, ...]:
        return self.report.findings
