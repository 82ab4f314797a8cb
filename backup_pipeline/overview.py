"""What there is, at a glance: the line of a backup in `list`, and what `status` says of a system.

Read from the vault alone, so both work while the database is gone, which is when people look.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from backup_pipeline.errors import ConfigError, Damaged, KeyMissing, NotFound
from backup_pipeline.model.findings import HEAL_MANIFEST, Finding
from backup_pipeline.model.ids import moment_of, parse_timestamp, timestamp
from backup_pipeline.model.manifest import Proof

if TYPE_CHECKING:
    from backup_pipeline.config import SystemSettings
    from backup_pipeline.copies.standing import Standing
    from backup_pipeline.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of `list`."""

    system: str
    id: str
    kind: str
    scope: str
    #: None, here and below: it is encrypted, and this host can neither open nor remember it.
    tables: int | None
    rows: int | None
    #: Plain bytes of the rows or of the database file, and of all file trees.
    bytes: int
    #: Bytes of the objects that it names, shared ones included.
    stored: int
    seconds: float
    #: Of tables, and the segments of a file.
    chunks: int | None
    reused_chunks: int | None
    #: The last drill, if it passed.
    proven_at: str | None = None
    verified_at: str | None = None
    findings: int = 0
    left_out: int | None = 0
    #: In all its file trees.
    files: int | None = 0
    #: Something that was asked for could not be taken; its findings say what.
    degraded: bool = False
    #: Why somebody pinned it; None: nobody did.
    pinned: str | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """A backup that cannot even be listed."""

    system: str
    id: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """What `status` says of a system: would you sleep well?"""

    system: str
    latest: Listed | None
    age_seconds: float | None
    backups: int
    proven: Listed | None
    fresh: bool
    findings: tuple[Finding, ...] = ()
    #: By the schedule, in UTC; None without one.
    next_backup: str | None = None
    next_drill: str | None = None
    zone: str = "UTC"
    #: How far each of its copies is behind.
    copies: tuple[Standing, ...] = ()

    @property
    def protected(self) -> bool:
        """Fresh, proven and whole: nothing that a person should look at."""
        return not any(finding.severity in ("error", "warning") for finding in self.findings)


def listed(vault: Vault, system: str, identifier: str) -> Listed:
    proofs = vault.proofs(system, identifier)
    try:
        manifest = vault.manifest(system, identifier)
    except (KeyMissing, ConfigError):
        return _locked(vault, system, identifier, proofs)
    parts = [chunk.reused_from for table in manifest.tables for chunk in table.chunks]
    parts += [segment.reused_from for segment in manifest.image.segments] if manifest.image else []
    return Listed(
        system=system,
        id=identifier,
        kind=manifest.kind,
        scope=manifest.scope,
        tables=len(manifest.tables),
        rows=manifest.rows,
        bytes=manifest.bytes,
        stored=sum(reference.size for reference in manifest.objects()),
        seconds=_seconds(manifest.started_at, manifest.finished_at),
        chunks=len(parts),
        reused_chunks=sum(1 for part in parts if part),
        proven_at=_last(proofs, "drill"),
        verified_at=_last(proofs, "verify"),
        findings=len(manifest.findings),
        left_out=len(manifest.left_out),
        files=sum(tree.files for tree in manifest.files),
        degraded=manifest.degraded,
        pinned=_pin(vault, system, identifier),
    )


def _pin(vault: Vault, system: str, identifier: str) -> str | None:
    # Here, because a command that shows its help should not load what reads JSON.
    from backup_pipeline.vault import keeping

    pin = keeping.pin_of(vault.store, system, identifier)
    return None if pin is None else pin.reason


