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
from backup_pipeline.stores.base import SMALL, read_all
from backup_pipeline.vault import belonging, crypto, layout, recover
from backup_pipeline.vault.known import Known
from backup_pipeline.vault.objects import AGE

if TYPE_CHECKING:
    from backup_pipeline.vault.backup import Backup
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


def read_outline(backup: Backup) -> Outline:
    key = layout.outline_key(backup.system, backup.id)
    try:
        outline = canonical.decode(Outline, read_all(backup.store, key), what=key)
    except NotFound:
        _ = backup.stored  # says so where there is no such backup
        raise Damaged(f"{key} is missing", remedy=HEAL_MANIFEST) from None
    if (outline.system, outline.id) != (backup.system, backup.id):
        raise Damaged(f"{key} is that of {outline.system}/{outline.id}", remedy=HEAL_MANIFEST)
    belonging.sound(key, (outline.started_at, outline.snapshot_at, outline.finished_at), outline.objects)
    return outline


def open_manifest(backup: Backup, stored: bytes) -> bytes:
    assert backup.vault.keys is not None
    if backup.vault.keys.can_open:
        try:
            return crypto.decrypt(backup.vault.keys, stored)
        except (Damaged, KeyMissing) as error:
            # A damaged header looks like the wrong key.
            if isinstance(error, KeyMissing) and backup.seal_holds():
                digest = hashlib.sha256(stored).hexdigest()
                if (kept := _remembered(backup, digest)) is not None:
                    return kept  # the keys were changed, and it is for the old one
                raise
            raise Damaged(
                f"the manifest of {backup} does not open: {error.message}", remedy=HEAL_MANIFEST
            ) from error
    remembered = _remembered(backup, hashlib.sha256(stored).hexdigest())
    if remembered is None:
        backup.vault.keys.secret()
        raise KeyMissing(f"the manifest of {backup} cannot be opened here")
    return remembered


def _remembered(backup: Backup, digest: str) -> bytes | None:
    """Compared with the digest in the outline: what was altered here is thrown away."""
    data = backup.vault.known.get(digest) if backup.vault.known else None
    if data is None or backup.vault.known is None:
        return None
    outline = backup.outline
    if (outline.manifest_sha256, outline.content_sha256) == (digest, hashlib.sha256(data).hexdigest()):
        return data
    backup.vault.known.drop(digest)
    return None


def sealed_names(backup: Backup) -> dict[str, str]:
    """Name → key of what an encrypted backup's seal speaks for, the manifest first."""
    recover_key = layout.recover_key(backup.system, backup.id)
    return {
        "manifest.json.age": backup.manifest_key,
        "outline.json": layout.outline_key(backup.system, backup.id),
        "RECOVER.md": recover_key,
        "RECOVER.md.age": recover_key + AGE,
    }


def seal_text(backup: Backup, manifest: bytes) -> str:
    lines = [f"{hashlib.sha256(manifest).hexdigest()}  manifest.json.age\n"]
    for name, key in list(sealed_names(backup).items())[1:]:
        try:
            lines.append(f"{hashlib.sha256(read_all(backup.store, key)).hexdigest()}  {name}\n")
        except NotFound:
            continue  # `verify` names it; a backup is no worse for being sealed without it
    return "".join(lines)


def outline_is_sealed(backup: Backup) -> bool:
    """False where the outline is not the one that the seal speaks for: without a key it alone names the objects of
    a backup. One flipped digit in it would leave a needed object without a name. Where the seal says nothing
    (a plain vault has no outline; a writer was stopped before it sealed), there is nothing to compare."""
    try:
        seal = read_all(backup.store, backup.seal_key, SMALL).decode("ascii", "replace")
        for line in seal.splitlines():
            digest, _, name = line.partition("  ")
            if name == "outline.json":
                held = read_all(backup.store, layout.outline_key(backup.system, backup.id))
                return hashlib.sha256(held).hexdigest() == digest
    except NotFound:
        return True  # of the outline: reading it says so; of the seal: see above
    return True


def tidy(vault: Vault, known: Known, count: int) -> None:
    """Keep what the newest backups of each system name, what was found in them, what a person accepted, and the newest
    restores."""
    if not known.has_old():
        return
    names: set[str] = set()
    for system in vault.systems():
        names.update(_private(vault, layout.acks_key(system)))
        for restore in sorted(vault.store.folders(layout.restores_prefix(system)))[-count:]:
            names.update(_private(vault, layout.restore_prefix(system, restore)))
        for identifier in vault.ids(system)[-count:]:
            names.update(_private(vault, layout.proofs_prefix(system, identifier)))
            try:
                outline = read_outline(vault.backup(system, identifier))
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
