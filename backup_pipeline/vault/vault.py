"""What a backup is, in a store: the order in which things are written, and how they are found again.

1. objects, in any order, by any number of processes
2. RECOVER.md
3. manifest.json — the commit point: before it there is no backup, after it there is one
4. manifest.json.sha256 — the seal: from now on a missing or edited manifest is noticed
5. newest.json, beside the backups of the system — from now on a missing folder is noticed, too

A process may be killed anywhere in this list. Before 3, the objects are kept for the next run and nothing is
listed. Between 3 and 4 the backup is whole; the next run of the system seals it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

from backup_pipeline.errors import AlreadyExists, ConfigError, Damaged, NotAllowed, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import backup_id, is_backup_id, parse_timestamp
from backup_pipeline.model.manifest import FORMAT, Link, Manifest, ObjectRef, Proof
from backup_pipeline.model.outline import Outline, outline_of
from backup_pipeline.model.schema import Schema
from backup_pipeline.stores.base import Store, read_all
from backup_pipeline.vault import keeping, layout
from backup_pipeline.vault.objects import Objects, ObjectWriter, read_blocks, read_bytes

#: Written after a manifest: where one of them is, there was one.
_TRACES = frozenset({"manifest.json.sha256", "proofs"})


@dataclass(frozen=True, slots=True)
class VaultInfo:
    """`vault.json`."""

    product: str = ""
    format: int = 0


@dataclass(frozen=True)
class Vault:
    store: Store

    # ── the vault itself

    def prepare(self) -> None:
        """Make sure that this is a vault that we can write; an empty store becomes one."""
        try:
            info = canonical.decode(VaultInfo, read_all(self.store, layout.VAULT), what=layout.VAULT)
        except NotFound:
            self._refuse_a_foreign_folder()
            info = VaultInfo(product="backup_pipeline", format=FORMAT)
            self._put_once(layout.VAULT, canonical.encode(info))
        if info.format != FORMAT:
            raise ConfigError(
                f"{self.store.address} holds a vault of format {info.format}; this version writes format {FORMAT}",
                remedy="use a version of backup-pipeline that knows that format, or another vault",
            )
        text = resources.files("backup_pipeline.vault").joinpath("FORMAT.md").read_bytes()
        self._put_once(layout.FORMAT, text)

    def _refuse_a_foreign_folder(self) -> None:
        for stat in self.store.list():
            raise ConfigError(
                f"{self.store.address} is not a vault and not empty (it holds {stat.key})",
                remedy="name an empty or new folder as `vault:`",
            )

    def _put_once(self, key: str, data: bytes) -> None:
        try:
            if self.store.stat(key) is None:
                self.store.put(key, data)
        except AlreadyExists:
            pass  # another process was faster with the same bytes

    @cached_property
    def writer(self) -> ObjectWriter:
        return ObjectWriter(self.store)

    # ── content

    @cached_property
    def objects(self) -> Objects:
        """What reads objects in worker processes too: the store, and what opens them."""
        return Objects(self.store)

    def blocks(self, reference: ObjectRef) -> Iterator[bytes]:
        return read_blocks(self.objects, reference)

    def content(self, reference: ObjectRef) -> bytes:
        return read_bytes(self.objects, reference)

    def schema(self, manifest: Manifest) -> Schema:
        return canonical.decode(
            Schema, self.content(manifest.schema), what=f"the schema of {manifest.system} {manifest.id}"
        )

    # ── backups

    def systems(self) -> tuple[str, ...]:
        """Systems that have a backup here, whether or not the configuration still names them."""
        names = (name for name in self.store.folders() if f"{name}/" != layout.OBJECTS)
        return tuple(sorted(name for name in names if self.ids(name)))

    def ids(self, system: str) -> tuple[str, ...]:
        """The backups of a system, oldest first. Only what has a manifest is a backup."""
        if not self.store.features.cheap_stat:
            held = self._held(system)
            return tuple(sorted(name for name, files in held.items() if "manifest.json" in files))
        return tuple(
            sorted(
                name
                for name in self.store.folders(f"{system}/")
                if is_backup_id(name) and self.store.stat(layout.manifest_key(system, name)) is not None
            )
        )

    def interrupted(self, system: str) -> tuple[str, ...]:
        """Folders of runs that never wrote a manifest. One with a seal or a proof had a manifest once: it is not
        interrupted but damaged, and `verify` says so; unless it was forgotten on purpose."""
        had_one = {"manifest.json", *_TRACES}
        return tuple(sorted(name for name, held in self._held(system).items() if not held & had_one))

    def beheaded(self, system: str) -> tuple[str, ...]:
        """Folders of backups whose manifest is gone: a seal or a proof says that there was one. What prune has
        forgotten and not yet swept away is not among them."""
        found = [
            name
            for name, held in self._held(system).items()
            if "manifest.json" not in held and held & _TRACES
        ]
        forgotten = set(keeping.forgotten_ids(self.store, system)) if found else set()
        return tuple(sorted(set(found) - forgotten))

    def _held(self, system: str) -> dict[str, set[str]]:
        """Backup id → what lies in its folder."""
        files: dict[str, set[str]] = {}
        for stat in self.store.list(f"{system}/"):
            parts = stat.key.split("/")
            if len(parts) > 2 and is_backup_id(parts[1]):
                files.setdefault(parts[1], set()).add(parts[2])
        return files

    def manifest_bytes(self, system: str, identifier: str) -> bytes:
        try:
            return read_all(self.store, layout.manifest_key(system, identifier))
        except NotFound:
            raise NotFound(
                f"there is no backup {identifier} of {system} in {self.store.address}",
                remedy=f"`backup-pipeline list {system}` shows those that there are",
            ) from None

    def manifest(self, system: str, identifier: str) -> Manifest:
        data = self.manifest_bytes(system, identifier)
        manifest = canonical.decode(Manifest, data, what=f"the manifest of {system} {identifier}")
        if manifest.format != FORMAT:
            raise Damaged(
                f"the manifest of {system} {identifier} has format {manifest.format}",
                remedy="read it with a version of backup-pipeline that knows that format",
            )
        return manifest

    def link(self, system: str, identifier: str) -> Link:
        return Link(identifier, hashlib.sha256(self.manifest_bytes(system, identifier)).hexdigest())

    def outline(self, system: str, identifier: str) -> Outline:
        """What may be known of a backup without a key; see `model.outline`."""
        return outline_of(self.manifest(system, identifier), self.link(system, identifier).sha256)

    def resolve(self, system: str, identifier: str | None) -> str:
        """`latest` (or nothing) is the newest full backup; a partial one has to be named."""
        if identifier in (None, "", "latest"):
            for candidate in reversed(self.ids(system)):
                if self.manifest(system, candidate).scope == "full":
                    return candidate
            raise NotFound(
                f"there is no full backup of {system} in {self.store.address}",
                remedy=f"`backup-pipeline backup {system}` makes one",
            )
        assert identifier is not None
        self.manifest_bytes(system, identifier)
        return identifier

    def commit(self, manifest: Manifest, recover: str) -> None:
        """Make a backup of what lies in the vault: steps 2 to 4 at the top of this file."""
        data = canonical.encode(manifest)
        self.store.put(layout.recover_key(manifest.system, manifest.id), recover.encode(), overwrite=True)
        self.store.put(layout.manifest_key(manifest.system, manifest.id), data)
        self.seal(manifest.system, manifest.id)
        keeping.set_newest(self.store, manifest.system, self.link(manifest.system, manifest.id))

    def draft(self, system: str, token: str) -> Manifest:
        """An export that waits for its commit."""
        key = layout.draft_key(system, token)
        try:
            return canonical.decode(Manifest, read_all(self.store, key), what=key)
        except NotFound:
            raise NotFound(
                f"there is no finished export of {system} to commit",
                remedy="run the export again (in the Dagster UI: re-execute from the tables, not from the manifest)",
            ) from None

    def forget_interrupted(self, system: str, *, before: str) -> None:
        """Remove the traces of runs that were killed. Their objects stay until nothing names them and `prune`
        comes by. A run whose draft still waits for its commit was not killed."""
        waiting = {
            canonical.decode(Manifest, read_all(self.store, stat.key), what=stat.key).id
            for stat in self.store.list(layout.drafts_prefix(system))
        }
        for identifier in self.interrupted(system):
            if identifier < before and identifier not in waiting:
                for stat in list(self.store.list(layout.backup_prefix(system, identifier))):
                    # Who backs up may be allowed to add only (`bucket setup`): then a RECOVER.md stays, which means nothing
                    # without its manifest, until `prune` comes by.
                    with suppress(NotAllowed):
                        self.store.delete(stat.key)

    def seal(self, system: str, identifier: str) -> None:
        data = self.manifest_bytes(system, identifier)
        line = f"{hashlib.sha256(data).hexdigest()}  manifest.json\n"
        self._put_once(layout.seal_key(system, identifier), line.encode())

    def is_sealed(self, system: str, identifier: str) -> bool:
        return self.store.stat(layout.seal_key(system, identifier)) is not None

    def seal_holds(self, system: str, identifier: str) -> bool:
        """False where the manifest is another one than that which was sealed. One without a seal is not broken: its
        writer was stopped right before."""
        try:
            line = read_all(self.store, layout.seal_key(system, identifier))
        except NotFound:
            return True
        return line.split()[:1] == [self.link(system, identifier).sha256.encode()]

    # ── proofs

    def remember(self, system: str, identifier: str, proof: Proof) -> None:
        key = layout.proof_key(system, identifier, proof.kind, backup_id(parse_timestamp(proof.at)))
        self.store.put(key, canonical.encode(proof), overwrite=True)

    def proofs(self, system: str, identifier: str) -> tuple[Proof, ...]:
        """What was proven about this backup, oldest first. Proofs of another manifest do not count."""
        digest = self.link(system, identifier).sha256
        found = [
            canonical.decode(Proof, read_all(self.store, stat.key), what=stat.key)
            for stat in self.store.list(layout.proofs_prefix(system, identifier))
        ]
        return tuple(sorted((p for p in found if p.manifest_sha256 == digest), key=lambda proof: proof.at))
