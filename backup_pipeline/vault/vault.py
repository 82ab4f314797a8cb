"""What a backup is, in a store: the order in which things are written, and how they are found again.

1. objects, in any order, by any number of processes
2. RECOVER.md, and seal.sig where this host signs
3. manifest.json — the commit point: before it there is no backup, after it there is one
4. manifest.json.sha256 — the seal: from now on a missing or edited manifest is noticed
5. newest.json, beside the backups of the system — from now on a missing folder is noticed, too

In an encrypted vault RECOVER.md and the manifest have `.age` behind their names. Two files come before the manifest: a
RECOVER.md that tells how to open the other one, and outline.json with the facts that need no key.

A process may be killed anywhere in this list. Before 3, the objects are kept for the next run and nothing is
listed. Between 3 and 4 the backup is whole; the next run of the system seals it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from importlib import resources
from pathlib import Path

from backup_pipeline.errors import (
    AlreadyExists,
    ConfigError,
    Damaged,
    NotAllowed,
    NotFound,
)
from backup_pipeline.model import canonical
from backup_pipeline.model.files import FileEntry, read_lines
from backup_pipeline.model.ids import (
    from_the_future,
    is_backup_id,
    is_system_name,
    now,
)
from backup_pipeline.model.manifest import FORMAT, FileTree, Link, Manifest, ObjectRef
from backup_pipeline.stores.base import SMALL, Store, read_all
from backup_pipeline.stores.opening import open_store
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline.vault import choosing, hidden, layout, records, signing
from backup_pipeline.vault.backup import Backup, Handles
from backup_pipeline.vault.crypto import Keys
from backup_pipeline.vault.known import Known
from backup_pipeline.vault.objects import Objects, ObjectWriter, read_blocks, read_bytes
from backup_pipeline.vault.presence import Presence
from backup_pipeline.vault.remembered import Remembered
from backup_pipeline.vault.signing import NO_SIGNING, Signing

#: Written after a manifest: where one of them is, there was one.
_TRACES = frozenset({"manifest.json.sha256", "manifest.json.age.sha256", "proofs"})
_MANIFESTS = frozenset({"manifest.json", "manifest.json.age"})
#: Of so many of the newest backups of each system a host remembers what it cannot read back.
_REMEMBER = 5


@dataclass(frozen=True, slots=True)
class VaultInfo:
    """`vault.json`."""

    product: str = ""
    format: int = 0
    #: "age", or nothing where everybody can read everything.
    encryption: str = ""


@dataclass(frozen=True)
class Vault:
    store: Store
    #: Given where everything in it is encrypted; None where nothing is.
    keys: Keys | None = None
    #: The folder in which this host remembers what it cannot read back from an encrypted vault.
    local: Path | None = None
    #: What this host wrote last; None where no host asks.
    remembered: Remembered | None = None
    signing: Signing = NO_SIGNING
    clock: Callable[[], datetime] = now
    #: System → the zone of the days and times that a person names; "" is every other system.
    zones: Mapping[str, str] = field(default_factory=dict, compare=False)
    #: The handles of one look at the vault. None: each handle is new and sees the backup as it is now.
    handles: Handles | None = field(default=None, compare=False, repr=False)

    # ── the vault itself

    @cached_property
    def encrypted(self) -> bool:
        """Raises ConfigError where the vault and the configuration disagree: one of them is not what its owner thinks."""
        try:
            data = read_all(self.store, layout.VAULT, SMALL)
            info = canonical.decode(VaultInfo, data, what=layout.VAULT)
        except (NotFound, Damaged):
            return self.keys is not None  # not made yet; or `verify` says what is wrong with it
        if self.keys is None or canonical.encode(info) == data:
            self._agree(info)  # one that is damaged says nothing; `verify` names it
        return self.keys is not None

    def _agree(self, info: VaultInfo) -> None:
        if info.encryption == self.info.encryption:
            return
        if info.encryption == "age":
            raise ConfigError(
                f"{self.store.address} is an encrypted vault, and the configuration has no `encryption:`",
                remedy="name the recipients under `encryption:` (and the identity, to read it); a vault that is not "
                "encrypted begins in an empty folder",
            )
        if self.keys is not None and not info.encryption:
            raise ConfigError(
                f"{self.store.address} is a vault that is not encrypted, and the configuration asks for encryption",
                remedy="name an empty or new folder as `vault:`; keep the old one, and a configuration without "
                "`encryption:` for it, until nothing in it is needed any more",
            )
        raise ConfigError(
            f"{self.store.address} is encrypted in a way that this version does not know ({info.encryption})",
            remedy="use a version of backup-pipeline that knows it",
        )

    @property
    def info(self) -> VaultInfo:
        """What `vault.json` should say."""
        return VaultInfo("backup_pipeline", FORMAT, "age" if self.keys else "")

    def need_identity(self) -> None:
        """Before work that has to read what is encrypted: raise at once what would be in its way."""
        if self.encrypted and self.keys is not None:
            self.keys.secret()

    def without_memory(self) -> Vault:
        """The same vault, read from its own bytes only: what is to be proven of it must not come from what this host
        remembers."""
        if self.keys is None:
            return self  # a host remembers nothing of a vault that it can read
        return replace(self, local=None, handles=None if self.handles is None else Handles())

    def one_look(self) -> Vault:
        """The same vault for one command or one tick: each manifest is read once. Work that writes manifests, or decides
        right before a deletion, takes a vault of its own."""
        return replace(self, handles=Handles())

    @property
    def can_open(self) -> bool:
        return not self.encrypted or (self.keys is not None and self.keys.can_open)

    @property
    def known(self) -> Known | None:
        return Known(self.local) if self.keys and self.local else None

    @cached_property
    def notes(self) -> Store:
        """Where drafts and journals lie: a host with public keys only could not read its own in the vault. A
        host that signs must not sign the notes of another one."""
        if not (self.encrypted or self.signing.key):
            return self.store
        if self.local is None:
            raise ConfigError(
                "who encrypts or signs needs a local folder for what it has to remember",
                remedy="name one as `state:`",
            )
        known = Known(self.local)
        known.prepare()
        return open_store(StoreOptions(url=str(known.notes), staging=known.notes))

    def prepare(self) -> None:
        """Make sure that this is a vault that we can write; an empty store becomes one."""
        self.signing.demand()
        try:
            info = canonical.decode(VaultInfo, read_all(self.store, layout.VAULT, SMALL), what=layout.VAULT)
        except NotFound:
            self._refuse_a_foreign_folder()
            info = self.info
            self.put_once(layout.VAULT, canonical.encode(info))
        if info.format != FORMAT:
            raise ConfigError(
                f"{self.store.address} holds a vault of format {info.format}; this version writes format {FORMAT}",
                remedy="use a version of backup-pipeline that knows that format, or another vault",
            )
        self._agree(info)
        text = resources.files("backup_pipeline.vault").joinpath("FORMAT.md").read_bytes()
        self.put_once(layout.FORMAT, text)

    def _refuse_a_foreign_folder(self) -> None:
        for stat in self.store.list():
            raise ConfigError(
                f"{self.store.address} is not a vault and not empty (it holds {stat.key})",
                remedy="name an empty or new folder as `vault:`",
            )

    def put_once(self, key: str, data: bytes) -> None:
        try:
            if self.store.stat(key) is None:
                self.store.put(key, data)
        except AlreadyExists:
            pass  # another process was faster with the same bytes

    @cached_property
    def writer(self) -> ObjectWriter:
        return ObjectWriter(self.store, keys=self.keys, known=self.known)

    @cached_property
    def presence(self) -> Presence:
        return Presence(self.store)

    # ── content

    @cached_property
    def objects(self) -> Objects:
        """What reads objects in worker processes too: the store, and what opens them."""
        return Objects(self.store, self.keys, self.known)

    def listing(self, tree: FileTree, what: str = "") -> Iterator[FileEntry]:
        """`what`: the name of the listing in a message."""
        return read_lines(read_blocks(self.objects, tree.listing), what=what or f"the listing of {tree.name}")

    def content(self, reference: ObjectRef) -> bytes:
        return read_bytes(self.objects, reference)

    # ── backups

    def backup(self, system: str, identifier: str) -> Backup:
        if self.handles is None:
            return Backup(self, system, identifier)
        return self.handles.get(self, system, identifier)

    def backup_of(self, manifest: Manifest) -> Backup:
        """The handle of a manifest that the caller has: it is not read again. A draft has none in the store yet."""
        found = Backup(self, manifest.system, manifest.id)
        found.__dict__["manifest"] = manifest
        return found

    def systems(self) -> tuple[str, ...]:
        """Systems that have a backup here, whether or not the configuration still names them."""
        names = (name for name in self.store.folders() if is_system_name(name))
        return tuple(sorted(name for name in names if self.ids(name)))

    def ids(self, system: str) -> tuple[str, ...]:
        """The backups of a system, oldest first. Only what has a manifest is a backup."""
        if not self.store.features.cheap_stat:
            held = self._held(system)
            return tuple(sorted(name for name, files in held.items() if files & _MANIFESTS))
        return tuple(
            sorted(
                name
                for name in self.store.folders(f"{system}/")
                if is_backup_id(name) and self.store.stat(self.backup(system, name).manifest_key) is not None
            )
        )

    def ids_until_now(self, system: str) -> tuple[str, ...]:
        """Without those of a time that has not come: one of them must not be followed, nor be taken for the newest."""
        now = self.clock()
        return tuple(one for one in self.ids(system) if not from_the_future(one, now))

    def interrupted(self, system: str) -> tuple[str, ...]:
        """Folders of runs that never wrote a manifest. One with a seal or a proof had a manifest once: it is not
        interrupted but damaged, and `verify` says so; unless it was forgotten on purpose."""
        had_one = _MANIFESTS | _TRACES
        return tuple(sorted(name for name, held in self._held(system).items() if not held & had_one))

    def without_manifest(self, system: str) -> tuple[str, ...]:
        """Folders of backups whose manifest is gone: a seal or a proof says that there was one. What prune has
        forgotten and not yet swept away is not among them."""
        found = [
            name for name, held in self._held(system).items() if not held & _MANIFESTS and held & _TRACES
        ]
        forgotten = set(records.forgotten_ids(self.store, system)) if found else set()
        return tuple(sorted(set(found) - forgotten))

    def _held(self, system: str) -> dict[str, set[str]]:
        """Backup id → what lies in its folder."""
        files: dict[str, set[str]] = {}
        for store in self._both:
            for stat in store.list(f"{system}/"):
                parts = stat.key.split("/")
                if len(parts) > 2 and is_backup_id(parts[1]):
                    files.setdefault(parts[1], set()).add(parts[2])
        return files

    @property
    def _both(self) -> tuple[Store, ...]:
        """The vault, and the notes of its writer where they lie elsewhere."""
        local = self.local is not None and (self.encrypted or self.signing.key)
        return (self.store, self.notes) if local else (self.store,)

    def zone_of(self, system: str) -> str:
        return self.zones.get(system) or self.zones.get("", "UTC")

    def resolve(self, system: str, identifier: str | None) -> str:
        """`latest` (or nothing) is the newest full backup; a partial one has to be named. See `choosing`."""
        return choosing.choose(self, system, identifier)

    def commit(self, manifest: Manifest, recover: str) -> None:
        """Make a backup of what lies in the vault: steps 2 to 4 at the top of this file."""
        data, backup = canonical.encode(manifest), Backup(self, manifest.system, manifest.id)
        if self.encrypted:
            data, seal = hidden.put_before_manifest(self, manifest, data, recover)
        else:
            self.store.put(layout.recover_key(manifest.system, manifest.id), recover.encode(), overwrite=True)
            seal = backup.seal_text(data)
        # Of what was written, and not of what lies in the store by now.
        signing.put(self, layout.signature_key(manifest.system, manifest.id), seal.encode())
        link = Link(manifest.id, hashlib.sha256(data).hexdigest())
        self.store.put(backup.manifest_key, data)
        backup.seal()
        records.set_newest(self.store, manifest.system, link)
        if self.remembered is not None:
            self.remembered.keep(manifest.system, link)

    def draft(self, system: str, token: str) -> Manifest:
        """An export that waits for its commit."""
        key = layout.draft_key(system, token)
        try:
            return canonical.decode(Manifest, read_all(self.notes, key), what=key)
        except NotFound:
            raise NotFound(
                f"there is no finished export of {system} to commit",
                remedy="run the export again (in the Dagster UI: re-execute from the tables, not from the manifest)",
            ) from None

    def waiting(self, system: str) -> frozenset[str]:
        """Exports whose drafts wait for their commit."""
        found = set()
        for stat in self.notes.list(layout.drafts_prefix(system)):
            with suppress(NotFound, Damaged):  # it waits no more, or is no draft
                found.add(canonical.decode(Manifest, read_all(self.notes, stat.key), what=stat.key).id)
        return frozenset(found)

    def forget_interrupted(self, system: str, *, before: str) -> None:
        """Remove the traces of runs that were killed. Their objects stay until nothing names them and `prune`
        comes by. A run whose draft still waits for its commit was not killed."""
        waiting = self.waiting(system)
        for identifier in self.interrupted(system):
            if identifier < before and identifier not in waiting:
                for store in self._both:
                    for stat in list(store.list(layout.backup_prefix(system, identifier))):
                        # Who backs up may be allowed to add only (`bucket setup`): then a RECOVER.md stays, which means
                        # nothing without its manifest, until `prune` comes by.
                        with suppress(NotAllowed):
                            store.delete(stat.key)

    def forget_known(self) -> None:
        """Let go of what this host remembers and no recent backup needs any more."""
        if self.encrypted and self.known is not None:
            hidden.tidy(self, self.known, _REMEMBER)
