"""Replication: what a vault holds and a copy does not, brought over so that the copy never lists what is not whole.

The order is the vault's own (FORMAT.md V5): objects, RECOVER.md and what else lies beside it, the manifest, the seal; and
then what speaks of a backup that is there: the drills that proved it, and which one is the newest. A process may be killed anywhere in
it. The records of restores come after their backups. What it had brought over by then is found again by the next run, and nothing of it is listed.

Only bytes travel: nothing is decrypted, nothing packed anew. What is damaged at the source is named and left there.
Replication never removes a backup or an object; what the copy need not keep any more is for `prune` to say.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace

from backup_pipeline.copies import folders, history, lost, restores, transfer
from backup_pipeline.copies.folders import Folder, SystemFolder
from backup_pipeline.copies.places import prepare, same_place
from backup_pipeline.copies.transfer import Item, Unreadable
from backup_pipeline.errors import ConfigError, Damaged, NotFound, StoreChanged, VaultError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Link
from backup_pipeline.model.outline import Outline
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.model.vault_records import RestoreOutline
from backup_pipeline.vault import layout, lock, records, signing
from backup_pipeline.vault.committing import committing
from backup_pipeline.vault.leftovers import sweep
from backup_pipeline.vault.presence import ObjectIndex
from backup_pipeline.vault.restores import Restores
from backup_pipeline.vault.vault import Vault

#: In an encrypted vault: what says, without a key, which objects a backup needs.
OUTLINE = "outline.json"


@dataclass(frozen=True, slots=True)
class CopyReport:
    system: str
    source: str
    target: str
    #: The backups that are listed there now and were not before.
    copied: tuple[str, ...] = ()
    #: Those that were there already, of the ones that were asked for.
    present: int = 0
    #: Asked for, and not there now: the findings say why.
    refused: tuple[str, ...] = ()
    #: What was sent …
    objects: int = 0
    bytes: int = 0
    #: … and what the new backups need and was there already.
    skipped: int = 0
    skipped_bytes: int = 0
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.bytes / self.seconds if self.seconds > 0 else 0.0


def replicate(
    source: Vault,
    target: Vault,
    system: str,
    ids: Sequence[str] | None = None,
    *,
    listener: Listener = silent,
) -> CopyReport:
    """Bring over what is asked for (all that the source lists, unless named) and is not there yet."""
    if same_place(source, target):
        raise ConfigError(
            f"{source.store.address} is the place that it would be copied to",
            remedy="a copy lies somewhere else: give it another address under `copies:`",
        )
    prepare(source, target)
    sweep(target.store)
    with lock.hold(target.store, system, f"copy of {system}") as ours:
        return _Replication(source, target, system, ours, listener).all(ids)


@dataclass
class _Replication:
    """One replication under way."""

    source: Vault
    target: Vault
    system: str
    lock: lock.Held
    listener: Listener
    findings: list[Finding] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    #: The backups that are listed at the target.
    known: set[str] = field(default_factory=set)
    #: Objects that are known to be damaged at the source → why.
    damaged: dict[Item, str] = field(default_factory=dict)
    sent: list[Item] = field(default_factory=list)
    skipped: list[Item] = field(default_factory=list)
    told: int = 0

    def __post_init__(self) -> None:
        self.index = ObjectIndex(self.target.store)

    def all(self, ids: Sequence[str] | None) -> CopyReport:
        began = time.monotonic()
        # In this order: what is committed meanwhile is left to the next run, and not half-known to this one.
        listed = self.source.ids(self.system)
        here, there = (folders.look(vault.store, self.system) for vault in (self.source, self.target))
        self.known = set(there.ids)
        wanted = listed if ids is None else tuple(sorted(dict.fromkeys(ids)))
        for identifier in wanted:
            if identifier not in listed:
                _ = self.source.backup(self.system, identifier).stored  # raises, and says which there are
        if ids is None:
            wanted = tuple(name for name in wanted if not self._forgotten_there(there, name))
        new = [identifier for identifier in wanted if identifier not in there.ids]
        for identifier in new:
            self._backup(here.folder(identifier), there.folder(identifier))
        kept = Restores(self.source, self.system)
        mine = {*self.known, ""} if ids is None else self.known & set(wanted)
        self.findings += restores.bring_over(kept, self.target, mine, self._send, self._naming)
        if ids is None:
            held = set(kept.ids) & set(Restores(self.target, self.system).ids)
            self._held([*(one for one in there.ids if one in listed), *sorted(held)])
        for identifier in there.ids:
            if here.folder(identifier).is_backup:
                self._beside(here.folder(identifier), there.folder(identifier))
            if (
                there.folder(identifier).seal is None
                and not self.target.backup(self.system, identifier).is_sealed()
            ):
                self.target.backup(self.system, identifier).seal()
        history.hand_over(self.source, self.target, here, there, self.known)
        self._sweep(there, keep=frozenset(listed))
        return CopyReport(
            system=self.system,
            source=self.source.store.address,
            target=self.target.store.address,
            copied=tuple(self.copied),
            present=len(wanted) - len(new),
            refused=tuple(self.refused),
            objects=len(self.sent),
            bytes=sum(item.size for item in self.sent),
            skipped=len(self.skipped),
            skipped_bytes=sum(item.size for item in self.skipped),
            seconds=time.monotonic() - began,
            findings=tuple(self.findings),
        )

    def _forgotten_there(self, there: SystemFolder, identifier: str) -> bool:
        """Removed from the copy by its own retention: it is not brought back unless it is named."""
        return identifier not in there.ids and history.kept_no_longer(self.target, there, identifier)

    # ── one backup

    def _backup(self, here: Folder, there: Folder) -> None:
        try:
            if state := signing.foreign(self.source.backup(self.system, here.id)):
                # What follows it is bridged when it is copied.
                self.refused.append(here.id)
                told = signing.finding(self.system, here.id, state)
                self.findings.append(replace(told, message=f"not copied: {told.message}"))
                return
            outline, manifest, digests = self._sound(here)
        except NotFound:
            self.findings.append(Finding.of("forgotten-meanwhile", identifier=here.id))
            return
        except (Damaged, Unreadable) as error:
            why = error.message if isinstance(error, Damaged) else f"its manifest: {error}"
            self._refuse(here.id, None, why)
            return
        for last in (False, True):
            hurt = self._objects(outline)
            if hurt:
                self._hurt(outline, hurt)
                return
            for name in here.before_the_manifest():
                self._file(here, there, name, digests)
            if here.id not in self.source.ids(self.system):
                # A prune takes the manifest first: what was read while it was there was whole, and what is missing now
                # (RECOVER.md, for one) may be missing because of that.
                self.findings.append(Finding.of("forgotten-meanwhile", identifier=here.id))
                return
            # Before it is listed: a history with a gap that nothing explains is a broken one.
            history.bridge(self.source, self.target, self.system, outline.previous, self.known)
            self._relock(outline)
            try:
                with committing(self.target.store, self.lock, outline.objects):
                    self.target.store.put(self._key(here.id, here.manifest or ""), manifest)
            except StoreChanged:
                # A prune of the copy took what nothing there named yet: once more, with a fresh look.
                self.index.forget()
                if last:
                    raise
            else:
                break
        self.known.add(here.id)
        self.copied.append(here.id)
        if self._recorded(here.id):
            # As long as it was not listed, its folder was rubbish to a prune of the copy.
            there = folders.look(self.target.store, self.system).folder(here.id)
            for name in here.before_the_manifest():
                self._file(here, there, name, digests)
        self._seal(here, there, digests)
        for name in here.proofs_of_content():
            self._file(here, there, name, digests)
        history.set_newest(self.target, self.system, Link(here.id, outline.manifest_sha256))

    def _sound(self, here: Folder) -> tuple[Outline, bytes, dict[str, str]]:
        """What the backup needs, its manifest, and the digests of what lies beside that; after a look at whether it is
        the one that was sealed."""
        backup = self.source.backup(self.system, here.id)
        outline = backup.outline
        if here.manifest is None:
            raise Damaged(f"the manifest of {here.id} has no name that this version knows")
        if backup.link.sha256 != outline.manifest_sha256 or not backup.seal_holds():
            raise Damaged(f"the manifest of {here.id} is not the one that was sealed: it was altered since")
        digests = self._digests(here, backup.stored)
        if OUTLINE in digests and not folders.fits(OUTLINE, self._bytes(here.id, OUTLINE), digests):
            raise Damaged(f"the outline of {here.id} is not the one that was sealed: it was altered since")
        return outline, backup.stored, digests

    def _recorded(self, identifier: str) -> bool:
        return records.forgotten(self.target.backup(self.system, identifier)) is not None

    def _hurt(self, outline: Outline, hurt: list[tuple[Item, str]]) -> None:
        if outline.id not in self.source.ids(self.system):
            self.findings.append(Finding.of("forgotten-meanwhile", identifier=outline.id))
            return
        named = ", ".join(f"object {item.name}: {why}" for item, why in hurt[:3])
        more = f" and {len(hurt) - 3} more" if len(hurt) > 3 else ""
        self._refuse(outline.id, outline.previous, f"{named}{more}")

    def _send(self, outline: RestoreOutline) -> list[tuple[Item, str]]:
        hurt = self._objects(outline)
        self._relock(outline)
        return hurt

    def _naming(self, outline: RestoreOutline) -> AbstractContextManager[None]:
        return committing(self.target.store, self.lock, outline.objects)

    def _objects(self, outline: Outline | RestoreOutline) -> list[tuple[Item, str]]:
        """Send what is not there. What is damaged at the source, and why; the others are sent all the same."""
        needed = transfer.items(outline.objects)
        missing = [item for item in needed if not self.index.there(item)]
        known = [(item, self.damaged[item]) for item in missing if item in self.damaged]
        wanted = [item for item in missing if item not in self.damaged]
        total = self.told + sum(item.size for item in wanted)

        def moved(count: int, subject: str) -> None:
            self.told += count
            self.listener(Advance("copy", f"{outline.id} {subject}", bytes=count, total_bytes=total))

        for outcome in transfer.send(self.source.store, self.target.store, wanted, moved=moved):
            if outcome.frozen is not None:
                raise outcome.frozen
            if outcome.why:
                self.damaged[outcome.item] = outcome.why
                known.append((outcome.item, outcome.why))
                continue
            self.sent.append(outcome.item)
            self.index.add(outcome.item)
        absent = frozenset(missing)
        self.skipped += (item for item in needed if item not in absent)
        return known

    def _relock(self, outline: Outline | RestoreOutline) -> None:
        """What an earlier copy brought over is locked for that one's days only."""
        try:
            if (locks := self.target.store.object_locks()) is not None:
                locks.extend({item.key for item in transfer.items(outline.objects)})
        except VaultError as error:
            message = f"older objects of {outline.id} can be deleted sooner than `object_lock_days` says"
            self.findings.append(
                Finding.of("lock-not-extended/copy", why=error.message, remedy=error.remedy, message=message)
            )

    def _held(self, ids: Sequence[str]) -> None:
        """What the copy has lost of the backups that it lists."""
        gone = lost.lost(self.source, self.system, ids, self.index.there)
        total = self.told + sum(item.size for item in gone)

        def moved(count: int, subject: str) -> None:
            self.told += count
            self.listener(Advance("copy", f"lost {subject}", bytes=count, total_bytes=total))

        for outcome in transfer.send(self.source.store, self.target.store, gone, moved=moved):
            if outcome.frozen is not None:
                raise outcome.frozen
            self.findings.append(lost.told(outcome.item, gone[outcome.item], outcome.why))
            if not outcome.why:
                self.sent.append(outcome.item)

    # ── the small files

    def _key(self, identifier: str, name: str) -> str:
        return layout.backup_prefix(self.system, identifier) + name

    def _bytes(self, identifier: str, name: str) -> bytes:
        return b"".join(transfer.blocks(self.source.store, self._key(identifier, name)))

    def _file(self, here: Folder, there: Folder, name: str, digests: Mapping[str, str]) -> None:
        if there.files.get(name) == here.files[name]:
            return
        try:
            data = self._bytes(here.id, name)
        except Unreadable as error:
            self.findings.append(
                Finding.of("not-copied-beside/file", name=name, identifier=here.id, why=error)
            )
            return
        if not folders.fits(name, data, digests):
            # RECOVER.md: commands that a person would run by hand on a bad day. The data itself is worth copying.
            self.findings.append(
                Finding.of("not-copied-beside", name=name, identifier=here.id, system=self.system)
            )
            return
        self.target.store.put(self._key(here.id, name), data, overwrite=True)

    def _seal(self, here: Folder, there: Folder, digests: Mapping[str, str]) -> None:
        """That of the source; where it has none (its writer was stopped, or a prune has just taken it) one like it."""
        if here.seal is not None:
            self._file(here, there, here.seal, digests)
        if not self.target.backup(self.system, here.id).is_sealed():
            self.target.backup(self.system, here.id).seal()

    def _beside(self, here: Folder, there: Folder) -> None:
        """A backup that both have: what the copy has not been told of yet. Nothing that is there is replaced."""
        if here.manifest is None or there.files.get(here.manifest) != here.files[here.manifest]:
            self.findings.append(Finding.of("copy-differs", identifier=here.id, system=self.system))
            return
        names = [*here.before_the_manifest(), *([here.seal] if here.seal else []), *here.proofs_of_content()]
        absent = [name for name in names if name not in there.files]
        if not absent:
            return
        try:
            digests = self._digests(here, self._bytes(here.id, here.manifest))
        except Unreadable as error:
            self.findings.append(Finding.of("not-copied-beside/manifest", identifier=here.id, why=error))
            return
        for name in absent:
            self._file(here, there, name, digests)

    def _digests(self, here: Folder, manifest: bytes) -> dict[str, str]:
        return folders.known_digests(manifest, self._bytes(here.id, here.seal) if here.seal else b"")

    # ── what cannot be copied, and what interrupted copies left

    def _refuse(self, identifier: str, previous: Link | None, why: str) -> None:
        self.refused.append(identifier)
        self.findings.append(Finding.of("not-copied", identifier=identifier, why=why, system=self.system))
        if previous is not None:
            history.bridge(self.source, self.target, self.system, previous, self.known)

    def _sweep(self, there: SystemFolder, keep: frozenset[str]) -> None:
        """Folders that a killed copy began, of backups that the source has forgotten since."""
        for identifier in there.unfinished:
            if identifier in keep:
                continue
            try:
                for name in there.folder(identifier).files:
                    self.target.store.delete(self._key(identifier, name))
            except VaultError as error:
                self.findings.append(Finding.of("trace-left", identifier=identifier, why=error.message))
