"""What is held against a backup: five checks where it is committed, two that can be asked at any time.

Few and broad, on the manifest only: every check that is recorded costs about 50 ms. Which table a finding is about
stands in the check's table of findings. An error fails a check; so does a warning, but as a warning.
"""

# Without `from __future__ import annotations`: Dagster reads the type of `context` from the annotation.

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import dagster as dg

from backup_pipeline.model.findings import Finding
from backup_pipeline.orchestration.metadata import findings_metadata
from backup_pipeline.orchestration.plan import SystemPlan
from backup_pipeline.orchestration.resources import failures_told, given
from backup_pipeline.project import Project


@dataclass(frozen=True, slots=True)
class CheckText:
    name: str
    description: str
    #: When it fails, nothing that follows in the run is done.
    blocking: bool = False

    def dagster_spec(self, key: dg.AssetKey) -> dg.AssetCheckSpec:
        return dg.AssetCheckSpec(self.name, asset=key, description=self.description, blocking=self.blocking)


#: Evaluated in the step that commits the backup.
INLINE = (
    # Not blocking: a backup that lacks something is better copied than not.
    CheckText("complete", "Every selected table was exported, and nothing was left out without a reason."),
    CheckText(
        "integrity",
        "Every object that the manifest names is in the vault, with its length and its digest.",
        blocking=True,
    ),
    CheckText("row_counts", "No table lost its rows, or most of them, since the full backup before."),
    CheckText("foreign_keys", "Every reference in the backup finds the row that it points to."),
    CheckText("schema_drift", "The schema is that of the full backup before; what changed is listed."),
)
#: Evaluated on their own, from the UI, by the jobs and by the sensor `watch`.
WATCHED = (
    CheckText("fresh", "The newest full backup is not older than it may be."),
    CheckText("proven", "A full backup was restored by a drill lately, and the drill passed."),
)
#: Which check each finding of a freshness report belongs to.
_ABOUT_PROOF = frozenset({"never-proven", "proof-too-old"})


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    findings: tuple[Finding, ...] = ()
    counted: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    #: What is said when nothing was found.
    good: str = ""
    #: Worth showing, and no reason to fail.
    notes: tuple[Finding, ...] = ()

    @property
    def is_error(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)

    @property
    def severity(self) -> dg.AssetCheckSeverity:
        return dg.AssetCheckSeverity.ERROR if self.is_error else dg.AssetCheckSeverity.WARN

    @property
    def passed(self) -> bool:
        return all(finding.severity == "info" for finding in self.findings)

    @property
    def description(self) -> str:
        bad = [finding for finding in self.findings if finding.severity != "info"]
        if not bad:
            return self.good
        first = next((finding for finding in bad if finding.severity == "error"), bad[0])
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        return f"{first.message}{more}"

    def result(self, key: dg.AssetKey) -> dg.AssetCheckResult:
        return dg.AssetCheckResult(
            asset_key=key,
            check_name=self.name,
            passed=self.passed,
            severity=self.severity,
            description=self.description,
            metadata=findings_metadata((*self.findings, *self.notes), self.counted, self.seconds),
        )


def watch_checks(plan: SystemPlan) -> dg.AssetChecksDefinition:
    """fresh and proven: also true or false on a day on which no backup runs."""
    system, names = plan.system, plan.names
    key = names.manifest_key(system)

    @dg.multi_asset_check(
        name=names.of(f"{system}__watch"),
        specs=[text.dagster_spec(key) for text in WATCHED],
        can_subset=True,
        required_resource_keys={names.resource},
    )
    def watch(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        backups = given(context, names)
        wanted = {check.name for check in context.selected_asset_check_keys}
        with failures_told(backups.project):
            for outcome in judge_status(backups.project, system):
                if outcome.name in wanted:
                    yield outcome.result(key)

    return watch


def judge_status(project: Project, system: str) -> tuple[Outcome, ...]:
    began = time.monotonic()
    status = project.status_of(system)
    proof = tuple(finding for finding in status.findings if finding.code in _ABOUT_PROOF)
    fresh = tuple(finding for finding in status.findings if finding.code not in _ABOUT_PROOF)
    if status.latest is None:
        proof = (*proof, *(finding for finding in fresh if finding.code == "no-backup"))
    seconds = time.monotonic() - began
    latest = status.latest.id if status.latest else ""
    proven = (
        f"{status.proven.id} was restored and compared at {status.proven.proven_at}" if status.proven else ""
    )
    counted = {"backups": status.backups}
    return (
        Outcome("fresh", fresh, counted, seconds, f"the newest full backup is {latest}"),
        Outcome("proven", proof, counted, seconds, proven),
    )
