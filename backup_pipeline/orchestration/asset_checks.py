"""What is held against a backup: five checks where it is committed, two that can be asked at any time.

Few and broad, on the manifest only: every check that is recorded costs about 50 ms. Which table a finding is about
stands in the check's table of findings. An error fails a check; so does a warning, but as a warning.
"""

# Without `from __future__ import annotations`: Dagster reads the type of `context` from the annotation.

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import dagster as dg

from backup_pipeline.errors import ErrorsFound
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.outcome import Outcome, failed
from backup_pipeline.operations import Site, files, monitoring
from backup_pipeline.orchestration import tokens
from backup_pipeline.orchestration.asset_plan import SystemPlan
from backup_pipeline.orchestration.metadata import findings_metadata
from backup_pipeline.orchestration.resources import failures_told, given


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
#: Evaluated last in the run of a backup.
VERDICT = CheckText("verdict", "The backup has no error that is not accepted. With one, the run fails.")
#: Evaluated on their own, from the UI, by the jobs and by the sensor `watch`.
WATCHED = (
    CheckText("fresh", "The newest full backup is not older than it may be."),
    CheckText("proven", "A full backup was restored by a drill lately, and the drill passed."),
)


#: Of systems that have file trees; evaluated in the step that commits the backup.
FILES = (
    CheckText("files", "Every file of the trees is in the backup, as it was at one moment."),
    CheckText(
        "references", "Every row that names a file finds it in the same backup, as the row says it is."
    ),
    CheckText("file_policy", "No file is larger, of another type or under another name than it may be."),
)


def file_checks(site: Site, system: str) -> tuple[CheckText, ...]:
    return FILES if files.settings_of(site, system) else ()


def severity(outcome: Outcome) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.ERROR if outcome.is_error else dg.AssetCheckSeverity.WARN


def result(outcome: Outcome, key: dg.AssetKey) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=outcome.name,
        passed=outcome.passed,
        severity=severity(outcome),
        description=outcome.description,
        metadata=findings_metadata((*outcome.findings, *outcome.notes), outcome.counted, outcome.seconds),
    )


def with_unknown(outcomes: Sequence[Outcome], plan: SystemPlan, manifest: Manifest) -> tuple[Outcome, ...]:
    """`complete`, the first of them, also names tables that have no asset yet."""
    notes = tuple(Finding.of("not-in-the-graph", table=table) for table in plan.unknown(manifest))
    complete, *others = outcomes
    return (replace(complete, notes=(*complete.notes, *notes)), *others)


def watch_checks(plan: SystemPlan) -> dg.AssetChecksDefinition:
    """fresh and proven: also true or false on a day on which no backup runs."""
    system, names = plan.system, plan.names
    key = names.manifest_key(system)

    @dg.multi_asset_check(
        name=names.step(system, "watch"),
        specs=[text.dagster_spec(key) for text in WATCHED],
        can_subset=True,
        required_resource_keys={names.resource},
    )
    def watch(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        backups = given(context, names)
        wanted = {check.name for check in context.selected_asset_check_keys}
        with failures_told(backups.site):
            for outcome in monitoring.watched(backups.site, system):
                if outcome.name in wanted:
                    yield result(outcome, key)

    return watch


def verdict_check(plan: SystemPlan, copies: Sequence[dg.AssetKey] = ()) -> dg.AssetChecksDefinition:
    """Fails the run of a backup that has an error, after everything else in the run is done: copies do not wait for it."""
    system, names = plan.system, plan.names
    key = names.manifest_key(system)

    @dg.multi_asset_check(
        name=names.step(system, "verdict"),
        specs=[_verdict_spec(key, copies)],
        required_resource_keys={names.resource},
    )
    def verdict(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        backups = given(context, names)
        site = backups.site
        with failures_told(site):
            made = tokens.backup_of_run(context.instance, context.run, backups, system)
            outcome = monitoring.verdict(site, system, made)
            yield result(outcome, key)
            if failure := failed(ErrorsFound, outcome.good, outcome.findings):
                raise failure

    return verdict


def _verdict_spec(key: dg.AssetKey, copies: Sequence[dg.AssetKey]) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        VERDICT.name, asset=key, description=VERDICT.description, additional_deps=list(copies)
    )
