"""What a person does to one backup: pin it, unpin it, forget it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from backup_pipeline.config.keeping import RetentionSettings
from backup_pipeline.errors import ConfigError, Damaged, NoBackup, NotFound, VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import timestamp
from backup_pipeline.model.keeping import Forgotten, Garbage, Pin
from backup_pipeline.model.manifest import Link
from backup_pipeline.retention import census as counting
from backup_pipeline.retention.census import Census, Known, Locked
from backup_pipeline.retention.forgetting import Denied, Doomed, forget, who
from backup_pipeline.retention.policy import PROMISES, decide
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import keeping, layout, lock
from backup_pipeline.vault.committing import read_garbage
from backup_pipeline.vault.vault import Vault

#: Promises do not depend on the rules; some have to be given.
_NO_RULES = RetentionSettings(last=1)


def pin(vault: Vault, system: str, identifier: str, reason: str, now: datetime) -> Pin:
    """Pinning again gives a new reason."""
    _demand(vault, system, identifier)
    made = Pin(timestamp(now), who(), reason)
    keeping.pin(vault.store, system, identifier, made)
    # A prune that had decided before may have taken it meanwhile: then there is nothing to pin.
    try:
        _demand(vault, system, identifier)
    except NotFound:
        keeping.unpin(vault.store, system, identifier)
        raise
    return made


def unpin(vault: Vault, system: str, identifier: str) -> Pin | None:
    """What the pin said; None where there was none."""
    _demand(vault, system, identifier)
    held = keeping.pin_of(vault.store, system, identifier)
    keeping.unpin(vault.store, system, identifier)
    return held


def _demand(vault: Vault, system: str, identifier: str) -> None:
    if identifier not in vault.ids(system):
        if identifier == "latest":
            raise NotFound(
                "a backup is unpinned or forgotten by its ID, not as latest",
                remedy=f"`backup-pipeline list {system}` shows the IDs",
            )
        raise NoBackup(
            f"there is no backup {identifier} of {system} in {vault.store.address}",
            remedy=f"`backup-pipeline list {system}` shows those that there are",
        )


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
    record: Forgotten


def promises_of(
    vault: Vault, system: str, identifier: str, now: datetime, policy: RetentionSettings | None = None
) -> dict[str, str]:
    """Why this backup is never removed by a rule: name → what is said of it."""
    census = counting.take(vault)
    return _promises(census, system, identifier, now, policy)


def _promises(
    census: Census, system: str, identifier: str, now: datetime, policy: RetentionSettings | None
) -> dict[str, str]:
    candidates = [one.candidate for one in census.systems.get(system, ())]
    for decision in decide(candidates, policy or _NO_RULES, "UTC", now):
        if decision.id == identifier:
            return dict(zip(decision.promises, decision.reasons, strict=False))
    return {}


def _of_a_lost_one(
    vault: Vault, system: str, identifier: str, policy: RetentionSettings | None, locked: Locked
) -> dict[str, str]:
    """What cannot be read is not the newest or the proven one of anything; what somebody said of it still holds."""
    found = {}
    pin = keeping.pin_of(vault.store, system, identifier)
    if pin is not None or (policy is not None and identifier in policy.pin):
        found["pinned"] = f"pinned: {pin.reason}" if pin is not None and pin.reason else "pinned"
    if reason := locked(system, identifier):
        found["locked"] = reason
    return found


def forget_one(
    vault: Vault,
    system: str,
    identifier: str,
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
    counting.demand_a_vault(vault.store)
    with lock.hold_key(vault.store, layout.PRUNE_LOCK, f"forget {system} {identifier}"):
        census = counting.take(vault, locked)
        known = next((one for one in census.systems.get(system, ()) if one.id == identifier), None)
        lost = any((one.system, one.id) == (system, identifier) for one in census.unreadable)
        if known is None and not lost:
            _demand(vault, system, identifier)
        promises = _promises(census, system, identifier, now, policy)
        if known is None:
            promises = _of_a_lost_one(vault, system, identifier, policy, locked)
        if standing := {name: text for name, text in promises.items() if name not in forced}:
            flags = " ".join(f"--force {name}" for name in promises)
            raise ConfigError(
                f"{system} {identifier} is never removed: {'; '.join(standing.values())}",
                remedy=f"if you are sure: `backup-pipeline forget {system} {identifier} {flags} --yes`",
            )
        denied = Denied()
        doomed = _doomed(vault, census, system, identifier, known, f"forget: {why}" if why else "forget")
        _unmark(vault, census, known)
        if not forget(vault, doomed, now=now, denied=denied, despite_pin="pinned" in forced):
            raise _refused(system, identifier, denied)
        record = keeping.forgotten(vault.store, system, identifier)
        assert record is not None
        return ForgetReport(
            system, identifier, tuple(promises), _own(census, system, known), known is None, record
        )


def _refused(system: str, identifier: str, denied: Denied) -> VaultError:
    for finding in denied.findings():
        return VaultError(f"{system} {identifier} stays: {finding.message}", remedy=finding.remedy)
    return VaultError(
        f"{system} {identifier} stays: somebody pinned it at this moment", remedy="run it again"
    )


def _doomed(
    vault: Vault, census: Census, system: str, identifier: str, known: Known | None, why: str
) -> Doomed:
    if known is not None:
        return Doomed(system, identifier, known.manifest_sha256, known.previous, why)
    # What its manifest said cannot be read any more; its seal, or newest.json, says at least its digest.
    older = [one for one in census.systems.get(system, ()) if one.id < identifier]
    below = Link(older[-1].id, older[-1].manifest_sha256) if older else None
    recorded = [name for name in keeping.forgotten_ids(vault.store, system) if name < identifier]
    if recorded and (below is None or recorded[-1] > below.id):
        record = keeping.forgotten(vault.store, system, recorded[-1])
        below = record.link if record is not None else below
    return Doomed(system, identifier, _digest(vault, system, identifier), below, why)


def _digest(vault: Vault, system: str, identifier: str) -> str:
    with suppress(Damaged):
        newest = keeping.newest(vault.store, system)
        if newest is not None and newest.id == identifier:
            return newest.manifest_sha256
    wrote = vault.remembered.newest(system) if vault.remembered else None
    if wrote is not None and wrote.id == identifier:
        return wrote.sha256
    for key in keeping.keys_of(vault.store, system, identifier)[1]:
        if key.endswith(".sha256"):
            return read_all(vault.store, key).split(b" ")[0].decode("ascii", "replace")
    try:
        return hashlib.sha256(vault.stored_manifest(system, identifier)).hexdigest()
    except NotFound:
        return ""


def _unmark(vault: Vault, census: Census, known: Known | None) -> None:
    """What this one names was named until now, whatever an older mark says. Where nobody knows: all of it."""
    garbage = read_garbage(vault.store)
    if not garbage.marked:
        return
    own = set(known.objects) if known is not None else None
    kept = {
        at: tuple(
            name
            for name in names
            if own is not None and census.numbers.get(bytes.fromhex(name[:64])) not in own
        )
        for at, names in garbage.marked.items()
    }
    fresh = Garbage(garbage.at, {at: names for at, names in kept.items() if names})
    vault.store.put(layout.GARBAGE, canonical.encode(fresh), overwrite=True)


def _own(census: Census, system: str, known: Known | None) -> int:
    if known is None:
        return 0
    others = census.named_by(lambda other, name: (other, name) != (system, known.id))
    return sum(census.sizes[number] for number in set(known.objects) if not others[number])