def _locked(vault: Vault, system: str, identifier: str, proofs: tuple[Proof, ...]) -> Listed:
    """What may be known of an encrypted backup without its key."""
    outline = vault.outline(system, identifier)
    return Listed(
        system=system,
        id=identifier,
        kind=outline.kind,
        scope=outline.scope,
        tables=None,
        rows=None,
        bytes=outline.bytes,
        stored=outline.stored,
        seconds=_seconds(outline.started_at, outline.finished_at),
        chunks=None,
        reused_chunks=None,
        proven_at=_last(proofs, "drill"),
        verified_at=_last(proofs, "verify"),
        findings=outline.errors + outline.warnings,
        left_out=None,
        files=None,
        degraded=outline.degraded,
        pinned=_pin(vault, system, identifier),
    )


def survey(vault: Vault, system: str) -> tuple[tuple[Listed, ...], tuple[Broken, ...]]:
    """Every backup of a system, oldest first; one that is damaged does not hide the others."""
    # Here, because a command that shows its help should not load threads.
    from backup_pipeline.stores.waiting import side_by_side

    def look(identifier: str) -> Listed | Broken | None:
        try:
            return listed(vault, system, identifier)
        except Damaged as error:
            return Broken(system, identifier, error.message, error.remedy)
        except NotFound:
            return None  # prune took it between our two looks

    found = tuple(side_by_side(vault.store, look, vault.ids(system)))
    whole = tuple(one for one in found if isinstance(one, Listed))
    return whole, tuple(one for one in found if isinstance(one, Broken))


def status(
    vault: Vault, system: str, settings: SystemSettings | None, *, zone: str, now: datetime
) -> SystemStatus:
    """Without settings: of a system that left the configuration. Its backups are what they are, and no new one is due."""
    # Imported here: the cron library costs more than the rest of `list`.
    from backup_pipeline.checks.freshness import judge, next_tick

    def upcoming(schedule: str | None) -> str | None:
        return timestamp(next_tick(schedule, zone, now)) if schedule else None

    whole, broken = survey(vault, system)
    full = [line for line in whole if line.scope == "full"]
    latest = full[-1] if full else None
    proven = next((line for line in reversed(full) if line.proven_at), None)
    age = (now - moment_of(latest.id)).total_seconds() if latest else None
    judged = (
        judge(
            settings,
            zone=zone,
            latest_at=moment_of(latest.id) if latest else None,
            proven_at=proven.proven_at if proven else None,
            now=now,
            system=system,
        )
        if settings
        else (_retired(system),)
    )
    failed = _failed(vault.proofs(system, latest.id), latest) if latest else ()
    damaged = tuple(
        Finding("error", "damaged", f"{line.id}: {line.why}", remedy=line.remedy) for line in broken
    )
    seen = _of_the_newest(vault, latest) if latest else ()
    return SystemStatus(
        system=system,
        latest=latest,
        age_seconds=age,
        backups=len(whole) + len(broken),
        proven=proven,
        fresh=not any(finding.code in ("no-backup", "not-fresh") for finding in judged),
        findings=(*_beheaded(vault, system), *damaged, *failed, *seen, *judged),
        next_backup=upcoming(settings.schedule) if settings else None,
        next_drill=upcoming(settings.drill_schedule) if settings else None,
        zone=zone,
    )


def _retired(system: str) -> Finding:
    return Finding(
        "info",
        "not-configured",
        f"{system} is not in the configuration: nothing makes new backups of it",
        remedy="its backups can be verified, drilled and restored as ever; `prune` does not touch them",
    )


def _beheaded(vault: Vault, system: str) -> Iterator[Finding]:
    """Whoever deletes a manifest takes a backup out of every list: this is where it is missed."""
    for identifier in vault.beheaded(system):
        yield Finding(
            "error",
            "manifest-missing",
            f"{identifier} was a backup (it is sealed, or was proven) and its manifest is gone",
            remedy=f"`backup-pipeline repair {system}` brings it back from a copy; if it was deleted on purpose, "
            f"`backup-pipeline forget {system} {identifier}` says so",
        )
    yield from _newest_missing(vault, system)


