"""A look at a copy that is far away: everything by listing, and a part of the bytes by reading them back.

Which part is not left to chance: the SHA-256 of an object is a point on a circle, and each look reads the arc that follows the one
before it. So after a few looks every object was read once, however the objects come and go in between.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from backup_pipeline.checks.vault_itself import look_at_the_vault
from backup_pipeline.copies import folders, transfer
from backup_pipeline.copies.compare import lengths
from backup_pipeline.copies.transfer import Item
from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.stores.thawing import thawing_of
from backup_pipeline.vault.vault import Vault

_CIRCLE = 16**8


@dataclass(frozen=True, slots=True)
class Arc:
    """A part of all objects: from `start`, `part` of the circle; both between 0 and 1."""

    start: float
    part: float

    def holds(self, item: Item) -> bool:
        point = int(item.sha256[:8], 16) / _CIRCLE
        return (point - self.start) % 1.0 < self.part

    @property
    def end(self) -> float:
        return (self.start + self.part) % 1.0


def sample(
    copy: Vault,
    system: str,
    ids: Sequence[str],
    *,
    name: str,
    arc: Arc | None = None,
    listener: Listener = silent,
) -> Report:
    """Every backup's folder, manifest and seal; every object by its length; and the bytes of those in `arc`."""
    began = time.monotonic()
    findings: list[Finding] = list(look_at_the_vault(copy))
    counted: Counter[str] = Counter()
    hurt_by: dict[Item, list[str]] = {}
    seen = folders.look(copy.store, system)
    remedy = (
        f"`backup-pipeline repair {system} --copy {name}` heals it where another place has the right bytes"
    )
    for identifier in ids:
        counted["manifests"] += 1
        findings += _folder(seen.folder(identifier), remedy)
        try:
            outline = copy.outline(system, identifier)
            if not copy.seal_holds(system, identifier):
                findings.append(
                    _error(
                        "seal-broken", f"{identifier}: the manifest is not the one that was sealed", remedy
                    )
                )
        except NotFound:
            findings.append(_error("manifest-missing", f"{identifier}: its manifest is gone", remedy))
            continue
        except Damaged as error:
            findings.append(_error("manifest-unreadable", f"{identifier}: {error.message}", remedy))
            continue
        for item in transfer.items(outline.objects):
            hurt_by.setdefault(item, []).append(identifier)
    gone, other = lengths(copy.store, hurt_by)
    for item in gone:
        findings.append(
            _error("object-missing", f"object {item.name} is missing; {_of(hurt_by[item])}", remedy)
        )
    for item in other:
        findings.append(
            _error(
                "object-length",
                f"object {item.name} is not {item.size:,} bytes long; {_of(hurt_by[item])}",
                remedy,
            )
        )
    counted["objects"] = len(hurt_by)
    counted["objects_read"] = 0  # said also when nothing was: a listing knows nothing of the bytes
    known = frozenset((*gone, *other))
    chosen = [item for item in hurt_by if arc is not None and arc.holds(item) and item not in known]
    frozen = _frozen(copy, chosen)
    if frozen:
        counted["frozen_objects"] = len(frozen)
        findings.append(
            Finding(
                "info",
                "objects-frozen",
                f"{len(frozen):,} objects ({sum(item.size for item in frozen) / 2**20:,.0f} MiB) lie in an archive: they "
                "are there and as long as they should be, and were not read",
                remedy=f"backup-pipeline verify {system} --copy {name} --thaw bulk    reads them too",
            )
        )
        chosen = [item for item in chosen if item not in frozen]
    total = sum(item.size for item in chosen)

    def moved(count: int, subject: str) -> None:
        listener(Advance("verify", subject, bytes=count, total_bytes=total))

    for outcome in transfer.examine(copy.store, chosen, moved=moved):
        if outcome.frozen is not None:
            counted["objects_in_an_archive"] += 1
            continue
        counted["objects_read"] += 1
        counted["bytes"] += outcome.item.size
        if outcome.why:
            where = _of(hurt_by[outcome.item])
            findings.append(
                _error("object-altered", f"object {outcome.item.name}: {outcome.why}; {where}", remedy)
            )
    return Report(f"{system} in {name}", tuple(findings), dict(counted), time.monotonic() - began)


def _frozen(copy: Vault, items: Sequence[Item]) -> frozenset[Item]:
    thawing = thawing_of(copy.store)
    if thawing is None or not items:
        return frozenset()
    named = {item.key: item for item in items}
    return frozenset(named[one.key] for one in thawing.look(sorted(named)) if one.state != "thawed")


def _folder(folder: folders.Folder, remedy: str) -> list[Finding]:
    found = []
    if not any(name.startswith("RECOVER.md") for name in folder.files):
        found.append(_error("recover-missing", f"{folder.id}: RECOVER.md is missing", remedy))
    if folder.is_backup and folder.seal is None:
        message = f"{folder.id}: its manifest is not sealed"
        found.append(Finding("warning", "not-sealed", message, remedy="the next copy brings its seal over"))
    return found


def _of(ids: Sequence[str]) -> str:
    return f"of {ids[0]}" if len(ids) == 1 else f"of {len(ids)} backups, {ids[0]} to {ids[-1]}"


def _error(code: str, message: str, remedy: str) -> Finding:
    return Finding("error", code, message, remedy=remedy)
