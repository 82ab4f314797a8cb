"""What lies beside the manifest of an encrypted vault, and how the manifest is opened or remembered.

    RECOVER.md.age     the commands for this very backup
    RECOVER.md         how to open the one above; it names nothing of what is in the backup
    outline.json       ids, times, sizes, names of objects: what `list`, `copy` and `prune` need
    manifest.json.age  the commit point
    manifest.json.age.sha256   the seal: the digests of all four

A host that has only public keys finds its own manifests in what it remembers (`known`), compared with the digest in the
outline.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, KeyMissing, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import HEAL_MANIFEST
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.outline import Outline, outline_of
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import belonging, crypto, layout, recover
from backup_pipeline.vault.known import Known
from backup_pipeline.vault.objects import AGE

if TYPE_CHECKING:
    from backup_pipeline.vault.vault import Vault


def put_before_manifest(vault: Vault, manifest: Manifest, data: bytes, text: str) -> tuple[bytes, str]:
    """Everything that has to be there before the manifest; returns the manifest as it will lie in the store, and its seal."""
    assert vault.keys is not None
    stored = crypto.encrypt(vault.keys, data)
    digest, content = hashlib.sha256(stored).hexdigest(), hashlib.sha256(data).hexdigest()
    beside = {
        "outline.json": canonical.encode(outline_of(manifest, digest, content, vault.keys.fingerprint)),
        "RECOVER.md": recover.hidden_text(manifest.system, manifest.id).encode(),
        "RECOVER.md.age": crypto.encrypt(vault.keys, text.encode()),
    }
    for name in reversed(beside):
        vault.store.put(
            layout.backup_prefix(manifest.system, manifest.id) + name, beside[name], overwrite=True
        )
    if vault.known is not None:
        vault.known.keep(digest, data)
    lines = [f"{hashlib.sha256(held).hexdigest()}  {name}\n" for name, held in beside.items()]
    return stored, f"{digest}  manifest.json.age\n" + "".join(lines)


def read_outline(vault: Vault, system: str, identifier: str) -> Outline:
    key = layout.outline_key(system, identifier)
    try:
        outline = canonical.decode(Outline, read_all(vault.store, key), what=key)
    except NotFound:
        vault.stored_manifest(system, identifier)  # says so where there is no such backup
        raise Damaged(f"{key} is missing", remedy=HEAL_MANIFEST) from None
    if (outline.system, outline.id) != (system, identifier):
        raise Damaged(f"{key} is that of {outline.system}/{outline.id}", remedy=HEAL_MANIFEST)
    belonging.sound(key, (outline.started_at, outline.snapshot_at, outline.finished_at), outline.objects)
    return outline


def open_manifest(vault: Vault, system: str, identifier: str, stored: bytes) -> bytes:
    assert vault.keys is not None
    if vault.keys.can_open:
        try:
            return crypto.decrypt(vault.keys, stored)
        except (Damaged, KeyMissing) as error:
            # A damaged header looks like the wrong key.
            if isinstance(error, KeyMissing) and vault.seal_holds(system, identifier):
                digest = hashlib.sha256(stored).hexdigest()
                if (kept := _remembered(vault, system, identifier, digest)) is not None:
                    return kept  # the keys were changed, and it is for the old one
                raise
            raise Damaged(
                f"the manifest of {system} {identifier} does not open: {error.message}", remedy=HEAL_MANIFEST
            ) from error
    remembered = _remembered(vault, system, identifier, hashlib.sha256(stored).hexdigest())
    if remembered is None:
        vault.keys.secret()
        raise KeyMissing(f"the manifest of {system} {identifier} cannot be opened here")
    return remembered


def _remembered(vault: Vault, system: str, identifier: str, digest: str) -> bytes | None:
    """Compared with the digest in the outline: what was altered here is thrown away."""
    data = vault.known.get(digest) if vault.known else None
    if data is None or vault.known is None:
        return None
    outline = read_outline(vault, system, identifier)
    if (outline.manifest_sha256, outline.content_sha256) == (digest, hashlib.sha256(data).hexdigest()):
        return data
    vault.known.drop(digest)
    return None


def sealed_names(vault: Vault, system: str, identifier: str) -> dict[str, str]:
    """Name → key of what an encrypted backup's seal speaks for, the manifest first."""
    recover_key = layout.recover_key(system, identifier)
    return {
        "manifest.json.age": vault.manifest_key(system, identifier),
        "outline.json": layout.outline_key(system, identifier),
        "RECOVER.md": recover_key,
        "RECOVER.md.age": recover_key + AGE,
    }


def seal_text(vault: Vault, system: str, identifier: str, manifest: bytes) -> str:
    lines = [f"{hashlib.sha256(manifest).hexdigest()}  manifest.json.age\n"]
    for name, key in list(sealed_names(vault, system, identifier).items())[1:]:
        try:
            lines.append(f"{hashlib.sha256(read_all(vault.store, key)).hexdigest()}  {name}\n")
        except NotFound:
            continue  # `verify` names it; a backup is no worse for being sealed without it
    return "".join(lines)


def tidy(vault: Vault, known: Known, count: int) -> None:
    """Keep what the newest backups of each system name, what was found in them, and what a person accepted."""
    if not known.has_old():
        return
    names: set[str] = set()
    for system in vault.systems():
        names.update(_private(vault, layout.acks_key(system)))
        for identifier in vault.ids(system)[-count:]:
            names.update(_private(vault, layout.proofs_prefix(system, identifier)))
            try:
                outline = read_outline(vault, system, identifier)
            except (Damaged, NotFound):
                continue
            names.add(outline.manifest_sha256)
            names.update(one.sha256 for one in outline.objects)
    known.drop_all_but(names)


def _private(vault: Vault, prefix: str) -> Iterator[str]:
    """Digests of the files below `prefix` that this host wrote and cannot read back."""
    for stat in vault.store.list(prefix):
        if stat.key.endswith(AGE):
            with suppress(NotFound):  # a prune beside us was faster
                yield hashlib.sha256(read_all(vault.store, stat.key)).hexdigest()
