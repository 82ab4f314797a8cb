"""The checks of a fresh backup. Every way to make one (CLI, Python, schedule, UI) runs them, and all remember the same.

Two proofs are kept beside the backup: `verify` speaks of the bytes in this vault; `judged` speaks of the content, and
carries what is still wrong to the judgement of the next backup.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.errors import BackupError, Damaged, KeyMissing, NotFound
from backup_pipeline.health import acknowledgements
from backup_pipeline.health.drift import drift
from backup_pipeline.health.file_checks import judge_files
from backup_pipeline.health.losses import Losses, losses
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.manifest import Manifest, Proof
from backup_pipeline.model.outcome import Outcome
from backup_pipeline.vault.backup import Backup
from backup_pipeline.verification.remembering import as_counts, had_before, remember
from backup_pipeline.verification.verify import verify

#: Up to this size every row is counted and every reference followed at once. Above it the bytes are hashed, and the
#: rest is left to `verify` and to the drill: a nightly backup must not take as long again to be looked at.
FULL_LOOK_UP_TO = 512 * 2**20
#: The kind of the proof.
JUDGED = "judged"
#: Full backups before this one that are asked for a judgement.
LOOK_BACK = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the configuration says of a system, as far as its backups are judged by it."""

    trees: Mapping[str, FilesSettings] = field(default_factory=dict)
    expected_empty: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reference:
    """The full backup before this one that was judged last, and what was wrong then."""

    backup: Backup | None = None
    losses: Losses = field(default_factory=Losses)

    @property
    def manifest(self) -> Manifest | None:
        return self.backup.manifest if self.backup else None


def judge(backup: Backup, wanted: Wanted, *, now: datetime) -> tuple[Outcome, ...]:
    """complete, integrity, row_counts, foreign_keys, schema_drift; with file trees also files, references, file_policy.
    The outcome is remembered beside the backup."""
    # A host that has only public keys cannot read back what it wrote; where the identity is, `verify` and drills do.
    vault, manifest = backup.vault, backup.manifest
    locked = not vault.can_open
    quick = locked or manifest.bytes > FULL_LOOK_UP_TO
    report = verify(backup, quick=quick, trees=wanted.trees)
    kind = "verify-quick" if quick else "verify"
    unkept = remember(backup, kind, report, now=now)
    acks = acknowledgements.read(vault, backup.system, now)
    before = reference(backup)
    lost = losses(manifest, before.manifest, before.losses, wanted.expected_empty)
    why = "for want of the key" if locked else f"being over {FULL_LOOK_UP_TO // 2**20} MiB"
    note = f"not read again, {why}: `verify` and the drill do that" if quick else ""
    outcomes = (
        *_of_content(backup, report, lost, unkept, note),
        _drift(backup, before.backup, lost),
        *judge_files(backup, wanted.trees, lost),
    )
    for_good = [name for ack in acks if not ack.until for name in ack.about]
    unkept = _remember(backup, outcomes, report, lost.without(for_good), now)
    outcomes = (replace(outcomes[0], findings=(*outcomes[0].findings, *unkept)), *outcomes[1:])
    return tuple(acknowledgements.to_outcome(outcome, acks) for outcome in outcomes)


def _of_content(
    backup: Backup, report: Report, lost: Losses, unkept: tuple[Finding, ...], note: str
) -> tuple[Outcome, ...]:
    manifest = backup.manifest
    findings = tuple(one for one in report.findings if one.topic != "file checks")
    rows = tuple(finding for finding in findings if finding.marked("counts_rows"))
    found = tuple(dict.fromkeys((*findings, *manifest.findings)))
    references = tuple(finding for finding in found if finding.topic == "references")
    # That some tables are not in a partial backup was asked for: worth showing, no reason to wake anyone.
    expected = tuple(f for f in references if manifest.scope == "partial" and f.severity == "warning")
    # Against the schema of the snapshot: the graph may know a table that is younger than this backup. A gap before this
    # backup says nothing of its bytes: its copies are made.
    missing = tuple(finding for finding in findings if finding.marked("incomplete"))
    rest = tuple(
        _whole_all_the_same(f) for f in findings if f not in (*rows, *missing) and f.topic != "references"
    )
    return (
        _complete(manifest, (*missing, *_wrong_identity(backup))),
        Outcome(
            "integrity",
            (*rest, *unkept),
            report.counted,
            report.seconds,
            f"{report.counted.get('objects', 0):,} objects are what the manifest says",
        ),
        Outcome(
            "row_counts",
            (*rows, *(one for one in lost.findings if one.topic == "rows")),
            {"rows": manifest.rows, "tables": len(manifest.tables)},
            good="; ".join(filter(None, (f"{manifest.rows:,} rows in {len(manifest.tables)} tables", note))),
        ),
        Outcome(
            "foreign_keys",
            tuple(finding for finding in references if finding not in expected),
            {name: count for name, count in report.counted.items() if "reference" in name},
            good=f"the database vouches for them; {note}" if note else "every reference finds its row",
            notes=expected,
        ),
    )


def _whole_all_the_same(finding: Finding) -> Finding:
    """After a change of keys, what did not change lies under the old one, and its bytes are right: `rekey` is due, but
    the backup is to be copied tonight as well."""
    return replace(finding, severity="warning") if finding.marked("key_missing") else finding


