"""Keeping the outcome of a verification or a drill beside the backup that it is about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from backup_pipeline.errors import NotFound, VaultError
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.ids import timestamp
from backup_pipeline.model.manifest import Proof
from backup_pipeline.model.version import __version__
from backup_pipeline.vault.backup import Backup


@dataclass(frozen=True, slots=True)
class Had:
    """What a table or tree (`files.NAME`) held before it was lost, and the backup that has it."""

    count: int
    backup: str


def as_counts(had: Mapping[str, Had]) -> dict[str, int]:
    """As figures of a proof: what is lost is carried from proof to proof."""
    return {f"had {one.backup} {name}": one.count for name, one in sorted(had.items())}


def had_before(proof: Proof) -> dict[str, Had]:
    found = {}
    for text, count in proof.counted.items():
        word, _, rest = text.partition(" ")
        backup, _, name = rest.partition(" ")
        if word == "had" and name:
            found[name] = Had(count, backup)
    return found


def remember(
    backup: Backup,
    kind: str,
    report: Report,
    *,
    now: datetime,
    seconds: float | None = None,
) -> tuple[Finding, ...]:
    """A vault that can only be read (a snapshot of it, a full disk) must not hide the outcome: a finding tells that
    it was not kept. A failure for want of a key alone says nothing about the backup, and is not kept."""
    if not report.ok and all(finding.marked("key_missing") for finding in report.errors):
        return ()
    try:
        digest = backup.link.sha256
    except NotFound:
        return ()  # there is no manifest: nothing to remember a proof of
    proof = Proof(
        kind=kind,
        at=timestamp(now),
        ok=report.ok,
        seconds=report.seconds if seconds is None else seconds,
        findings=report.findings,
        counted=report.counted,
        manifest_sha256=digest,
        tools={"backup_pipeline": __version__},
    )
    try:
        backup.remember(proof)
    except VaultError as error:
        what = "drill" if kind == "drill" else "verification"
        return (Finding.of("not-remembered", why=error.message, remedy=error.remedy, kind=what),)
    return ()
