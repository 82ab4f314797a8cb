"""Which of the checks a fresh backup passes: one look at it, sorted by what each finding is about."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace

from backup_pipeline.checks.drift import drift
from backup_pipeline.errors import Damaged, KeyMissing
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.orchestration.asset_checks import Outcome
from backup_pipeline.orchestration.judging_files import is_about_files, judge_files
from backup_pipeline.orchestration.plan import SystemPlan
from backup_pipeline.orchestration.resources import Backups
from backup_pipeline.project import Project

#: Up to this size every row is counted and every reference followed at once. Above it the bytes are hashed, and the
#: rest is left to `verify` and to the drill: a nightly backup must not take as long again to be looked at.
FULL_LOOK_UP_TO = 512 * 2**20
#: A table that lost more than this part of its rows is worth a look.
LOST = 0.5
#: … unless it is so small that losing half of it is an ordinary day.
FEW_ROWS = 20


def judge_backup(backups: Backups, plan: SystemPlan, manifest: Manifest) -> tuple[Outcome, ...]:
    """complete, integrity, row_counts, foreign_keys, schema_drift, in the order of `asset_checks.INLINE`; and those of
    `judging_files` where there are file trees."""
    project = backups.project
    line = project.listed(manifest.system, manifest.id)
    # A host that has only public keys cannot read back what it wrote; where the identity is, `verify` and drills do.
    locked = not project.vault.can_open
    quick = locked or line.bytes > FULL_LOOK_UP_TO
    report = project.verify(manifest.system, manifest.id, quick=quick)
    report = replace(report, findings=tuple(one for one in report.findings if not is_about_files(one)))
    rows = tuple(finding for finding in report.findings if _about_rows(finding))
    found = tuple(dict.fromkeys((*report.findings, *manifest.findings)))
    references = tuple(finding for finding in found if _about_references(finding))
    # That some tables are not in a partial backup was asked for: worth showing, no reason to wake anybody.
    expected = tuple(f for f in references if manifest.scope == "partial" and f.severity == "warning")
    # Against the schema of the snapshot: the graph may know a table that is younger than this backup.
    missing = tuple(finding for finding in report.findings if finding.code == "table-missing")
    rest = tuple(
        _whole_all_the_same(f)
        for f in report.findings
        if f not in (*rows, *missing) and not _about_references(f)
    )
    before = previous_full(project, manifest)
    why = "for want of the key" if locked else f"being over {FULL_LOOK_UP_TO // 2**20} MiB"
    note = f"not read again, {why}: `verify` and the drill do that"
    return (
        _complete(plan, manifest, missing),
        Outcome(
            "integrity",
            rest,
            report.counted,
            report.seconds,
            f"{report.counted.get('objects', 0):,} objects are what the manifest says",
        ),
        Outcome(
            "row_counts",
            (*rows, *_lost_rows(manifest, before)),
            {"rows": manifest.rows, "tables": len(manifest.tables)},
            good=f"{manifest.rows:,} rows in {len(manifest.tables)} tables" + (f"; {note}" if quick else ""),
        ),
        Outcome(
            "foreign_keys",
            tuple(finding for finding in references if finding not in expected),
            {name: count for name, count in report.counted.items() if "reference" in name},
            good=f"the database vouches for them; {note}" if quick else "every reference finds its row",
            notes=expected,
        ),
        _drift(project, manifest, before),
        *judge_files(project, manifest),
    )


def _whole_all_the_same(finding: Finding) -> Finding:
    """After a change of keys, what did not change lies under the old one, and its bytes are right: somebody should run
    `rekey`, but the backup is to be copied tonight as well."""
    return replace(finding, severity="warning") if finding.code == KeyMissing.code else finding


def _about_rows(finding: Finding) -> bool:
    return finding.code.startswith("row-")


def _about_references(finding: Finding) -> bool:
    return "reference" in finding.code or "foreign-key" in finding.code


def previous_full(project: Project, manifest: Manifest) -> Manifest | None:
    for identifier in reversed(project.vault.ids(manifest.system)):
        if identifier < manifest.id:
            try:
                found = project.vault.manifest(manifest.system, identifier)
            except (Damaged, KeyMissing):
                continue  # `status` and `verify` name it; a good backup does not fail for the one before it
            if found.scope == "full":
                return found
    return None


def _complete(plan: SystemPlan, manifest: Manifest, missing: tuple[Finding, ...]) -> Outcome:
    own = tuple(
        f
        for f in manifest.findings
        if f.code != "table-became-empty" and not _about_references(f) and f.tree is None
    )
    left_out = tuple(
        Finding("info", "left-out", f"the {one.kind} {one.schema}.{one.name} is not in it: {one.reason}")
        for one in manifest.left_out
        if manifest.scope == "full"
    )
    return Outcome(
        "complete",
        (*missing, *own),
        {"tables": len(manifest.tables), "left_out": len(manifest.left_out)},
        good=_told(manifest),
        notes=(*left_out, *_not_in_the_graph(plan, manifest)),
    )


def _told(manifest: Manifest) -> str:
    if manifest.scope == "partial":
        return f"PARTIAL: the {len(manifest.tables)} tables that were asked for, and no other"
    excluded = f"; {len(manifest.left_out)} left out on purpose" if manifest.left_out else ""
    return f"all {len(manifest.tables)} tables{excluded}"


def _not_in_the_graph(plan: SystemPlan, manifest: Manifest) -> Iterable[Finding]:
    for table in plan.unknown(manifest):
        yield Finding(
            "info",
            "not-in-the-graph",
            f"{table} is new: it was backed up, and has no asset yet",
            table=str(table),
            remedy="reload the definitions (in the UI: Deployment → Reload)",
        )


def _lost_rows(manifest: Manifest, before: Manifest | None) -> tuple[Finding, ...]:
    emptied = tuple(finding for finding in manifest.findings if finding.code == "table-became-empty")
    if before is None:
        return emptied
    had = {table.id: table.rows for table in before.tables}
    shrunk = tuple(
        Finding(
            "warning",
            "table-shrank",
            f"{table.id} has {table.rows:,} rows; the full backup before had {had[table.id]:,}",
            table=str(table.id),
            remedy="if rows were deleted on purpose, nothing; if not, the backup before has them: "
            f"`backup-pipeline restore {manifest.system} {before.id}`",
        )
        for table in manifest.tables
        if 0 < table.rows < LOST * had.get(table.id, 0) and had[table.id] > FEW_ROWS
    )
    return (*emptied, *shrunk)


def _drift(project: Project, manifest: Manifest, before: Manifest | None) -> Outcome:
    if before is None:
        return Outcome("schema_drift", good="the first full backup: there is none to compare with")
    began = time.monotonic()
    if before.schema.plain_sha256 == manifest.schema.plain_sha256:
        return Outcome("schema_drift", good=f"as in {before.id}", seconds=time.monotonic() - began)
    try:
        schemas = project.vault.schema(before), project.vault.schema(manifest)
    except (KeyMissing, Damaged) as error:
        if project.vault.can_open and isinstance(error, Damaged):
            raise
        note = Finding(
            "info", "not-compared", f"the schema of {before.id} is not at hand here: {error.message}"
        )
        return Outcome("schema_drift", good="not compared, for want of the key", notes=(note,))
    found = drift(*schemas)
    # An added column is worth no more than a word elsewhere; here it is what the check is for.
    found = tuple(replace(one, severity="warning") if one.severity == "info" else one for one in found)
    return Outcome("schema_drift", found, good=f"as in {before.id}", seconds=time.monotonic() - began)