def _wrong_identity(backup: Backup) -> tuple[Finding, ...]:
    """This host has an identity, and the identity does not open the manifest that it wrote a moment ago."""
    if not backup.vault.encrypted or not backup.vault.can_open:
        return ()
    try:
        _ = backup.vault.without_memory().backup(backup.system, backup.id).data
    except KeyMissing as error:
        return (Finding.of("identity-wrong", why=error.message, remedy=error.remedy),)
    except (Damaged, NotFound):
        pass  # the verification says so
    return ()


def reference(backup: Backup) -> Reference:
    """The last judged full backup, else the oldest of those without a judgement: their runs were killed before it.
    A newer one without a judgement may have lost its content already."""
    oldest, looked = None, 0
    for identifier in reversed(backup.vault.ids(backup.system)):
        if identifier >= backup.id:
            continue
        found = backup.vault.backup(backup.system, identifier)
        try:
            scope = found.manifest.scope
        except (Damaged, KeyMissing):
            continue  # `status` and `verify` name it; a good backup does not fail for the one before it
        if scope != "full":
            continue
        proof = latest(found.proofs(), JUDGED)
        if proof is not None:
            return Reference(found, _known(proof))
        oldest, looked = found, looked + 1
        if looked == LOOK_BACK:
            break
    return Reference(oldest)


def lost_without_judgement(backup: Backup, expected_empty: tuple[str, ...]) -> tuple[Finding, ...]:
    """The losses of a backup whose run was killed before its judgement. A verification does not look for them."""
    try:
        before = reference(backup)
        return losses(backup.manifest, before.manifest, before.losses, expected_empty).findings
    except (Damaged, KeyMissing):
        return ()


def latest(proofs: tuple[Proof, ...], kind: str) -> Proof | None:
    return next((proof for proof in reversed(proofs) if proof.kind == kind), None)


def _known(proof: Proof) -> Losses:
    return Losses(proof.findings, had_before(proof))


def _remember(
    backup: Backup, outcomes: tuple[Outcome, ...], verified: Report, lost: Losses, now: datetime
) -> tuple[Finding, ...]:
    """What the verification found is in its own proof: it speaks of the bytes here, this one of the content."""
    manifest = backup.manifest
    bad = (one for outcome in outcomes for one in outcome.findings if one.severity != "info")
    found = tuple(one for one in dict.fromkeys(bad) if _is_ours(one, verified, manifest))
    counted = {"rows": manifest.rows, "tables": len(manifest.tables), **as_counts(lost.had)}
    seconds = sum(outcome.seconds for outcome in outcomes)
    report = Report(str(backup), found, counted, seconds)
    return remember(backup, JUDGED, report, now=now)


def _is_ours(finding: Finding, verified: Report, manifest: Manifest) -> bool:
    if finding in manifest.findings or finding.topic == "file checks" or finding.topic == "references":
        return True
    seen = verified.findings
    return finding not in seen and replace(finding, severity="error") not in seen


def _complete(manifest: Manifest, missing: tuple[Finding, ...]) -> Outcome:
    own = tuple(
        one for one in manifest.findings if one.topic != "references" and one.tree is None and not _old(one)
    )
    left_out = tuple(
        Finding.of("left-out/judged", kind=one.kind, schema=one.schema, name=one.name, reason=one.reason)
        for one in manifest.left_out
        if manifest.scope == "full"
    )
    return Outcome(
        "complete",
        (*missing, *own),
        {"tables": len(manifest.tables), "left_out": len(manifest.left_out)},
        good=_told(manifest),
        notes=left_out,
    )


def _old(finding: Finding) -> bool:
    """Earlier versions wrote this one into the manifest; `losses` finds it now."""
    return finding.marked("emptied")


def _told(manifest: Manifest) -> str:
    if manifest.scope == "partial":
        return f"PARTIAL: the {len(manifest.tables)} tables that were asked for, and no other"
    excluded = f"; {len(manifest.left_out)} left out on purpose" if manifest.left_out else ""
    return f"all {len(manifest.tables)} tables{excluded}"


def _drift(backup: Backup, before: Backup | None, lost: Losses) -> Outcome:
    """A table that is gone is an error, and stays one until it is accepted; every other change is told once."""
    gone = tuple(one for one in lost.findings if one.topic == "schema")
    if before is None:
        return Outcome("schema_drift", good="the first full backup: there is none to compare with")
    began = time.monotonic()
    good = f"as in {before.id}"
    if before.manifest.schema.plain_sha256 == backup.manifest.schema.plain_sha256:
        return Outcome("schema_drift", gone, seconds=time.monotonic() - began, good=good)
    try:
        schemas = before.schema, backup.schema
    except (KeyMissing, Damaged) as error:
        if backup.vault.can_open and isinstance(error, Damaged):
            return Outcome("schema_drift", (*gone, _not_compared("error", before, error)))
        note = _not_compared("info", before, error)
        return Outcome("schema_drift", gone, good="not compared, for want of the key", notes=(note,))
    named = {one.table for one in gone}
    # An added column is worth no more than a word elsewhere; here it is what the check is for.
    found = tuple(
        replace(one, severity="warning") if one.severity == "info" else one
        for one in drift(*schemas)
        if not (one.marked("table_removed") and one.table in named)
    )
    return Outcome("schema_drift", (*gone, *found), seconds=time.monotonic() - began, good=good)


def _not_compared(severity: str, before: Backup, error: BackupError) -> Finding:
    message = f"the schema of {before.id} cannot be compared with: {error.message}"
    if severity == "error":
        return Finding.of_error(error, message)
    return Finding.of("not-compared", before=before.id, why=error.message)
