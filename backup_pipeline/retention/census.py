"""Everything that a prune has to know before it may remove anything: the backups of all systems, and what they name.

Needs no key. An object counts as named by its digest alone: a different suffix is no reason to delete it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from backup_pipeline.errors import Damaged, KeyMissing, NoBackup, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import Link, Manifest
from backup_pipeline.model.outline import Outline
from backup_pipeline.model.overview import Signature
from backup_pipeline.retention.policy import Candidate
from backup_pipeline.stores.base import Store, read_all
from backup_pipeline.vault import layout, records, remembered, signing
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.restores import Restores
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.chain import gaps
from backup_pipeline.verification.remembering import had_before

#: (system, id) → why this backup must not be touched; "" when it may.
Locked = Callable[[str, str], str]


@dataclass(frozen=True, slots=True)
class Known:
    """A backup that could be read."""

    candidate: Candidate
    manifest_sha256: str
    previous: Link | None
    #: Bytes of the objects that it names, shared ones included.
    stored: int
    #: Numbers of these objects in the census.
    objects: array[int]

    @property
    def id(self) -> str:
        return self.candidate.id


@dataclass(frozen=True, slots=True)
class KnownRestore:
    """The record of a restore. It lives as long as the backup that was made before the restore."""

    system: str
    id: str
    pre_restore: str
    #: That backup was forgotten: the record goes as well.
    left_over: bool
    objects: array[int]


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Was a backup, or the record of a restore, and its objects are unknown: while there is one, no object may be deleted."""

    system: str
    id: str
    why: str


@dataclass
class Census:
    systems: dict[str, tuple[Known, ...]] = field(default_factory=dict)
    restores: list[KnownRestore] = field(default_factory=list)
    unreadable: list[Unreadable] = field(default_factory=list)
    #: Digest → its number; and the sizes by number.
    numbers: dict[bytes, int] = field(default_factory=dict)
    sizes: array[int] = field(default_factory=lambda: array("q"))

    def number(self, sha256: str, size: int) -> int:
        digest = bytes.fromhex(sha256)
        found = self.numbers.setdefault(digest, len(self.sizes))
        if found == len(self.sizes):
            self.sizes.append(size)
        return found

    def named_by(self, chosen: Callable[[str, str], bool]) -> bytearray:
        """1 for each object, by number, that one of the chosen backups names, or a restore that lives with one. A restore
        without a backup before it is chosen as the backup with an empty id."""
        flags = bytearray(len(self.sizes))
        for system, backups in self.systems.items():
            for known in backups:
                if chosen(system, known.id):
                    for number in known.objects:
                        flags[number] = 1
        for restore in self.restores:
            if not restore.left_over and chosen(restore.system, restore.pre_restore):
                for number in restore.objects:
                    flags[number] = 1
        return flags

    def restores_of(self, system: str, identifier: str) -> tuple[KnownRestore, ...]:
        """Those that live as long as this backup."""
        return tuple(one for one in self.restores if (one.system, one.pre_restore) == (system, identifier))

    def objects_of(self, system: str, known: Known) -> set[int]:
        """What goes with this backup."""
        restores = self.restores_of(system, known.id)
        return set(known.objects).union(*(one.objects for one in restores))

    def names(self, sha256: str) -> bool:
        return bytes.fromhex(sha256) in self.numbers


def demand_a_vault(store: Store) -> None:
    """Nothing is pruned, marked or locked in a place that is no vault: a wrong address, a disk that is not mounted."""
    if store.stat(layout.VAULT) is None:
        raise NoBackup(
            f"there is no vault in {store.address}",
            remedy="see whether the address is right and the disk is mounted; the first backup, or copy, makes a vault",
        )


def systems_of(store: Store) -> tuple[str, ...]:
    """Every folder that may be a system's, whether or not it holds a whole backup."""
    return tuple(sorted(name for name in store.folders() if f"{name}/" != layout.OBJECTS))


def take(vault: Vault, locked: Locked = lambda _system, _id: "") -> Census:
    census, vault = Census(), vault.one_look()
    for system in systems_of(vault.store):
        found = []
        lost = _what_was_lost(vault, system)

        def kept(name: str, identifier: str, lost: Mapping[str, str] = lost) -> str:
            return locked(name, identifier) or lost.get(identifier, "")

        for identifier in vault.ids(system):
            try:
                found.append(_known(vault.backup(system, identifier), census, kept))
            except Damaged as error:
                census.unreadable.append(Unreadable(system, identifier, error.message))
            except NotFound:
                continue  # another process is removing it at this moment
        census.systems[system] = tuple(found)
        census.unreadable += _lost(vault, system, found)
        _count_restores(vault, system, census)
    return census


def _count_restores(vault: Vault, system: str, census: Census) -> None:
    restores = Restores(vault, system).all()
    forgotten = (
        set(records.forgotten_ids(vault.store, system)) - set(vault.ids(system)) if restores else set()
    )
    for one in restores:
        try:
            outline = one.outline
        except Damaged as error:
            census.unreadable.append(Unreadable(system, one.id, error.message))
            continue
        objects = array("q", [census.number(item.sha256, item.size) for item in outline.objects])
        left_over = outline.pre_restore in forgotten
        census.restores.append(KnownRestore(system, one.id, outline.pre_restore, left_over, objects))


