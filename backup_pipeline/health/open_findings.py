"""What is wrong with one backup, and with the history of a system, as far as the vault tells.

Each finding stays until a later look mends it or a person accepts it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from backup_pipeline.errors import ConfigError, Damaged, KeyMissing, NotFound
from backup_pipeline.health import acknowledgements
from backup_pipeline.health.judging import JUDGED
from backup_pipeline.health.losses import subject
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest, Proof
from backup_pipeline.model.register import TEMPLATES
from backup_pipeline.model.vault_records import Ack
from backup_pipeline.vault import records, remembered, signing
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.chain import gaps


def of_backup(backup: Backup, proofs: Sequence[Proof], acks: Sequence[Ack]) -> tuple[Finding, ...]:
    """Every error and lasting warning that the backup and the looks at it have told. Where this host cannot open the
    manifest, the proofs say at least that something is wrong."""
    manifest = manifest_of(backup)
    last = last_of_each(proofs)
    judged = last.pop(JUDGED, None)
    own = [] if manifest is None else list(manifest.findings)
    own += [] if judged is None else list(judged.findings)
    if manifest is not None:
        # The judgement repeats it; see `manifest_of`.
        own = [one for one in own if not one.marked("set_back") or one in manifest.findings]
    found = [one for one in dict.fromkeys(own) if one.severity == "error" or one.marked("stands")]
    if judged is not None and not judged.ok and not judged.findings:
        found.append(_failed(backup, JUDGED, judged, ()))
    known = {(one.code, subject(one)) for one in found}
    for kind, proof in last.items():
        if proof.ok:
            continue
        errors = [one for one in proof.findings if one.severity == "error"]
        unknown = [one for one in errors if (one.code, subject(one)) not in known]
        # One cause is told once: what the backup itself said is not said again of each look at it.
        unaccepted = [one for one in unknown if acknowledgements.ack_of(one, acks) is None]
        if unaccepted or not errors:
            found.append(_failed(backup, kind, proof, unaccepted))
            known |= {(one.code, subject(one)) for one in unaccepted}
    return acknowledgements.applied(found, acks)


def failed_drill(backup: Backup, acks: Sequence[Ack]) -> Iterator[Finding]:
    """Of an older backup, whose drill is the last one of the system."""
    drill = last_of_each(backup.proofs()).get("drill")
    if drill is None or drill.ok:
        return
    errors = [one for one in drill.findings if one.severity == "error"]
    unaccepted = [one for one in errors if acknowledgements.ack_of(one, acks) is None]
    if unaccepted or not errors:
        found = _failed(backup, "drill", drill, unaccepted)
        yield replace(
            found,
            remedy=f"{found.remedy}; when it is mended, `backup-pipeline drill {backup.system}` shows it",
        )


def last_of_each(proofs: Sequence[Proof]) -> dict[str, Proof]:
    """The last proof of each kind. A full verification covers a quick one that came before it."""
    last = {proof.kind: proof for proof in proofs}
    full, quick = last.get("verify"), last.get("verify-quick")
    if full and quick and full.at > quick.at:
        del last["verify-quick"]
    return last


def _failed(backup: Backup, kind: str, proof: Proof, errors: Sequence[Finding]) -> Finding:
    first = errors[0] if errors else None
    verb = "verify" if kind == JUDGED else kind.partition("-")[0]
    # A new backup heals what was stored wrongly, and not what is wrong in the application.
    remedy = (first.remedy if first else "") or (
        f"`backup-pipeline backup {backup.system} --full` makes a new backup for which everything is read again"
    )
    why = first.message if first else "this host cannot read what was found"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    code = f"{kind}-failed"
    found = Finding.of(
        # A later version may know another kind of proof.
        code if code in TEMPLATES else "verify-failed",
        why=why,
        more=more,
        advice=remedy,
        system=backup.system,
        identifier=backup.id,
        verb=verb,
    )
    return replace(found, code=code)


def not_verified(backup: Backup, proofs: Sequence[Proof]) -> Iterator[Finding]:
    """A backup at which no process has looked is not known to be whole."""
    if not any(proof.kind in (JUDGED, "verify", "verify-quick", "drill") for proof in proofs):
        yield Finding.of("not-verified", identifier=backup.id, system=backup.system)


def manifest_of(backup: Backup) -> Manifest | None:
    """Without what it said of the backup before it, where that is there again."""
    try:
        manifest = backup.manifest
    except (KeyMissing, ConfigError):
        return None
    told = [one for one in manifest.findings if not one.marked("set_back")]
    if len(told) == len(manifest.findings) or manifest.previous is None:
        return manifest
    with suppress(NotFound, Damaged):
        if backup.vault.backup(backup.system, manifest.previous.id).link == manifest.previous:
            return replace(manifest, findings=tuple(told))
    return manifest


def lost_backups(vault: Vault, system: str, previous: Mapping[str, str | None]) -> Iterator[Finding]:
    """Backups that are gone and that no record says were forgotten. `previous`: of each backup that is there, the one
    that it follows."""
    without_manifest = vault.without_manifest(system)
    for identifier in without_manifest:
        yield Finding.of("manifest-missing", identifier=identifier, system=system)
    missing = gaps(previous, records.forgotten_ids(vault.store, system))
    for identifier in missing:
        if identifier not in without_manifest:
            yield Finding.of("backup-missing", identifier=identifier, system=system)
    recorded = set(records.forgotten_ids(vault.store, system)) - previous.keys()
    wrote = vault.remembered.newest(system) if vault.remembered else None
    named = {*(one for one in previous.values() if one), *((wrote.id,) if wrote else ())}
    with suppress(Damaged):
        named.update(one.id for one in (records.newest(vault.store, system),) if one is not None)
    yield from foreign_records(vault, system, sorted(recorded & named))
    newest = records.newest_gone(vault, system, lambda: (*vault.ids(system), *without_manifest, *missing))
    yield from set_back(vault, system, (*without_manifest, *missing, *((newest.id,) if newest else ())))
    if newest is not None:
        yield Finding.of("newest-missing", identifier=newest.id, system=system)


def set_back(vault: Vault, system: str, told: Collection[str] = ()) -> Iterator[Finding]:
    back = remembered.set_back(vault, system)
    if back is not None and back.id not in told:
        yield Finding.of("set-back", identifier=back.id, system=system)


def foreign_records(vault: Vault, system: str, identifiers: Iterable[str]) -> Iterator[Finding]:
    """Backups that are gone, and whose record of that another hand may have written."""
    for one in identifiers:
        if not signing.counts(vault.backup(system, one)):
            yield Finding.of("record-unsigned", identifier=one, system=system)
