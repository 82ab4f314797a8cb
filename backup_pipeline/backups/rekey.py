"""After the recipients changed: bring the newest backup under the new ones, and say what only the old key opens.

New content is under the recipients of the day. What did not change is re-used as it lies, under those of its own day, so
the newest backup may need several keys. `rekey` writes its objects again under the current recipients and commits a backup
of the same moment that names them. Older backups stay as they are, since a manifest is never changed: the old key opens
them until retention has removed them.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from backup_pipeline.errors import AlreadyExists, ConfigError, Damaged, NotFound
from backup_pipeline.model import files
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import backup_id, timestamp
from backup_pipeline.model.manifest import FileImage, FileTree, Manifest, ObjectRef, Segment
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.vault import lock, records, recover, recover_files, signing
from backup_pipeline.vault.blocks import Piece, pieces_of
from backup_pipeline.vault.committing import committing
from backup_pipeline.vault.objects import read_blocks
from backup_pipeline.vault.restores import Restores
from backup_pipeline.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class UnderOthers:
    """A backup, or the record of a restore, that the current recipients cannot open, or not all of it."""

    id: str
    objects: int
    bytes: int
    #: Its manifest as well.
    manifest: bool
    #: Why it is pinned, and so not removed by any rule; None: it is not.
    pinned: str | None = None


@dataclass(frozen=True, slots=True)
class RekeyReport:
    system: str
    #: The recipients of today, as they are named in manifests.
    recipients: str
    #: The newest full backup, and what of it is under others.
    id: str
    objects: int
    bytes: int
    #: The backup that was written; None where there was nothing to do, or it was only asked.
    new_id: str | None
    #: Every backup that needs another key, oldest first; after the run.
    others: tuple[UnderOthers, ...]
    dry_run: bool = False


def under_others(vault: Vault, system: str) -> Iterator[UnderOthers]:
    """Needs no key."""
    assert vault.keys is not None
    current = vault.keys.fingerprint
    for identifier in vault.ids(system):
        try:
            outline = vault.backup(system, identifier).outline
        except (Damaged, NotFound):
            continue  # `verify` names it
        sizes = [one.size for one in outline.objects if (one.recipients or outline.recipients) != current]
        if sizes or outline.recipients != current:
            pin = records.pin_of(vault.backup(system, identifier))
            pinned = None if pin is None else pin.reason
            yield UnderOthers(identifier, len(sizes), sum(sizes), outline.recipients != current, pinned)
    for restore in Restores(vault, system).all():
        with suppress(Damaged):  # as above
            sizes = [one.size for one in restore.outline.objects if one.recipients != current]
            if sizes:
                yield UnderOthers(restore.id, len(sizes), sum(sizes), True)


def rekey(
    vault: Vault,
    system: str,
    *,
    dry_run: bool = False,
    listener: Listener = silent,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> RekeyReport:
    """Needs the old identity, to read, and the new recipients, to write."""
    if vault.keys is None:
        raise ConfigError(
            "the vault is not encrypted: there is no key to change", remedy="`encryption:` is for new vaults"
        )
    newest = vault.resolve(system, "latest")
    before = tuple(under_others(vault, system))
    own = next((one for one in before if one.id == newest), None)
    report = RekeyReport(
        system,
        vault.keys.fingerprint,
        newest,
        own.objects if own else 0,
        own.bytes if own else 0,
        None,
        before,
        dry_run,
    )
    if own is None or dry_run:
        return report
    vault.need_identity()
    vault.prepare()
    with lock.hold(vault.store, system, f"rekey of {system}") as held:
        manifest = vault.backup(system, vault.resolve(system, "latest")).manifest
        # What is written here is signed by this host: it must not become its word for another hand's backup.
        first = f"`backup-pipeline backup {system}` makes a signed one; then run this again"
        signing.demand(vault.backup(system, manifest.id), first)
        moved = _Rewrapping(vault, vault.keys.fingerprint, listener, report.bytes).manifest(manifest)
        made = _committed(vault, held, moved, manifest, clock)
    others = tuple(under_others(vault, system))
    return replace(report, new_id=made.id, others=others)


def _committed(
    vault: Vault, held: lock.Held, moved: Manifest, old: Manifest, clock: Callable[[], datetime]
) -> Manifest:
    """Of the same moment as the old one: the snapshot stays, the id is of now."""
    now, earlier = clock(), vault.ids_until_now(old.system)
    identifier = backup_id(now)
    if earlier[-1] >= identifier:
        raise AlreadyExists(
            f"the newest backup of {old.system} is from {earlier[-1]}, which is not before the clock of this machine",
            remedy="set the clock right, or run it again in a moment",
        )
    vault.backup(old.system, earlier[-1]).seal()
    note = Finding.of("rekeyed", old=old.id)
    manifest = replace(
        moved,
        id=identifier,
        started_at=timestamp(now),
        finished_at=timestamp(clock()),
        findings=(*(one for one in moved.findings if one.code != note.code), note),
        previous=vault.backup(old.system, earlier[-1]).link,
    )
    text = recover.recover_text(
        manifest, vault.backup_of(manifest).schema, recover_files.images_of(vault, manifest)
    )
    manifest = replace(manifest, recover_sha256=hashlib.sha256(text.encode()).hexdigest())
    held.confirm()
    with committing(vault.store, held, manifest.objects()):
        vault.commit(manifest, text)
    return manifest


class _Rewrapping:
    """Objects under other recipients, written again; each once."""

    def __init__(self, vault: Vault, current: str, listener: Listener, total: int) -> None:
        self._vault, self._current = vault, current
        self._listener, self._total = listener, total
        self._done: dict[str, ObjectRef] = {}

    def manifest(self, manifest: Manifest) -> Manifest:
        image = self._image(manifest.image) if manifest.image else None
        trees = tuple(self._tree(tree) for tree in manifest.files)
        moved: Manifest = self._all(replace(manifest, image=image, files=trees))
        return moved

    def _all(self, value: Any) -> Any:
        """Every reference in a piece of the manifest."""
        if isinstance(value, ObjectRef):
            return self._object(value)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            changed = {
                field.name: self._all(getattr(value, field.name)) for field in dataclasses.fields(value)
            }
            return replace(value, **changed)
        if isinstance(value, tuple):
            return tuple(self._all(item) for item in value)
        return value

    def _object(self, reference: ObjectRef) -> ObjectRef:
        if reference.recipients == self._current:
            return reference
        name = reference.sha256 + reference.suffix
        if name not in self._done:
            blocks = read_blocks(self._vault.objects, reference)
            self._done[name] = self._vault.writer.write(blocks, reference.packing)
            self._listener(Advance("copy", name[:12], bytes=reference.size, total_bytes=self._total))
        return self._done[name]

    def _image(self, image: FileImage) -> FileImage:
        return replace(image, segments=tuple(self._segment(segment) for segment in image.segments))

    def _segment(self, segment: Segment) -> Segment:
        """A map names packs by their stored bytes: with new packs it is another map."""
        packs = tuple(self._object(pack) for pack in segment.packs)
        digests = self._object(segment.digests) if segment.digests else None
        mapped = segment.map
        if mapped is not None and packs != segment.packs:
            names = {old.sha256: new.sha256 for old, new in zip(segment.packs, packs, strict=True)}
            pieces = pieces_of(segment, self._vault.content)
            lines = (Piece(names[one.pack], one.offset, one.size).line() for one in pieces)
            mapped = self._vault.writer.write((b"".join(lines),), mapped.packing)
        elif mapped is not None:
            mapped = self._object(mapped)
        return replace(segment, packs=packs, map=mapped, digests=digests)

    def _tree(self, tree: FileTree) -> FileTree:
        """A listing names the blocks of its big files: with new blocks it is another listing."""
        listing = tree.listing
        blocks: dict[str, ObjectRef] = {}
        if any(one.recipients != self._current for one in tree.blocks):

            def lines() -> Iterator[bytes]:
                for entry in self._vault.listing(tree):
                    image = self._image(entry.image) if entry.image else None
                    for segment in image.segments if image else ():
                        for one in (*segment.packs, segment.map, segment.digests):
                            if one is not None:
                                blocks.setdefault(one.sha256 + one.suffix, one)
                    yield files.line_of(replace(entry, image=image))

            listing = self._vault.writer.write(lines(), tree.listing.packing)
        else:
            blocks = {one.sha256: one for one in tree.blocks}
        packs = tuple(self._object(pack) for pack in tree.packs)
        return replace(tree, listing=self._object(listing), packs=packs, blocks=tuple(blocks.values()))
