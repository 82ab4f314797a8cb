"""Healing what lies in the folder of one backup: the manifest, its seal, RECOVER.md and the outline.

Which manifest is the right one is shown by what names its digest: its own seal, the seals of the other places, and the
next manifest of the history in any of them. Where these disagree, none is believed.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from backup_pipeline.copies import folders, history, transfer
from backup_pipeline.copies.folders import Folder, SystemFolder
from backup_pipeline.copies.transfer import Unreadable
from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Link
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault

#: Mutable, and of one place: never compared, never healed.
_OWN = frozenset({"pin.json"})


@dataclass(frozen=True, slots=True)
class Change:
    key: str
    why: str
    source: str


@dataclass
class Healer:
    vault: Vault
    system: str
    others: tuple[tuple[str, Vault, SystemFolder], ...]
    dry_run: bool
    findings: list[Finding] = field(default_factory=list)
    #: Backups of which two places have another manifest, each as well sealed as the other.
    disagree: set[str] = field(default_factory=set)

    def backup(self, here: SystemFolder, identifier: str, every: Sequence[str]) -> Iterator[Change]:
        folder = here.folder(identifier)
        right = self._right(folder, identifier, every)
        if right is None:
            self._unhealed(folder, identifier)
            return
        digest, name, manifest, source = right
        if source:
            self._write(identifier, name, manifest)
            why = "it was missing" if folder.manifest is None else "it was not the one that was sealed"
            yield Change(self._key(identifier, name), why, source)
        seal = self._right_seal(folder, identifier, name, digest)
        held = _read(self.vault, self._key(identifier, f"{name}.sha256"))
        if held != seal:
            self._write(identifier, f"{name}.sha256", seal)
            why = "it was missing" if held is None else "it was not the one that was written"
            yield Change(self._key(identifier, f"{name}.sha256"), why, "the manifest")
        yield from self._files(identifier, digest, folders.known_digests(manifest, seal))
        if not self.dry_run:
            history.set_newest(self.vault, self.system, Link(identifier, digest))

    # ── the manifest

    def _right(
        self, folder: Folder, identifier: str, every: Sequence[str]
    ) -> tuple[str, str, bytes, str] | None:
        """(digest, name, bytes, where from: "" for here) of the manifest that can be shown to be right."""
        candidates: dict[str, tuple[str, bytes, str]] = {}
        for source, vault, held in self._places(folder, identifier):
            if held.manifest is not None:
                data = _read(vault, self._key(identifier, held.manifest))
                if data is not None:
                    candidates.setdefault(hashlib.sha256(data).hexdigest(), (held.manifest, data, source))
        votes = Counter(self._witnesses(folder, identifier, every))
        spoken = [(votes[digest], digest) for digest in candidates if votes[digest]]
        if not spoken:
            # No digest is known: an unsealed manifest is as its writer left it.
            own = next((digest for digest, found in candidates.items() if not found[2]), None)
            return (own, *candidates[own]) if own is not None and not votes else None
        spoken.sort(reverse=True)
        if len(spoken) > 1 and spoken[0][0] == spoken[1][0]:
            self.disagree.add(identifier)
            return None
        digest = spoken[0][1]
        return (digest, *candidates[digest])

    def _places(self, folder: Folder, identifier: str) -> Iterator[tuple[str, Vault, Folder]]:
        """Here first, so that what is right here is never fetched from elsewhere."""
        yield "", self.vault, folder
        for name, vault, there in self.others:
            yield name, vault, there.folder(identifier)

    def _witnesses(self, folder: Folder, identifier: str, every: Sequence[str]) -> Iterator[str]:
        """Digests of the manifest of a backup, as others tell them. The history counts more than a seal: the
        editor of a manifest can make a new seal."""
        for _, vault, held in self._places(folder, identifier):
            if held.seal is not None:
                named = folders.sealed(_read(vault, self._key(identifier, held.seal)) or b"")
                yield from (digest for name, digest in named.items() if folders.is_manifest(name))
        above = next((other for other in every if other > identifier), None)
        links = set()
        for _, vault, there in (("", self.vault, None), *self.others):
            if above is not None and (there is None or there.folder(above).is_backup):
                link = self._previous(vault, above)
                if link is not None and link.id == identifier:
                    links.add(link.sha256)
        for digest in links:
            yield from (digest,) * (len(self.others) + 2)

    def _previous(self, vault: Vault, identifier: str) -> Link | None:
        try:
            return vault.backup(self.system, identifier).outline.previous
        except (NotFound, Damaged):
            return None

    def _unhealed(self, folder: Folder, identifier: str) -> None:
        if identifier in self.disagree:
            self.findings.append(Finding.of("places-disagree", identifier=identifier))
            return
        what = "is gone" if folder.manifest is None else "is not the one that was sealed"
        self.findings.append(
            Finding.of("not-healed/manifest", identifier=identifier, state=what, system=self.system)
        )

    # ── what lies beside it

    def _right_seal(self, folder: Folder, identifier: str, name: str, digest: str) -> bytes:
        """The first, here or elsewhere, that names the right manifest and fits all that lies beside it in its own place; else one
        that names the manifest alone, as if its writer had been stopped and sealed it later."""
        own: bytes | None = None
        for source, vault, held in self._places(folder, identifier):
            seal = _read(vault, self._key(identifier, held.seal)) if held.seal else None
            named = folders.sealed(seal or b"")
            if seal is None or seal != _written(named) or named.get(name) != digest:
                continue
            files = {one: _read(vault, self._key(identifier, one)) for one in named if one != name}
            if all(data is not None and folders.fits(one, data, named) for one, data in files.items()):
                return seal
            own = seal if not source else own
        return own or _written({name: digest})

    def _files(self, identifier: str, digest: str, digests: Mapping[str, str]) -> Iterator[Change]:
        """What is missing, and what is not the file that was written, as far as anything says which that was."""
        wanted = dict.fromkeys((*digests, "RECOVER.md"))
        same = [
            (name, vault, there.folder(identifier))
            for name, vault, there in self.others
            if _digest(vault, self.system, there.folder(identifier)) == digest
        ]
        for _, _, there in same:
            wanted.update((name, None) for name in there.before_the_manifest() if name not in _OWN)
        for name in wanted:
            held = _read(self.vault, self._key(identifier, name))
            if held is not None and self._fits(identifier, name, held, digests):
                continue
            why = "it was missing" if held is None else "it was not the one that was written"
            for source, vault, there in same:
                data = _read(vault, self._key(identifier, name)) if name in there.files else None
                if data is not None and self._fits(identifier, name, data, digests):
                    self._write(identifier, name, data)
                    yield Change(self._key(identifier, name), why, source)
                    break
            else:
                self.findings.append(Finding.of("not-healed/file", name=name, identifier=identifier, why=why))

    def _fits(self, identifier: str, name: str, data: bytes, digests: Mapping[str, str]) -> bool:
        """A signature is the right one where a signer made it for the seal that is there now."""
        if name == layout.SEAL_SIGNATURE and self.vault.signing.signers:
            seal = _read(self.vault, self.vault.backup(self.system, identifier).seal_key)
            return seal is not None and self.vault.signing.accepts(seal, data)
        return folders.fits(name, data, digests)

    def _key(self, identifier: str, name: str) -> str:
        return layout.backup_prefix(self.system, identifier) + name

    def _write(self, identifier: str, name: str, data: bytes) -> None:
        """And read back: what was healed is known to be healed."""
        if self.dry_run:
            return
        key = self._key(identifier, name)
        self.vault.store.put(key, data, overwrite=True)
        if _read(self.vault, key) != data:
            raise Damaged(
                f"{key} was written anew and did not read back right",
                remedy="the store itself does not keep what it is given: look at the disk, and do not rely on this place",
            )


def _read(vault: Vault, key: str) -> bytes | None:
    try:
        return b"".join(transfer.blocks(vault.store, key))
    except Unreadable:
        return None


def _digest(vault: Vault, system: str, folder: Folder) -> str | None:
    if folder.manifest is None:
        return None
    data = _read(vault, layout.backup_prefix(system, folder.id) + folder.manifest)
    return None if data is None else hashlib.sha256(data).hexdigest()


def _written(named: Mapping[str, str]) -> bytes:
    """As `sha256sum` prints it."""
    return "".join(f"{digest}  {name}\n" for name, digest in named.items()).encode()
