"""Reading everything back, a part at a time, so that within a window every stored byte was read and hashed.

The objects are parted by the first two digits of their names, 256 parts of about the same size. Each run takes those that
were not read for the longest. What was read, and when, lies in the vault (`scrub.json`): any machine goes on where
another one stopped. Needs no key: the name of an object is the SHA-256 of its bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backup_pipeline.errors import Damaged, NoBackup, NotFound, VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.model.manifest import ObjectRef
from backup_pipeline.model.outline import OutlineObject
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.model.vault_records import Scrubbed, ScrubState
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import layout
from backup_pipeline.vault.presence import everything
from backup_pipeline.vault.restores import Restores
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.integrity import Job, StoredContent, look_at_all

PARTS = tuple(f"{number:02x}" for number in range(256))
#: So many backups are named where an object is damaged; more are counted.
NAMED = 20


@dataclass(frozen=True, slots=True)
class ScrubReport:
    report: Report
    #: Parts of 256 that were read now, and those that were read within the window (now included).
    read: int
    covered: int
    #: Bytes of all objects, as far as they are known; and the oldest reading of any part.
    known_bytes: int
    oldest: str | None


@dataclass
class _Part:
    """One part under the eyes: what backups want of it."""

    #: Name of the object → its size, and the numbers of the backups that name it.
    wanted: dict[str, tuple[int, list[int]]] = field(default_factory=dict)


def read_state(vault: Vault) -> ScrubState:
    try:
        found = canonical.decode(ScrubState, read_all(vault.store, layout.SCRUB), what=layout.SCRUB)
        for part in found.parts.values():
            parse_timestamp(part.at)
        return found
    except (NotFound, Damaged):
        return ScrubState()  # then everything counts as never read


def choose(state: ScrubState, now: datetime, *, window: timedelta, interval: timedelta) -> tuple[str, ...]:
    """The parts to read now: those that would be older than the window by the next run, those with damage, and at
    least a fair share. Until damage is healed, every scrub tells it."""
    never = ""
    ordered = sorted(PARTS, key=lambda part: state.parts[part].at if part in state.parts else never)
    share = min(len(PARTS), max(1, math.ceil(len(PARTS) * interval / window)))
    late = [
        part
        for part in ordered
        if part in state.parts and now + interval - parse_timestamp(state.parts[part].at) > window
    ]
    hurt = [part for part in ordered if part in state.parts and state.parts[part].damaged]
    chosen = dict.fromkeys((*late, *hurt, *ordered[:share]))
    return tuple(part for part in ordered if part in chosen)


def scrub(
    vault: Vault,
    *,
    window: timedelta,
    interval: timedelta,
    now: datetime,
    everything: bool = False,
    listener: Listener = silent,
) -> ScrubReport:
    """`interval`: how long it is to the next run."""
    began = time.monotonic()
    if vault.store.stat(layout.VAULT) is None:
        raise NoBackup(
            f"there is no vault in {vault.store.address}",
            remedy="see whether the address is right and the disk is mounted",
        )
    state = read_state(vault)
    chosen = PARTS if everything else choose(state, now, window=window, interval=interval)
    parts = {name: _Part() for name in chosen}
    backups: list[tuple[str, str]] = []
    findings = list(_census(vault, parts, backups))
    counted = {"manifests": len(backups), "objects": 0, "bytes": 0}
    done = dict(state.parts)
    for number, (name, part) in enumerate(parts.items(), start=1):
        listener(Advance("verify", f"objects/{name}", note=f"part {number} of {len(parts)}"))
        scrubbed = Scrubbed(timestamp(now))
        for job, seen in look_at_all(vault.store, _jobs(vault, name, part), unpack=False):
            key = job.reference.sha256 + job.reference.suffix
            found = list(_judge(vault, key, seen, part, backups))
            findings += found
            bad = any(one.severity == "error" for one in found)
            scrubbed = Scrubbed(
                scrubbed.at, scrubbed.objects + 1, scrubbed.bytes + seen.size, scrubbed.damaged + bad
            )
            counted["objects"] += 1
            counted["bytes"] += seen.size
            listener(Advance("verify", f"objects/{name}", bytes=seen.size))
        done[name] = scrubbed
        findings += _remember(vault, ScrubState(done), findings)
    recent = [one for one in done.values() if now - parse_timestamp(one.at) <= window]
    return ScrubReport(
        Report("scrub", tuple(findings), counted, time.monotonic() - began),
        read=len(parts),
        covered=len(recent),
        known_bytes=sum(one.bytes for one in done.values()),
        oldest=min((one.at for one in done.values()), default=None) if len(done) == len(PARTS) else None,
    )


def _census(vault: Vault, parts: dict[str, _Part], backups: list[tuple[str, str]]) -> Iterator[Finding]:
    """What every backup wants of the parts; and its manifest against its seal, which is read at each run."""
    for system in vault.systems():
        for identifier in vault.ids(system):
            try:
                backup = vault.backup(system, identifier)
                if not backup.seals_hold():
                    yield Finding.of("seal-broken/scrub", system=system, identifier=identifier)
                outline = backup.outline
            except NotFound:
                continue  # forgotten at this moment
            except Damaged as error:
                yield Finding.of("manifest-unreadable/scrub", why=error.message, system=system)
                continue
            _want(parts, backups, (system, identifier), outline.objects)
        for identifier in vault.without_manifest(system):
            yield Finding.of("manifest-missing/scrub", system=system, identifier=identifier)
        for restore in Restores(vault, system).all():
            try:
                restore.demand_sealed()
                _want(parts, backups, (system, restore.id), restore.outline.objects)
            except Damaged as error:
                yield Finding.of("restore-damaged", identifier=restore.id, why=error.message, system=system)


def _want(
    parts: dict[str, _Part],
    backups: list[tuple[str, str]],
    wanting: tuple[str, str],
    objects: Iterable[OutlineObject],
) -> None:
    number = len(backups)
    backups.append(wanting)
    for one in objects:
        part = parts.get(one.sha256[:2])
        if part is not None:
            part.wanted.setdefault(one.sha256 + one.suffix, (one.size, []))[1].append(number)


def _jobs(vault: Vault, name: str, part: _Part) -> Iterator[Job]:
    """Everything that is there or should be, and the largest first within what is there."""
    there = {stat.key.rpartition("/")[2]: stat.size for stat in everything(vault.store, name)}
    for key in sorted({*there, *part.wanted}, key=lambda key: -there.get(key, 0)):
        if len(key) > 64 and all(digit in "0123456789abcdef" for digit in key[:64]):
            yield Job(ObjectRef(key[:64], there.get(key, 0), key[64:], "", 0))


def _judge(
    vault: Vault, key: str, seen: StoredContent, part: _Part, backups: list[tuple[str, str]]
) -> Iterator[Finding]:
    size, users = part.wanted.get(key, (None, []))
    name = f"object {key[:12]}…{key[64:]}"
    hurt = [backups[number] for number in users]
    if seen.unreadable == "missing":
        # Without what was forgotten since the look at the backups.
        hurt = [one for one in hurt if one[1] in (*vault.ids(one[0]), *Restores(vault, one[0]).ids)]
        if not hurt:
            return
        yield _damaged("object-missing", hurt, name)
    elif seen.unreadable:
        yield _damaged("object-unreadable", hurt, name, why=seen.unreadable)
    elif seen.frozen:
        return  # in an archive, where reading is a matter of hours and money; its length is what it should be
    elif size is not None and seen.size != size:
        yield _damaged("object-length", hurt, name, length=seen.size, size=size)
    elif seen.sha256 != key[:64]:
        yield _damaged("object-altered", hurt, name)


def _damaged(
    code: str, hurt: list[tuple[str, str]], name: str, *, why: str = "", length: int = 0, size: int = 0
) -> Finding:
    if not hurt:
        return Finding.of(f"{code}/unnamed", name=name, why=why, length=length, size=size)
    names = tuple(f"{system} {identifier}" for system, identifier in hurt)
    return Finding.of(
        f"{code}/scrub",
        examples=names[:NAMED],
        name=name,
        why=why,
        length=length,
        size=size,
        backup=names[0],
        more=f" and {len(names) - 1} more" if len(names) > 1 else "",
        system=hurt[0][0],
    )


def _remember(vault: Vault, state: ScrubState, so_far: Iterable[Finding]) -> Iterator[Finding]:
    """After each part, so that a scrub that is stopped has not been for nothing."""
    try:
        vault.store.put(layout.SCRUB, canonical.encode(state), overwrite=True)
    except VaultError as error:
        if not any(finding.marked("not_noted") for finding in so_far):
            yield Finding.of(
                "scrub-not-remembered",
                why=error.message,
                remedy=error.remedy or "the next scrub reads the same part again",
            )
