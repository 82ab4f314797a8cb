"""What a person does to one backup: pin it, unpin it, forget it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.errors import ConfigError, Damaged, NotFound, VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import timestamp
from backup_pipeline.model.manifest import Link
from backup_pipeline.model.vault_records import Forgotten, Garbage, Pin
from backup_pipeline.retention import census as counting
from backup_pipeline.retention.census import Census, Known, Locked
from backup_pipeline.retention.forgetting import Denied, Doomed, forget, forget_restore, who
from backup_pipeline.retention.policy import PROMISES, decide
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import layout, lock, records
from backup_pipeline.vault.backup import Backup, no_such
from backup_pipeline.vault.committing import read_garbage
from backup_pipeline.vault.restores import Restores
from backup_pipeline.vault.vault import Vault

#: Promises do not depend on the rules; some have to be given.
_NO_RULES = RetentionSettings(last=1)


def pin(backup: Backup, reason: str, now: datetime) -> Pin:
    """Pinning again gives a new reason."""
    _demand(backup)
    made = Pin(timestamp(now), who(), reason)
    records.pin(backup, made)
    # A prune that had decided before may have taken it meanwhile: then there is nothing to pin.
    try:
        _demand(backup)
    except NotFound:
        records.unpin(backup)
        raise
    return made


def unpin(backup: Backup) -> Pin | None:
    """What the pin said; None where there was none."""
    _demand(backup)
    held = records.pin_of(backup)
    records.unpin(backup)
    return held


def _demand(backup: Backup) -> None:
    if backup.id not in backup.vault.ids(backup.system):
        raise no_such(backup.vault, backup.system, backup.id)


@dataclass(frozen=True, slots=True)
class ForgetReport:
    system: str
    id: str
    #: Promises that were overruled.
    forced: tuple[str, ...]
    #: Bytes that only this backup named: a later prune frees them.
    own: int
    #: It could not be read, or was gone already.
    was_damaged: bool
    #: None of the record of a restore, which leaves no record.
    record: Forgotten | None
    #: Restores that cannot be undone any more.
    restores: tuple[str, ...] = ()


def _promises(
    census: Census, backup: Backup, now: datetime, policy: RetentionSettings | None
) -> dict[str, str]:
    """The promises that keep this backup from each rule: name → reason."""
    candidates = [one.candidate for one in census.systems.get(backup.system, ())]
    for decision in decide(candidates, policy or _NO_RULES, "UTC", now):
        if decision.id == backup.id:
            return dict(zip(decision.promises, decision.reasons, strict=False))
    return {}


def _of_a_lost_one(backup: Backup, policy: RetentionSettings | None, locked: Locked) -> dict[str, str]:
    """What cannot be read is not the newest or the proven one of anything; pins and other words of a person still
    hold."""
    found = {}
    pin = records.pin_of(backup)
    if pin is not None or (policy is not None and backup.id in policy.pin):
        found["pinned"] = f"pinned: {pin.reason}" if pin is not None and pin.reason else "pinned"
    if reason := locked(backup.system, backup.id):
        found["locked"] = reason
    return found


def forget_one(
    backup: Backup,
    *,
    why: str,
    now: datetime,
    force: Iterable[str] = (),
    policy: RetentionSettings | None = None,
    locked: Locked = lambda _system, _id: "",
) -> ForgetReport:
    """Forget one backup now, by name: also one that is damaged, or whose manifest is gone."""
    forced = frozenset(force)
    if strange := forced - PROMISES.keys():
        raise ConfigError(
            f"{', '.join(sorted(strange))}: not a promise", remedy=f"one of: {', '.join(PROMISES)}"
        )
    counting.demand_a_vault(backup.store)
    with lock.hold_key(backup.store, layout.PRUNE_LOCK, f"forget {backup}"):
        census = counting.take(backup.vault, locked)
        known = next((one for one in census.systems.get(backup.system, ()) if one.id == backup.id), None)
        lost = any((one.system, one.id) == (backup.system, backup.id) for one in census.unreadable)
        if known is None and not lost:
            _demand(backup)
        promises = _promises(census, backup, now, policy)
        if known is None:
            promises = _of_a_lost_one(backup, policy, locked)
        if binding := {name: text for name, text in promises.items() if name not in forced}:
            flags = " ".join(f"--force {name}" for name in promises)
            raise ConfigError(
                f"{backup} is never removed: {'; '.join(binding.values())}",
                remedy=f"if you are sure: `backup-pipeline forget {backup} {flags} --yes`",
            )
        denied = Denied()
        restores = tuple(one.id for one in census.restores_of(backup.system, backup.id))
        doomed = replace(
            _doomed(backup, census, known, f"forget: {why}" if why else "forget"), restores=restores
        )
        _unmark(backup.vault, backup.system, census, known)
        if not forget(backup.vault, doomed, now=now, denied=denied, despite_pin="pinned" in forced):
            raise _refused(backup, denied)
        record = records.forgotten(backup)
        assert record is not None
        return ForgetReport(
            backup.system,
            backup.id,
            tuple(promises),
            _own(census, backup.system, known),
            known is None,
            record,
            restores,
        )


def forget_restore_by_hand(vault: Vault, system: str, identifier: str) -> ForgetReport:
    """The record of a restore, also a damaged one. The restore cannot be undone any more."""
    counting.demand_a_vault(vault.store)
    with lock.hold_key(vault.store, layout.PRUNE_LOCK, f"forget {system} {identifier}"):
        restore = Restores(vault, system).get(identifier)
        try:
            _ = restore.outline
            was_damaged = False
        except Damaged:
            was_damaged = True
        denied = Denied()
        # Its objects were named until now. Which they are is not known of a damaged one.
        _write_unmarked(vault, lambda _name: False)
        if not forget_restore(vault, system, identifier, denied):
            raise _refused(f"{system} {identifier}", denied)
        return ForgetReport(system, identifier, (), 0, was_damaged, None, (identifier,))


def _refused(backup: Backup | str, denied: Denied) -> VaultError:
    for finding in denied.findings():
        return VaultError(f"{backup} stays: {finding.message}", remedy=finding.remedy)
    return VaultError(f"{backup} stays: it was pinned at this moment", remedy="run it again")


def _doomed(backup: Backup, census: Census, known: Known | None, why: str) -> Doomed:
    if known is not None:
        return Doomed(backup.system, backup.id, known.manifest_sha256, known.previous, why)
    # What its manifest said cannot be read any more; its seal, or newest.json, says at least its digest.
    older = [one for one in census.systems.get(backup.system, ()) if one.id < backup.id]
    below = Link(older[-1].id, older[-1].manifest_sha256) if older else None
    recorded = [name for name in records.forgotten_ids(backup.store, backup.system) if name < backup.id]
    if recorded and (below is None or recorded[-1] > below.id):
        record = records.forgotten(backup.vault.backup(backup.system, recorded[-1]))
        below = record.link if record is not None else below
    return Doomed(backup.system, backup.id, _digest(backup), below, why)


def _digest(backup: Backup) -> str:
    with suppress(Damaged):
        newest = records.newest(backup.store, backup.system)
        if newest is not None and newest.id == backup.id:
            return newest.manifest_sha256
    wrote = backup.vault.remembered.newest(backup.system) if backup.vault.remembered else None
    if wrote is not None and wrote.id == backup.id:
        return wrote.sha256
    for key in records.keys_of(backup)[1]:
        if key.endswith(".sha256"):
            return read_all(backup.store, key).split(b" ")[0].decode("ascii", "replace")
    try:
        return hashlib.sha256(backup.stored).hexdigest()
    except NotFound:
        return ""


def _unmark(vault: Vault, system: str, census: Census, known: Known | None) -> None:
    """The objects of this backup were named until now, against an older mark. Where they are unknown: all objects."""
    own = census.objects_of(system, known) if known is not None else None
    _write_unmarked(
        vault, lambda name: own is not None and census.numbers.get(bytes.fromhex(name[:64])) not in own
    )


def _write_unmarked(vault: Vault, stays: Callable[[str], bool]) -> None:
    garbage = read_garbage(vault.store)
    if not garbage.marked:
        return
    kept = {at: tuple(name for name in names if stays(name)) for at, names in garbage.marked.items()}
    fresh = Garbage(garbage.at, {at: names for at, names in kept.items() if names})
    vault.store.put(layout.GARBAGE, canonical.encode(fresh), overwrite=True)


def _own(census: Census, system: str, known: Known | None) -> int:
    if known is None:
        return 0
    others = census.named_by(lambda other, name: (other, name) != (system, known.id))
    return sum(census.sizes[number] for number in census.objects_of(system, known) if not others[number])