def _what_was_lost(vault: Vault, system: str) -> dict[str, str]:
    """Backups that hold what a table or tree has lost since, as the newest judgement tells: id → why it stays. Without the
    key of an encrypted vault only its writer knows."""
    for identifier in reversed(vault.ids(system)):
        try:
            if signing.foreign(vault.backup(system, identifier)):
                continue
            proofs = vault.backup(system, identifier).proofs()
            judged = [proof for proof in proofs if proof.kind == "judged"]
            full = bool(judged) and vault.backup(system, identifier).outline.scope == "full"
        except (Damaged, NotFound, KeyMissing):
            continue
        if full:
            return {
                had.backup: f"it has what {name} lost since, and no person accepted the loss"
                for name, had in had_before(judged[-1]).items()
            }
    return {}


def _lost(vault: Vault, system: str, known: Iterable[Known]) -> Iterator[Unreadable]:
    """Backups that are not there any more, and that no record says were forgotten."""
    without_manifest = vault.without_manifest(system)
    for identifier in without_manifest:
        yield Unreadable(system, identifier, "its manifest is gone")
    there = vault.ids(system)
    previous = dict.fromkeys(there) | {one.id: one.previous.id if one.previous else None for one in known}
    for identifier in gaps(previous, records.forgotten_ids(vault.store, system)):
        if identifier not in without_manifest:
            yield Unreadable(system, identifier, "a later backup follows it, and it is gone without a record")
    newest = records.newest_gone(vault, system, lambda: (*vault.ids(system), *without_manifest))
    if newest is not None:
        yield Unreadable(system, newest.id, "it was written last, and it is gone without a record")
    back = remembered.set_back(vault, system)
    if back is not None and back.id not in (*there, *without_manifest, *((newest and (newest.id,)) or ())):
        yield Unreadable(system, back.id, "this host wrote it last, and it is gone without a record")


def _known(backup: Backup, census: Census, locked: Locked) -> Known:
    if not backup.seals_hold():
        raise Damaged(f"what lies beside {backup} is not what was sealed")
    manifest = readable(backup)
    outline = backup.outline
    pin = records.pin_of(backup)
    return Known(
        candidate_of(
            outline,
            manifest,
            proven=_proven(backup),
            pinned=None if pin is None else pin.reason,
            locked=locked(backup.system, backup.id),
            foreign=signing.foreign(backup),
        ),
        outline.manifest_sha256,
        outline.previous,
        outline.stored,
        array("q", [census.number(one.sha256, one.size) for one in outline.objects]),
    )


def readable(backup: Backup) -> Manifest | None:
    """The manifest; None where it would take a key that is not here."""
    try:
        return backup.manifest
    except KeyMissing:
        return None


def candidate_of(
    outline: Outline,
    manifest: Manifest | None,
    *,
    proven: bool,
    pinned: str | None,
    locked: str = "",
    foreign: Signature | None = None,
) -> Candidate:
    migrations = manifest.migrations if manifest else None
    return Candidate(
        id=outline.id,
        kind=outline.kind,
        scope=outline.scope,
        degraded=outline.degraded,
        bytes=outline.bytes,
        objects=len(outline.objects),
        rows=manifest.rows if manifest else None,
        files=sum(tree.files for tree in manifest.files) if manifest else None,
        file_bytes=sum(tree.bytes for tree in manifest.files) if manifest else None,
        proven=proven,
        pinned=pinned,
        locked=locked,
        foreign=foreign,
        pending=frozenset(migrations.pending) if migrations and migrations.known else None,
        applied=frozenset(migrations.applied) if migrations else None,
    )


def _proven(backup: Backup) -> bool:
    """The last drill of it passed: an earlier proof is taken back by a later failure."""
    drills = [proof for proof in backup.proofs() if proof.kind == "drill"]
    return bool(drills) and drills[-1].ok


# ── what is under way


def named_by_work(store: Store, system: str) -> Iterator[str]:
    """Digests of objects that drafts and journals name: they may be in the next manifest. In every form of them, an
    object is a JSON object with a `sha256` and a `suffix`."""
    for stat in store.list(f"{system}/"):
        parts = stat.key.split("/")
        if parts[1] != "drafts" and parts[2:3] != ["journal"]:
            continue
        try:
            loaded = canonical.loads(read_all(store, stat.key))
        except (NotFound, ValueError, Damaged):
            continue  # committed meanwhile; or a note that its reader passes over as well
        yield from _digests(loaded)


def _digests(loaded: object) -> Iterator[str]:
    nodes = [loaded]
    while nodes:
        node = nodes.pop()
        if isinstance(node, Mapping):
            digest = node.get("sha256")
            if isinstance(digest, str) and len(digest) == 64:
                yield digest
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node
