"""How large the vault is, how fast it grows, and when the disk under it will be full.

What was measured is kept in the state folder, one measurement a day: growth is a matter of several looks. It can be lost;
then the growth is known again after some days.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from backup_pipeline.errors import Damaged, VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding, Severity
from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.state import paths
from backup_pipeline.stores.base import Store
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.stores.staging import explained
from backup_pipeline.vault import presence

#: Measurements that are kept, and of how many days the growth is taken.
MOST = 400
SPAN = timedelta(days=30)
#: Days that are left: below the first it is an error, below the second a warning.
SOON, SOMETIME = 7.0, 30.0
#: A disk that is so full is a matter for a person, even if the vault does not grow: a warning, and an error.
NEARLY_FULL, FULL = 0.05, 0.01
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Sample:
    at: str
    objects: int
    bytes: int
    #: Of the file system; None where there is none to ask (a bucket).
    free: int | None = None
    total: int | None = None


@dataclass(frozen=True, slots=True)
class Samples:
    """Address of a store → what was measured there, oldest first."""

    places: dict[str, tuple[Sample, ...]] = field(default_factory=dict)


def measure(store: Store, now: datetime) -> Sample:
    """Walks over the names of all objects: a listing, where looks cost."""
    objects = size = 0
    for stat in presence.everything(store):
        objects += 1
        size += stat.size
    if store.folder is None:
        # An SFTP server's disk, the space of an account; a bucket has no end.
        room = store.room()
        if room is None:
            return Sample(timestamp(now), objects, size)
        return Sample(timestamp(now), objects, size, room.free, room.total)
    with explained(f"cannot ask how full {store.folder} is"):
        disk = shutil.disk_usage(store.folder)
    return Sample(timestamp(now), objects, size, disk.free, disk.total)


def remember(folder: Path, address: str, sample: Sample) -> tuple[Sample, ...]:
    """The measurements of this place, this one included: one a day, the newest of each."""
    path = paths.measured(folder)
    try:
        held = canonical.decode(Samples, path.read_bytes(), what=str(path))
    except (OSError, Damaged):
        held = Samples()
    before = [
        one for one in held.places.get(address, ()) if one.at < sample.at and one.at[:10] != sample.at[:10]
    ]
    kept = (*before, sample)[-MOST:]
    # What cannot be written is measured again: the next look starts from what is there then.
    with suppress(VaultError):
        LocalStore(folder).put(
            path.name, canonical.encode(Samples({**held.places, address: kept})), overwrite=True
        )
    return kept


@dataclass(frozen=True, slots=True)
class Growth:
    """Bytes a day; None while there are too few measurements."""

    vault: float | None = None
    #: What the disk loses a day, to whomever.
    disk: float | None = None
    days_left: float | None = None


def growth_of(samples: Sequence[Sample]) -> Growth:
    last = samples[-1]
    since = parse_timestamp(last.at) - SPAN
    recent = [one for one in samples if parse_timestamp(one.at) >= since]
    days = (parse_timestamp(last.at) - parse_timestamp(recent[0].at)) / DAY
    if days < 0.9:
        return Growth()
    vault = (last.bytes - recent[0].bytes) / days
    if last.free is None or recent[0].free is None:
        return Growth(vault)
    disk = (recent[0].free - last.free) / days
    worst = max(vault, disk)
    return Growth(vault, disk, last.free / worst if worst > 0 else None)


def judge(samples: Sequence[Sample], address: str) -> tuple[tuple[Finding, ...], dict[str, int]]:
    last, growth = samples[-1], growth_of(samples)
    counted = {"objects": last.objects, "bytes": last.bytes}
    if growth.vault is not None:
        counted["growth_bytes"] = round(growth.vault)
    findings: list[Finding] = []
    if last.free is not None and last.total:
        counted["free_bytes"] = last.free
        if last.free < NEARLY_FULL * last.total:
            share = last.free / last.total
            code = "disk-full/now" if share < FULL else "disk-nearly-full"
            findings.append(Finding.of(code, percent=100 * share, address=address))
    if growth.days_left is not None:
        counted["days_left"] = round(growth.days_left)
        if growth.days_left < SOMETIME:
            day = parse_timestamp(last.at) + timedelta(days=growth.days_left)
            findings.append(_full_soon(address, growth, growth.days_left, day))
    return tuple(findings), counted


def _full_soon(address: str, growth: Growth, days: float, day: datetime) -> Finding:
    vault, disk = growth.vault or 0, growth.disk or 0
    whose = "the vault" if vault >= disk else "everything on the disk together"
    severity: Severity = "error" if days < SOON else "warning"
    mebibytes = max(vault, disk) / 2**20
    return Finding.of(
        "disk-full-soon", severity=severity, address=address, day=day, whose=whose, mebibytes=mebibytes
    )
