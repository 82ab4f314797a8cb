"""Healing one place from others: what is lost or damaged there is brought back from a place that has the right bytes.

Right is what can be shown to be right: an object's bytes are those of its name; a manifest is the one that was sealed, and the
one that the next manifest of the history names. Bytes without such a proof are left as they are and named. A good one
is never
overwritten, and what was written is read back.

Where no place has the right bytes of an object, the living source may still have its content. But later backups build on
what is there under its name, and would build on the damaged one. `set_aside` takes it out of the way: the next backup
misses it, reads its content again and stores it anew. In a vault that is not encrypted the same content
gets the same name, so that older backups become whole with it.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from backup_pipeline.copies import beside, folders, transfer
from backup_pipeline.copies.compare import lengths
from backup_pipeline.copies.folders import SystemFolder
from backup_pipeline.copies.history import kept_no_longer
from backup_pipeline.copies.replicate import replicate
from backup_pipeline.copies.restores import heal
from backup_pipeline.copies.transfer import Item, ItemResult, Unreadable
from backup_pipeline.errors import BackupError, Damaged, NotFound, StoreUnavailable, VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.orders import RepairOrder
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.stores.base import read_all
from backup_pipeline.stores.staging import explained, is_bad_medium, staging_name
from backup_pipeline.vault import layout, lock
from backup_pipeline.vault.presence import stats
from backup_pipeline.vault.restores import Restores, objects_of
from backup_pipeline.vault.vault import Vault, VaultInfo

#: What the vault is called among the places.
VAULT = "vault"
MISSING = "it is missing"


@dataclass(frozen=True, slots=True)
class Healed:
    #: The key that is right again.
    key: str
    #: What was wrong with it.
    why: str
    #: The place that the right bytes came from.
    source: str


@dataclass(frozen=True, slots=True)
class RepairReport:
    system: str
    place: str
    #: Nothing was written: this is what would be healed.
    dry_run: bool = False
    healed: tuple[Healed, ...] = ()
    #: Keys of damaged objects that were moved away, so that the next backup stores their content anew.
    set_aside: tuple[str, ...] = ()
    #: Whole backups that were gone, and were brought back.
    brought_back: tuple[str, ...] = ()
    backups: int = 0
    objects: int = 0
    #: Bytes that were read to find what is damaged; 0 after a quick look.
    bytes: int = 0
    seconds: float = 0.0
    #: What could not be healed.
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)


def repair(
    vault: Vault,
    others: Sequence[tuple[str, Vault]],
    order: RepairOrder,
    listener: Listener = silent,
) -> RepairReport:
    """Look at all of a system in one place, by reading every byte (`quick`: by lengths alone), and heal it.
    `vault` stands at the place of the order."""
    began = time.monotonic()
    run = _Repair(vault, order, listener)
    run.reach(others)
    run.top()
    run.whole_backups()
    if order.dry_run:
        run.folders()
        run.contents()
    else:
        with lock.hold(vault.store, order.system, f"repair of {order.system}"):
            run.folders()
            run.contents()
    return replace(run.report(), seconds=time.monotonic() - began)


@dataclass
class _Repair:
    vault: Vault
    order: RepairOrder
    listener: Listener
    others: list[tuple[str, Vault, SystemFolder]] = field(default_factory=list)
    healed: list[Healed] = field(default_factory=list)
    moved_away: list[str] = field(default_factory=list)
    brought_back: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    backups: int = 0
    objects: int = 0
    read: int = 0

    def reach(self, others: Sequence[tuple[str, Vault]]) -> None:
        for name, other in others:
            try:
                self.others.append((name, other, folders.look(other.store, self.order.system)))
            except (
                VaultError
            ) as error:  # a server that is down, a bucket that is gone, rights that were taken away
                self.findings.append(unreachable(name, error))

    def top(self) -> None:
        """What says that this is a vault."""
        for key in (layout.VAULT, layout.FORMAT):
            why = self._wrong_at_the_top(key)
            if not why:
                continue
            for name, other, _ in self.others:
                try:
                    data = read_all(other.store, key)
                except NotFound:
                    continue
                if not self.order.dry_run:
                    self.vault.store.put(key, data, overwrite=True)
                self.healed.append(Healed(key, why, name))
                break

    def _wrong_at_the_top(self, key: str) -> str:
        """A vault.json that cannot be read is none. One of another kind belongs to another vault, and is left alone."""
        try:
            held = read_all(self.vault.store, key)
        except NotFound:
            return "it was missing"
        if key != layout.VAULT:
            return ""
        try:
            info = canonical.decode(VaultInfo, held, what=key)
        except Damaged:
            return "it could not be read"
        return "" if info.product == self.vault.info.product else "it was not the one that was written"

    def whole_backups(self) -> None:
        """Backups of which nothing is left here, without a record that they were removed on purpose."""
        here = folders.look(self.vault.store, self.order.system)
        # What the vault has removed on purpose, a copy need not be given.
        removed = {one for one in here.forgotten if kept_no_longer(self.vault, here, one)}
        for name, other, there in self.others:
            if name == VAULT:
                removed |= {one for one in there.forgotten if kept_no_longer(other, there, one)}
        gone: dict[str, str] = {}
        for name, _, there in self.others:
            for identifier in there.ids:
                # One that left a seal or a proof is healed file by file, like every other.
                if identifier not in {*here.ids, *_without_manifest(here)} and identifier not in removed:
                    gone.setdefault(identifier, name)
        for name, other, _ in self.others:
            wanted = sorted(identifier for identifier, source in gone.items() if source == name)
            if not wanted:
                continue
            if self.order.dry_run:
                self.brought_back += wanted
                continue
            report = replicate(other, self.vault, self.order.system, wanted, listener=self.listener)
            self.brought_back += report.copied
            self.findings += (finding for finding in report.findings if not finding.marked("told_by_repair"))

    def folders(self) -> None:
        here = folders.look(self.vault.store, self.order.system)
        identifiers = sorted({*here.ids, *_without_manifest(here)})
        self.backups = len(identifiers) + (len(self.brought_back) if self.order.dry_run else 0)
        healer = beside.Healer(self.vault, self.order.system, tuple(self.others), self.order.dry_run)
        for identifier in identifiers:
            for change in healer.backup(here, identifier, identifiers):
                self.healed.append(Healed(change.key, change.why, change.source))
        self.findings += healer.findings
        others = [(name, other) for name, other, _ in self.others]
        for told in heal(self.vault, self.order.system, others, dry_run=self.order.dry_run):
            if isinstance(told, Finding):
                self.findings.append(told)
            else:
                self.healed.append(Healed(told.key, told.why, told.source))

    def contents(self) -> None:
        """Objects: each once, for any number of backups."""
        hurt_by: dict[Item, list[str]] = {}
        system = self.order.system
        for identifier in (*self.vault.ids(system), *Restores(self.vault, system).ids):
            try:
                objects = objects_of(self.vault, system, identifier)
            except (NotFound, Damaged):
                continue  # it could not be healed, and was named
            for item in transfer.items(objects):
                hurt_by.setdefault(item, []).append(identifier)
        self.objects = len(hurt_by)
        bad = self._bad(tuple(hurt_by))
        found = dict(bad)
        for name, other, _ in self.others:
            if bad:
                self._from(name, other, bad)
        for item, why in bad.items():
            self._not_healed(item, found[item], why, hurt_by[item])

    def _not_healed(self, item: Item, found: str, why: str, hurt: Sequence[str]) -> None:
        missing = found == MISSING
        if self.order.set_aside and not missing:
            if not self.order.dry_run:
                self._move_away(item)
            self.moved_away.append(item.key)
        stored_anew = missing or self.order.set_aside
        first = "" if stored_anew else f"`backup-pipeline repair {self.order.system} --set-aside`, and then "
        self.findings.append(
            Finding.of(
                "not-healed/object",
                name=item.name,
                found=found,
                backups=", ".join(hurt[:3]),
                more=f" and {len(hurt) - 3} more" if len(hurt) > 3 else "",
                reason=f" ({why})" if why != found else "",
                advice=first,
                system=self.order.system,
                examples=hurt,
            )
        )

    def _move_away(self, item: Item) -> None:
        """The bytes are kept: most of a damaged pack can still be read (`restore --salvage`, by hand)."""
        store = self.vault.store
        aside = layout.SET_ASIDE + item.key.rpartition("/")[2]
        staged = store.staging() / staging_name()
        try:
            with store.get(item.key) as stream, explained(f"cannot set an object of {store.address} aside"):
                with staged.open("xb") as file:
                    try:
                        shutil.copyfileobj(stream, file, transfer.READ_SIZE)
                    except StoreUnavailable as error:
                        if not is_bad_medium(error):
                            raise  # of a bad sector, what comes before it is kept
            store.put(aside, staged, overwrite=True)
        finally:
            staged.unlink(missing_ok=True)
        store.delete(item.key)

    def _bad(self, every: Sequence[Item]) -> dict[Item, str]:
        gone, other = lengths(stats(self.vault.store, every), every)
        bad = dict.fromkeys(gone, MISSING)
        bad.update((item, f"it is not {item.size:,} bytes long") for item in other)
        if self.order.quick:
            return bad
        rest = [item for item in every if item not in bad]
        total = sum(item.size for item in rest)

        def moved(count: int, subject: str) -> None:
            self.read += count
            self.listener(Advance("verify", subject, bytes=count, total_bytes=total))

        frozen = 0
        for outcome in transfer.examine(self.vault.store, rest, moved=moved):
            frozen += outcome.frozen is not None
            if outcome.why:
                bad[outcome.item] = outcome.why
        if frozen:
            self.findings.append(Finding.of("not-read-in-archive", frozen=frozen))
        return bad

    def _from(self, name: str, other: Vault, bad: dict[Item, str]) -> None:
        """Heal what one other place has the right bytes of; what was healed is taken out of `bad`."""
        there = stats(other.store, bad)
        wanted = [item for item in bad if item.key in there]
        total = sum(item.size for item in wanted)

        def moved(count: int, subject: str) -> None:
            self.listener(Advance("copy", subject, bytes=count, total_bytes=total))

        for outcome in self._outcomes(other, wanted, moved):
            item = outcome.item
            if outcome.frozen is not None:
                bad[item] = f"in {name} it lies in an archive, and has to be thawed first"
                continue
            if outcome.why:
                self.findings.append(Finding.of("also-damaged", name=item.name, place=name, why=outcome.why))
                continue
            if not self.order.dry_run and not self._arrived(item):
                bad[item] = "it was written anew and did not read back right"
                continue
            self.healed.append(Healed(item.key, bad.pop(item), name))

    def _outcomes(self, other: Vault, wanted: Sequence[Item], moved: transfer.Told) -> Iterable[ItemResult]:
        if self.order.dry_run:
            return transfer.examine(other.store, wanted, moved=moved)
        return transfer.send(other.store, self.vault.store, wanted, moved=moved, replace=True)

    def _arrived(self, item: Item) -> bool:
        try:
            return transfer.digest_of(self.vault.store, item.key) == (item.sha256, item.size)
        except Unreadable:
            return False

    def report(self) -> RepairReport:
        return RepairReport(
            self.order.system,
            self.order.place,
            self.order.dry_run,
            tuple(self.healed),
            tuple(self.moved_away),
            tuple(self.brought_back),
            self.backups,
            self.objects,
            self.read,
            findings=tuple(self.findings),
        )


def unreachable(name: str, error: BackupError) -> Finding:
    """The other places are asked all the same."""
    return Finding.of("copy-unreachable/any", why=error.message, remedy=error.remedy, name=name)


def _without_manifest(here: SystemFolder) -> tuple[str, ...]:
    """A seal or a proof is there and the manifest is not, and no record says that it was forgotten on purpose."""
    return tuple(
        name
        for name, folder in here.folders.items()
        if not folder.is_backup and name not in here.unfinished and name not in here.forgotten
    )
