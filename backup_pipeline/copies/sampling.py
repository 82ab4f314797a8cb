"""A look at a copy that is far away: everything by listing and by the checksums that the store states, and a part of the
bytes by reading them back.

Which part is not left to chance: the SHA-256 of an object is a point on a circle, and each look reads the arc that follows the one
before it. So after a few looks every object was read once, however the objects come and go in between.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from backup_pipeline.copies import folders, transfer
from backup_pipeline.copies.compare import lengths
from backup_pipeline.copies.transfer import Item
from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.stores.base import Stat, Store
from backup_pipeline.vault.presence import stats
from backup_pipeline.vault.restores import Restores
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.vault_itself import look_at_the_vault

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
    place: tuple[str, Vault],
    system: str,
    ids: Sequence[str],
    *,
    arc: Arc | None = None,
    trusted: Store | None = None,
    listener: Listener = silent,
) -> Report:
    """Every backup's folder, manifest and seal; every object by its length and by what the store states of it, for which
    bytes are read from `trusted`; and the bytes of those in `arc`."""
    began = time.monotonic()
    name, copy = place
    look = _Look(copy, system, name, listener, list(look_at_the_vault(copy)))
    look.at_manifests(ids)
    sound = look.at_lengths()
    chosen = [item for item in sound if arc is not None and arc.holds(item)]
    frozen = look.at_archive(chosen)
    read = dict.fromkeys(item for item in chosen if item not in frozen)
    # Of what is read, and of what lies there with another length, nothing more is to be learnt from a checksum.
    look.at_checksums({item: stat for item, stat in sound.items() if item not in read}, trusted)
    look.at_bytes(list(read))
    return Report(f"{system} in {name}", tuple(look.findings), dict(look.counted), time.monotonic() - began)


@dataclass
class _Look:
    copy: Vault
    system: str
    name: str
    listener: Listener
    findings: list[Finding]
    #: Said also where they are 0: a listing knows nothing of the bytes.
    counted: Counter[str] = field(
        default_factory=lambda: Counter(manifests=0, objects=0, objects_by_checksum=0, objects_read=0)
    )
    #: Every object, and the backups that it belongs to.
    hurt_by: dict[Item, list[str]] = field(default_factory=dict)

    @property
    def remedy(self) -> str:
        return f"`backup-pipeline repair {self.system} --copy {self.name}` heals it where another place has the right bytes"

    def at_manifests(self, ids: Sequence[str]) -> None:
        copy, system = self.copy, self.system
        seen = folders.look(copy.store, system)
        for identifier in ids:
            self.counted["manifests"] += 1
            self.findings += _folder(seen.folder(identifier), self.remedy)
            try:
                outline = copy.backup(system, identifier).outline
                if not copy.backup(system, identifier).seal_holds():
                    self.findings.append(
                        Finding.of("seal-broken/copy", identifier=identifier, remedy=self.remedy)
                    )
            except NotFound:
                self.findings.append(
                    Finding.of("manifest-missing/copy", identifier=identifier, remedy=self.remedy)
                )
                continue
            except Damaged as error:
                self.findings.append(
                    Finding.of(
                        "manifest-unreadable/copy",
                        identifier=identifier,
                        why=error.message,
                        remedy=self.remedy,
                    )
                )
                continue
            for item in transfer.items(outline.objects):
                self.hurt_by.setdefault(item, []).append(identifier)
        for restore in Restores(copy, system).all():
            try:
                restore.demand_sealed()
                for item in transfer.items(restore.outline.objects):
                    self.hurt_by.setdefault(item, []).append(restore.id)
            except Damaged as error:
                self.findings.append(
                    Finding.of(
                        "restore-damaged",
                        identifier=restore.id,
                        why=error.message,
                        system=self.system,
                        remedy=self.remedy,
                    )
                )
        self.counted["objects"] = len(self.hurt_by)

    def at_lengths(self) -> dict[Item, Stat]:
        """Those that are there and as long as they should be."""
        there = stats(self.copy.store, self.hurt_by)
        gone, other = lengths(there, self.hurt_by)
        for item in gone:
            self.findings.append(
                Finding.of(
                    "object-missing/copy", name=item.name, where=_of(self.hurt_by[item]), remedy=self.remedy
                )
            )
        for item in other:
            where = _of(self.hurt_by[item])
            self.findings.append(
                Finding.of("object-length", name=item.name, size=item.size, where=where, remedy=self.remedy)
            )
        unsound = frozenset((*gone, *other))
        return {item: there[item.key] for item in self.hurt_by if item not in unsound}

    def at_archive(self, chosen: Sequence[Item]) -> frozenset[Item]:
        """Those that cannot be read before they are thawed."""
        frozen = _frozen(self.copy, chosen)
        if frozen:
            self.counted["frozen_objects"] = len(frozen)
            self.findings.append(
                Finding.of(
                    "objects-frozen/copy",
                    count=len(frozen),
                    mebibytes=sum(item.size for item in frozen) / 2**20,
                    system=self.system,
                    copy=self.name,
                )
            )
        return frozen

    def at_checksums(self, wanted: Mapping[Item, Stat], trusted: Store | None) -> None:
        found = transfer.attested(self.copy.store, wanted, trusted, moved=self._moved(wanted))
        for outcome in found:
            if outcome.untold:
                self.findings.append(
                    Finding.of(
                        "vault-object-altered", name=outcome.item.name, why=outcome.untold, system=self.system
                    )
                )
            if outcome.untold is None:
                self.counted["objects_by_checksum"] += 1
            self._judge(outcome)

    def at_bytes(self, wanted: Sequence[Item]) -> None:
        for outcome in transfer.examine(self.copy.store, wanted, moved=self._moved(wanted)):
            if outcome.frozen is not None:
                self.counted["objects_in_an_archive"] += 1
                continue
            self.counted["objects_read"] += 1
            self.counted["bytes"] += outcome.item.size
            self._judge(outcome)

    def _moved(self, wanted: Iterable[Item]) -> transfer.Told:
        total = sum(item.size for item in wanted)

        def moved(count: int, subject: str) -> None:
            self.listener(Advance("verify", subject, bytes=count, total_bytes=total))

        return moved

    def _judge(self, outcome: transfer.ItemResult) -> None:
        if outcome.why:
            where = _of(self.hurt_by[outcome.item])
            self.findings.append(
                Finding.of(
                    "object-altered", name=outcome.item.name, why=outcome.why, where=where, remedy=self.remedy
                )
            )


def _frozen(copy: Vault, items: Sequence[Item]) -> frozenset[Item]:
    thawing = copy.store.thawing()
    if thawing is None or not items:
        return frozenset()
    named = {item.key: item for item in items}
    return frozenset(named[one.key] for one in thawing.look(sorted(named)) if one.state != "thawed")


def _folder(folder: folders.Folder, remedy: str) -> list[Finding]:
    found = []
    if not any(name.startswith("RECOVER.md") for name in folder.files):
        found.append(Finding.of("recover-missing/copy", folder=folder.id, remedy=remedy))
    if folder.is_backup and folder.seal is None:
        found.append(Finding.of("not-sealed/copy", folder=folder.id))
    return found


def _of(ids: Sequence[str]) -> str:
    return f"of {ids[0]}" if len(ids) == 1 else f"of {len(ids)} backups, {ids[0]} to {ids[-1]}"
