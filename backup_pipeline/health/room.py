"""Does the next backup fit? What it needs, by earlier ones and by what lives in the sources, against the room of each place.

An error is said only where even the least that can be expected does not fit; where nothing is known, that is said.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.outline import Outline

#: Without any backup to learn from, it is not known how well it compresses: between a tenth and not at all.
LEAST_RATIO, MOST_RATIO = 0.1, 1.0
#: How much content one object holds where there are no earlier ones to count.
OBJECT = 16 * 2**20
#: Beside its objects: manifest, seal, RECOVER.md, locks, proofs.
BESIDE = 16
#: Folders `objects/ab` of a new vault.
FOLDERS = 264
#: A disk that is so full is a matter for a person, even if the vault does not grow.
NEARLY_FULL = 0.05


@dataclass(frozen=True, slots=True)
class Amount:
    """What has to be written: bytes from the least to the most that can be expected, and files (inodes)."""

    least: int = 0
    most: int = 0
    files: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.least + other.least, self.most + other.most, self.files + other.files)


@dataclass(frozen=True, slots=True)
class Need:
    """Of one system: in a place that holds no backup of it, and in one that holds the newest. None: not known."""

    system: str
    first: Amount | None = None
    next: Amount | None = None
    #: By what that is known.
    by: str = ""


def need_of(
    system: str, outlines: Sequence[Outline], live: int | None, grown: int, ratio: float | None
) -> Need:
    """`outlines`: full backups, oldest first. `live`: plain bytes of the sources. `grown`: plain bytes that came since the
    newest. `ratio`: stored by plain bytes of other systems, where this one has no backup yet."""
    if not outlines:
        if live is None:
            return Need(system)
        least, most = (ratio / 2, ratio * 2) if ratio else (LEAST_RATIO, MOST_RATIO)
        amount = Amount(int(live * least), int(live * most), live // OBJECT + FOLDERS + BESIDE)
        return Need(
            system, amount, amount, f"{size_of(live)} before compression, and no backup to learn from"
        )
    newest = outlines[-1]
    more = int(grown * newest.stored / newest.bytes) if newest.bytes else 0
    whole = newest.stored + more
    # What the database says of its rows is an estimate: half of it is the least.
    first = Amount(newest.stored + more // 2, whole, len(newest.objects) + FOLDERS + BESIDE)
    if len(outlines) == 1:
        return Need(system, first, Amount(more // 2, whole, BESIDE), "one earlier backup")
    added = [_added(before, after) for before, after in pairwise(outlines)]
    mean = sum(size for size, _ in added) // len(added)
    most = max(2 * max(size for size, _ in added), mean)
    files = max(count for _, count in added) + BESIDE
    return Need(
        system, first, Amount(mean + more // 2, most + more, files), f"the last {len(outlines)} backups"
    )


def _added(before: Outline, after: Outline) -> tuple[int, int]:
    held = {one.sha256 for one in before.objects}
    sizes = [one.size for one in after.objects if one.sha256 not in held]
    return sum(sizes), len(sizes)


@dataclass(frozen=True, slots=True)
class Place:
    """The vault or a copy, and how much more fits in there."""

    name: str
    address: str
    needs: tuple[Amount, ...] = ()
    by: tuple[str, ...] = ()
    #: Systems of which it is not known what they need.
    unknown: tuple[str, ...] = ()
    free: int | None = None
    total: int = 0
    #: Inodes; None where there is no limit to them, or none that is known.
    free_files: int | None = None
    #: Equal for two places on one disk: what the one takes the other has not.
    disk: Hashable = None
    #: Why `free` is None.
    why: str = ""


def judge(places: Sequence[Place]) -> Iterator[Finding]:
    for number, place in enumerate(places):
        if place.free is None:
            yield Finding.of("room-unknown/folder", place=place.name, folder=place.address, why=place.why)
            continue
        if place.disk is not None and any(place.disk == other.disk for other in places[:number]):
            continue
        same = (one for one in places[number + 1 :] if place.disk is not None and one.disk == place.disk)
        yield from _judge([place, *same])


def _judge(together: Sequence[Place]) -> Iterator[Finding]:
    first = together[0]
    free, total = first.free or 0, first.total
    amount = sum((need for place in together for need in place.needs), Amount())
    names = " and ".join(place.name for place in together)
    needed = size_of(amount.least)
    if amount.most > amount.least:
        needed += f" to {size_of(amount.most)}"
    if unknown := dict.fromkeys(one for place in together for one in place.unknown):
        yield Finding.of("room-unknown", place=names, systems=", ".join(unknown))
    by = "; ".join(dict.fromkeys(one for place in together for one in place.by)) or "no backup is due"
    code = "disk-low" if free < amount.most or free < NEARLY_FULL * total else "disk"
    if free < amount.least:
        code = "disk-full"
    room, whole = size_of(free), size_of(total)
    yield Finding.of(code, place=names, free=room, whole=whole, folder=first.address, needed=needed, by=by)
    if first.free_files is not None and first.free_files < 3 * amount.files:
        full = first.free_files < amount.files
        yield Finding.of(
            "inodes-low",
            place=names,
            free_files=first.free_files,
            folder=first.address,
            files=amount.files,
            severity="error" if full else "warning",
        )


def size_of(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:,.1f} {unit}"
        size /= 1024
    return f"{size:,.1f} TiB"
