"""What there is, at a glance: the line of a backup in `list`, and what `status` says of a system.

Read from the vault alone, so both work while the database is gone, which is when people look.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import from_the_future, moment_of, parse_timestamp, timestamp
from backup_pipeline.model.manifest import Proof
from backup_pipeline.model.overview import Broken, Listed, Signature, SystemStatus
from backup_pipeline.model.vault_records import Ack

if TYPE_CHECKING:
    from backup_pipeline.config import SystemSettings
    from backup_pipeline.retention.prune import Rules
    from backup_pipeline.vault.backup import Backup
    from backup_pipeline.vault.vault import Vault


def listed(backup: Backup, acks: Sequence[Ack] = ()) -> Listed:
    # Here, because a command that shows its help should not load the checks.
    from backup_pipeline.health import open_findings
    from backup_pipeline.vault import proving

    proofs, bad = proving.look(backup)
    manifest = open_findings.manifest_of(backup)
    told = open_findings.of_backup(backup, proofs, acks)
    errors = sum(1 for finding in told if finding.severity == "error")
    if manifest is None:
        line = _locked(backup, proofs, acks, told)
        return replace(line, unreadable_proofs=bad)
    parts = [chunk.reused_from for table in manifest.tables for chunk in table.chunks]
    parts += [segment.reused_from for segment in manifest.image.segments] if manifest.image else []
    objects = manifest.objects()
    return Listed(
        system=backup.system,
        id=backup.id,
        kind=manifest.kind,
        scope=manifest.scope,
        tables=len(manifest.tables),
        rows=manifest.rows,
        bytes=manifest.bytes,
        stored=sum(reference.size for reference in objects),
        seconds=_seconds(manifest.started_at, manifest.finished_at),
        chunks=len(parts),
        reused_chunks=sum(1 for part in parts if part),
        proven_at=_last(proofs, "drill", acks),
        verified_at=_last(proofs, "verify", acks),
        findings=len(told),
        errors=errors,
        failed=_failed(proofs, acks),
        left_out=len(manifest.left_out),
        files=sum(tree.files for tree in manifest.files),
        degraded=manifest.degraded,
        pinned=_pin(backup),
        objects=len(objects),
        file_bytes=sum(tree.bytes for tree in manifest.files),
        previous=manifest.previous.id if manifest.previous else None,
        drilled_at=_drilled(proofs),
        signature=_signature(backup),
        unreadable_proofs=bad,
    )


def _failed(proofs: Sequence[Proof], acks: Sequence[Ack]) -> bool:
    """What the judgement alone found (a table that became empty) is no fault of the stored bytes."""
    # As above.
    from backup_pipeline.health import open_findings

    kinds = open_findings.last_of_each(proofs).keys() & {"verify", "verify-quick"}
    return any(_last(proofs, kind, acks) is None for kind in kinds)


def _pin(backup: Backup) -> str | None:
    # Here, because a command that shows its help should not load what reads JSON.
    from backup_pipeline.vault import records

    pin = records.pin_of(backup)
    return None if pin is None else pin.reason


def _signature(backup: Backup) -> Signature | None:
    # As above.
    from backup_pipeline.vault import signing

    return signing.of_backup(backup)


def _other_hands(vault: Vault, lines: Sequence[Listed]) -> Iterator[Finding]:
    """Backups that none of the signers wrote as they are."""
    from backup_pipeline.vault import signing

    for line in lines:
        if line.signature and vault.signing.refuses(line.id, line.signature):
            yield signing.finding(line.system, line.id, line.signature)


def _no_proofs(lines: Sequence[Listed]) -> Iterator[Finding]:
    from backup_pipeline.vault import proving

    return (proving.unreadable(key) for line in lines for key in line.unreadable_proofs)


def _locked(
    backup: Backup,
    proofs: Sequence[Proof],
    acks: Sequence[Ack],
    told: Sequence[Finding],
) -> Listed:
    """What may be known of an encrypted backup without its key."""
    outline = backup.outline
    errors = sum(1 for finding in told if finding.severity == "error")
    return Listed(
        system=backup.system,
        id=backup.id,
        kind=outline.kind,
        scope=outline.scope,
        tables=None,
        rows=None,
        bytes=outline.bytes,
        stored=outline.stored,
        seconds=_seconds(outline.started_at, outline.finished_at),
        chunks=None,
        reused_chunks=None,
        proven_at=_last(proofs, "drill", acks),
        verified_at=_last(proofs, "verify", acks),
        findings=max(len(told), outline.errors + outline.warnings),
        errors=max(errors, outline.errors),
        failed=_failed(proofs, acks),
        left_out=None,
        files=None,
        degraded=outline.degraded,
        pinned=_pin(backup),
        objects=len(outline.objects),
        file_bytes=None,
        previous=outline.previous.id if outline.previous else None,
        drilled_at=_drilled(proofs),
        signature=_signature(backup),
    )


def survey(
    vault: Vault, system: str, acks: Sequence[Ack] = ()
) -> tuple[tuple[Listed, ...], tuple[Broken, ...]]:
    """Every backup of a system, oldest first; one that is damaged does not hide the others."""
    # Here, because a command that shows its help should not load threads.
    from backup_pipeline.stores.waiting import in_parallel

    def look(identifier: str) -> Listed | Broken | None:
        try:
            return listed(vault.backup(system, identifier), acks)
        except Damaged as error:
            return Broken(system, identifier, error.message, error.remedy)
        except NotFound:
            return None  # prune took it between our two looks

    found = tuple(in_parallel(vault.store, look, vault.ids(system)))
    whole = tuple(one for one in found if isinstance(one, Listed))
    return whole, tuple(one for one in found if isinstance(one, Broken))


def status(
    vault: Vault,
    system: str,
    settings: SystemSettings | None,
    *,
    zone: str,
    now: datetime,
    rules: Rules | None = None,
) -> SystemStatus:
    """Without settings: of a system that left the configuration. Its backups are what they are, and no new one is due.
    `rules`: of its retention, where it has one."""
    # Imported here: the cron library costs more than the rest of `list`.
    from backup_pipeline.health import acknowledgements, open_findings
    from backup_pipeline.health.freshness import judge, next_tick, proof

    def upcoming(schedule: str | None) -> str | None:
        return timestamp(next_tick(schedule, zone, now)) if schedule else None

    acks = acknowledgements.read(vault, system, now)
    whole, broken = survey(vault, system, acks)
    ahead = [line.id for line in whole if from_the_future(line.id, now)]
    ours = [line for line in whole if not vault.signing.refuses(line.id, line.signature)]
    full = [line for line in ours if line.scope == "full" and line.id not in ahead]
    latest = full[-1] if full else None
    proven = next((line for line in reversed(full) if line.proven_at), None)
    age = (now - moment_of(latest.id)).total_seconds() if latest else None
    told = (*_of_the_latest(vault, full, acks), *_other_hands(vault, whole), *_no_proofs(whole))
    if settings is not None and latest is not None:
        told += _never_judged(vault.backup(system, latest.id), settings)
    if settings is None:
        judged = [Finding.of("not-configured", system=system)]
    else:
        judged = [*judge(system, settings, zone, moment_of(latest.id) if latest else None, now)]
        # The failed drill is told by itself.
        if latest and not any(finding.marked("failed_drill") for finding in told):
            judged += proof(system, settings, proven.proven_at if proven else None, now)
    damaged = tuple(
        Finding.of("damaged", identifier=line.id, why=line.why, remedy=line.remedy) for line in broken
    )
    previous = {line.id: line.previous for line in whole} | {line.id: None for line in broken}
    lost = open_findings.lost_backups(vault, system, previous)
    frozen = _frozen(vault, system, ours, rules, now) if rules else ()
    return SystemStatus(
        system=system,
        latest=latest,
        age_seconds=age,
        backups=len(whole) + len(broken),
        proven=proven,
        fresh=not any(finding.marked("not_fresh") for finding in judged),
        findings=acknowledgements.applied(
            (*lost, *damaged, *_ahead(system, ahead), *told, *judged, *frozen), acks
        ),
        next_backup=upcoming(settings.schedule) if settings else None,
        next_drill=upcoming(settings.drill_schedule) if settings else None,
        zone=zone,
        accepted=acks,
        scheduled=next((line.id for line in reversed(full) if line.kind == "scheduled"), None),
    )


def _ahead(system: str, identifiers: Sequence[str]) -> Iterator[Finding]:
    for one in identifiers:
        yield Finding.of("from-the-future", identifier=one, system=system)


def _frozen(
    vault: Vault, system: str, lines: Sequence[Listed], rules: Rules, now: datetime
) -> tuple[Finding, ...]:
    """What keeps `prune` from forgetting anything is wrong tonight as well, and not only when it prunes."""
    from backup_pipeline.retention.anomalies import anomalies
    from backup_pipeline.retention.policy import Candidate
    from backup_pipeline.retention.prune import frozen_finding
    from backup_pipeline.vault import records

    candidates = [
        Candidate(
            id=line.id,
            kind=line.kind,
            scope=line.scope,
            bytes=line.bytes,
            objects=line.objects,
            rows=line.rows,
            files=line.files,
            file_bytes=line.file_bytes,
        )
        for line in lines
    ]
    accepted = records.accepted(vault.store, system)
    found = anomalies(candidates, now, accepted=accepted, silent_after=rules.silent_after)
    return (frozen_finding(system, found),) if found else ()


def _of_the_latest(vault: Vault, full: Sequence[Listed], acks: Sequence[Ack]) -> Iterator[Finding]:
    from backup_pipeline.health import open_findings

    if full:
        yield from _of_the_newest(vault, full[-1], acks)
    # A drill that failed is not mended by the next backup, but by the next drill.
    drilled = max((one for one in full if one.drilled_at), key=lambda one: one.drilled_at or "", default=None)
    if drilled is not None and drilled is not full[-1]:
        yield from open_findings.failed_drill(vault.backup(drilled.system, drilled.id), acks)


def _of_the_newest(vault: Vault, line: Listed, acks: Sequence[Ack]) -> Iterator[Finding]:
    """What makes the newest backup another one than people think: it was edited, content is missing, no process has
    looked at it, or a look found an error."""
    from backup_pipeline.health import open_findings

    backup = vault.backup(line.system, line.id)
    if not backup.seal_holds():
        yield Finding.of("seal-broken/status", system=line.system, identifier=line.id)
    yield from _under_old_keys(vault, line)
    proofs = backup.proofs()
    told = open_findings.of_backup(backup, proofs, acks)
    if line.degraded and not told and open_findings.manifest_of(backup) is None:
        yield Finding.of("backup-degraded", identifier=line.id, system=line.system)
    yield from told
    yield from open_findings.not_verified(backup, proofs)


def _never_judged(backup: Backup, settings: SystemSettings) -> tuple[Finding, ...]:
    # Here, because the checks of a fresh backup load more than the rest of `status`.
    if any(proof.kind == "judged" for proof in backup.proofs()):
        return ()
    from backup_pipeline.health.judging import lost_without_judgement

    return lost_without_judgement(backup, settings.expected_empty)


def _under_old_keys(vault: Vault, line: Listed) -> Iterator[Finding]:
    """After the recipients changed, what did not change is re-used as it lies."""
    if not vault.encrypted or vault.keys is None:
        return
    outline = vault.backup(line.system, line.id).outline
    others = [
        one.size
        for one in outline.objects
        if (one.recipients or outline.recipients) != vault.keys.fingerprint
    ]
    if others:
        yield Finding.of(
            "old-key",
            count=len(others),
            mebibytes=sum(others) / 2**20,
            identifier=line.id,
            system=line.system,
        )


def _seconds(start: str, end: str) -> float:
    return (parse_timestamp(end) - parse_timestamp(start)).total_seconds() if end else 0.0


def _drilled(proofs: Sequence[Proof]) -> str | None:
    return max((proof.at for proof in proofs if proof.kind == "drill"), default=None)


def _last(proofs: Sequence[Proof], kind: str, acks: Sequence[Ack]) -> str | None:
    """When it was last looked at, if that look was a good one, or all that it found is accepted: a later failure takes
    the proof away."""
    # Here, because a command that shows its help should not load the checks.
    from backup_pipeline.health.acknowledgements import ack_of

    of_kind = [proof for proof in proofs if proof.kind == kind]
    if not of_kind:
        return None
    errors = [one for one in of_kind[-1].findings if one.severity == "error"]
    accepted = bool(errors) and all(ack_of(one, acks) for one in errors)
    return of_kind[-1].at if of_kind[-1].ok or accepted else None