def _newest_missing(vault: Vault, system: str) -> Iterator[Finding]:
    """Whoever deletes the newest folder leaves nothing in it that could be missed."""
    # Here, because a command that shows its help should not load what reads JSON.
    from backup_pipeline.vault import keeping

    try:
        newest = keeping.newest(vault.store, system)
    except Damaged:
        return  # `verify` says so; the next backup writes it anew
    if newest is None or newest.id in (*vault.ids(system), *vault.beheaded(system)):
        return
    if keeping.forgotten(vault.store, system, newest.id) is None:
        yield Finding(
            "error",
            "newest-missing",
            f"{newest.id} was written last, and it is gone without a record that it was forgotten",
            remedy=f"`backup-pipeline repair {system}` brings it back from a copy; if it was deleted on purpose, "
            f"`backup-pipeline forget {system} {newest.id}` says so",
        )


#: Warnings of a backup that say that it may not hold what people think.
_WORTH_A_LOOK = frozenset(
    {"table-became-empty", "tree-empty", "tree-shrank", "migrations-unknown", "migrations-unreadable"}
)


def _of_the_newest(vault: Vault, line: Listed) -> Iterator[Finding]:
    """What makes the newest backup another one than people think: it was edited, something could not
    be taken, or came out empty."""
    if not vault.seal_holds(line.system, line.id):
        yield seal_broken(line.system, line.id)
    yield from _under_old_keys(vault, line)
    if line.tables is None:
        if line.degraded:
            yield Finding(
                "error",
                "backup-degraded",
                f"{line.id} is degraded: something that was asked for could not be taken",
                remedy=f"`backup-pipeline show {line.system} {line.id}` says what, where the key is",
            )
        return
    for finding in vault.manifest(line.system, line.id).findings:
        if finding.severity == "error" or finding.code in _WORTH_A_LOOK:
            yield finding


def seal_broken(system: str, identifier: str) -> Finding:
    return Finding(
        "error",
        "seal-broken",
        f"the manifest of {system} {identifier} is not the one that was sealed: it was altered since",
        remedy=HEAL_MANIFEST,
    )


def _under_old_keys(vault: Vault, line: Listed) -> Iterator[Finding]:
    """After the recipients changed, what did not change is re-used as it lies."""
    if not vault.encrypted or vault.keys is None:
        return
    outline = vault.outline(line.system, line.id)
    others = [
        one.size
        for one in outline.objects
        if (one.recipients or outline.recipients) != vault.keys.fingerprint
    ]
    if others:
        yield Finding(
            "info",
            "old-key",
            f"{len(others):,} objects ({sum(others) / 2**20:.1f} MiB) of {line.id} are encrypted to other recipients than those "
            "of today",
            remedy=f"keep the old key, or `backup-pipeline rekey {line.system}` where it is",
        )


def _failed(proofs: tuple[Proof, ...], line: Listed) -> tuple[Finding, ...]:
    """A check of the newest backup that failed and was not done again with a better end."""
    newest = {proof.kind: proof for proof in proofs}
    again = (
        f"`backup-pipeline backup {line.system} --full` makes a new backup for which everything is read again"
    )
    findings = []
    for kind, proof in newest.items():
        if not proof.ok:
            first = next((finding for finding in proof.findings if finding.severity == "error"), None)
            # A new backup heals what was stored wrongly, and not what is wrong in the application.
            remedy = (first.remedy if first is not None else "") or again
            findings.append(
                Finding(
                    "error",
                    f"{kind}-failed",
                    f"the last {kind} of {line.id} failed: {first.message if first else 'see its report'}",
                    remedy=f"`backup-pipeline {kind.partition('-')[0]} {line.system} {line.id}` shows all of it; {remedy}",
                )
            )
    return tuple(findings)


def _seconds(start: str, end: str) -> float:
    return (parse_timestamp(end) - parse_timestamp(start)).total_seconds() if end else 0.0


def _last(proofs: tuple[Proof, ...], kind: str) -> str | None:
    """When it was last looked at, if that look was a good one: a later failure takes the proof away."""
    of_kind = [proof for proof in proofs if proof.kind == kind]
    return of_kind[-1].at if of_kind and of_kind[-1].ok else None
