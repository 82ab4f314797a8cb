"""One backup in a vault: a handle that reads its manifest at most once.

A handle keeps the bytes that it has read, so one answer is given about one state. Code that is about to delete or to
overwrite makes a new handle: another process may have changed the backup meanwhile.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, NoBackup, NotFound, StoreUnavailable
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import HEAL_MANIFEST
from backup_pipeline.model.manifest import FORMAT, Link, Manifest, Proof, Scope
from backup_pipeline.model.outline import Outline, outline_of
from backup_pipeline.model.schema import Schema
from backup_pipeline.stores.base import SMALL, Store, read_all
from backup_pipeline.stores.staging import is_bad_medium
from backup_pipeline.vault import belonging, crypto, hidden, layout, proving
from backup_pipeline.vault.door import Door
from backup_pipeline.vault.objects import AGE

if TYPE_CHECKING:
    from backup_pipeline.vault.vault import Vault

#: So many backups are looked at side by side. A manifest may have megabytes, so no more of them are kept.
_KEPT = 32
_LARGE = ("stored", "data", "claimed", "manifest", "schema", "outline")


def no_such(vault: Vault, system: str, named: str) -> NoBackup:
    return NoBackup(
        f"there is no backup {named} of {system} in {vault.store.address}",
        remedy=f"`backup-pipeline list {system}` shows those that there are",
    )


@dataclass(frozen=True, slots=True)
class _Linked:
    previous: Link | None = None


@dataclass(frozen=True, eq=False)
class Backup:
    vault: Vault
    system: str
    id: str

    def __str__(self) -> str:
        return f"{self.system} {self.id}"

    @property
    def store(self) -> Store:
        return self.vault.store

    @property
    def manifest_key(self) -> str:
        return layout.manifest_key(self.system, self.id) + (AGE if self.vault.encrypted else "")

    @property
    def seal_key(self) -> str:
        return self.manifest_key + ".sha256"

    # ── the manifest

    @cached_property
    def stored(self) -> bytes:
        """The manifest as it lies in the store."""
        try:
            return read_all(self.store, self.manifest_key)
        except NotFound:
            raise no_such(self.vault, self.system, self.id) from None
        except StoreUnavailable as error:
            if not is_bad_medium(error):
                raise
            raise Damaged(
                f"the manifest of {self} cannot be read: {error.message}", remedy=HEAL_MANIFEST
            ) from error

    @cached_property
    def data(self) -> bytes:
        """The text of the manifest. Raises KeyMissing where it is encrypted, and neither opened nor remembered here."""
        return hidden.open_manifest(self, self.stored) if self.vault.encrypted else self.stored

    @cached_property
    def claimed(self) -> Manifest:
        """The manifest, whether or not it belongs there: for `verify`, which tells the fault."""
        what = f"the manifest of {self}"
        try:
            manifest = canonical.decode(Manifest, self.data, what=what)
        except Damaged as error:
            if self.seal_holds():
                raise
            raise Damaged(
                f"{what} was altered since it was sealed: {error.message}", remedy=HEAL_MANIFEST
            ) from error
        if manifest.format != FORMAT:
            raise Damaged(
                f"{what} has format {manifest.format}",
                remedy="read it with a version of backup-pipeline that knows that format",
            )
        return manifest

    @cached_property
    def manifest(self) -> Manifest:
        """Raises Damaged where it is not the one that was written there; see `belonging`."""
        belonging.demand(self, self.claimed)
        return self.claimed

    @cached_property
    def schema(self) -> Schema:
        data = self.vault.content(self.manifest.schema)
        return canonical.decode(Schema, data, what=f"the schema of {self}")

    @cached_property
    def link(self) -> Link:
        return Link(self.id, hashlib.sha256(self.stored).hexdigest())

    def linked(self, sha256: str) -> None:
        """Another handle has read the manifest."""
        if sha256:
            self.__dict__.setdefault("link", Link(self.id, sha256))

    @cached_property
    def outline(self) -> Outline:
        """The part that may be known without a key; see `model.outline`."""
        if self.vault.encrypted:
            return hidden.read_outline(self)
        return outline_of(self.manifest, self.link.sha256)

    @property
    def previous(self) -> Link | None:
        """The link down; None also where it cannot be read: that is told of that backup."""
        try:
            if self.vault.encrypted:
                return self.outline.previous
            return canonical.decode(_Linked, self.stored, what="a manifest").previous
        except Damaged:
            return None

    @cached_property
    def scope(self) -> Scope:
        return self.outline.scope if self.vault.encrypted else self.manifest.scope

    def recover_text(self) -> bytes:
        """RECOVER.md with the commands for this very backup."""
        key = layout.recover_key(self.system, self.id)
        if not self.vault.encrypted:
            return read_all(self.store, key)
        assert self.vault.keys is not None
        return crypto.decrypt(self.vault.keys, read_all(self.store, key + AGE))

    @property
    def door(self) -> Door:
        return Door(self.vault.objects)

    # ── the seal

    def seal(self) -> None:
        self.vault.put_once(self.seal_key, self.seal_text(self.stored).encode())

    def seal_text(self, manifest: bytes) -> str:
        if self.vault.encrypted:
            return hidden.seal_text(self, manifest)
        return f"{hashlib.sha256(manifest).hexdigest()}  manifest.json\n"

    def is_sealed(self) -> bool:
        return self.store.stat(self.seal_key) is not None

    def seal_holds(self) -> bool:
        """False where the manifest is another one than that which was sealed. One without a seal is not broken: its
        writer was stopped right before."""
        try:
            line = read_all(self.store, self.seal_key, SMALL)
        except NotFound:
            return True
        return line.split()[:1] == [self.link.sha256.encode()]

    def seals_hold(self) -> bool:
        """The seal speaks for the manifest, and in an encrypted vault for the outline as well."""
        return self.seal_holds() and hidden.outline_is_sealed(self)

    # ── proofs; see `proving`

    def remember(self, proof: Proof) -> None:
        proving.remember(self, proof)

    def proofs(self) -> tuple[Proof, ...]:
        return proving.look(self)[0]

    def let_go(self) -> None:
        """Drop the large values. The small ones (link, scope) stay."""
        for name in _LARGE:
            self.__dict__.pop(name, None)


@dataclass
class Handles:
    """The handles of one look at many backups: each manifest is fetched and parsed once."""

    _held: OrderedDict[tuple[str, str], Backup] = field(default_factory=OrderedDict)
    _lock: Lock = field(default_factory=Lock)

    def get(self, vault: Vault, system: str, identifier: str) -> Backup:
        with self._lock:
            key = system, identifier
            found = self._held.setdefault(key, Backup(vault, system, identifier))
            self._held.move_to_end(key)
            for old in islice(reversed(self._held.values()), _KEPT, _KEPT + 1):
                old.let_go()
            return found
