"""What can be said of an encrypted backup from what lies in the open beside it: its seal, its outline, its proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields

from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import ObjectRef, Proof
from backup_pipeline.model.outline import Outline
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import hidden, layout
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.vault import Vault

NOT_OPENED = Finding.of("not-opened")


def judge_seal(backup: Backup, text: bytes, digest: str) -> Iterator[Finding]:
    """Every file beside the manifest against the digest in the seal."""
    lines = [line.partition(b"  ") for line in text.splitlines(keepends=True)]
    said = {name.decode("ascii", "replace"): value.decode("ascii", "replace") for value, _, name in lines}
    for name, key in hidden.sealed_names(backup).items():
        try:
            found = digest if name == "manifest.json.age" else _digest(backup.vault, key)
        except NotFound:
            yield _missing(name)
            continue
        if said.pop(f"{name}\n", "") != found:
            yield _altered(name)
    if said:
        yield Finding.of("seal-broken/names")


def _missing(name: str) -> Finding:
    if name == "outline.json":
        return Finding.of("outline-missing", name=name)
    return Finding.of("recover-missing/named", name=name)


def _altered(name: str) -> Finding:
    if name == "outline.json":
        return Finding.of("outline-altered/seal", name=name)
    if name.startswith("RECOVER"):
        return Finding.of("recover-altered/seal", name=name)
    return Finding.of("seal-broken/file", name=name)


def _digest(vault: Vault, key: str) -> str:
    return hashlib.sha256(read_all(vault.store, key)).hexdigest()


def open_outline(backup: Backup, digest: str) -> tuple[Outline | None, tuple[Finding, ...]]:
    try:
        outline = backup.outline
    except Damaged as error:
        return None, (Finding.of("outline-unreadable", why=error.message),)
    if outline.manifest_sha256 != digest:
        return outline, (Finding.of("outline-altered"),)
    return outline, ()


def compare(outline: Outline, expected: Outline) -> Iterator[Finding]:
    """The outline against the manifest that it is the outline of."""
    names = [
        field.name
        for field in fields(Outline)
        if getattr(outline, field.name) != getattr(expected, field.name)
    ]
    if names:
        yield Finding.of("outline-altered/content", parts=", ".join(names))


def references(outline: Outline) -> Iterator[ObjectRef]:
    """The objects by their stored bytes: all that can be looked at without a key."""
    for one in outline.objects:
        yield ObjectRef(one.sha256, one.size, one.suffix, "", 0)


def judge_details(backup: Backup) -> Iterator[Finding]:
    """The encrypted part of each proof against the digest in its plain part."""
    keys = {stat.key for stat in backup.store.list(layout.proofs_prefix(backup.system, backup.id))}
    for key in sorted(keys):
        name = key.rpartition("/")[2]
        if key.endswith(".age"):
            if key.removesuffix(".age") not in keys:
                yield _unreadable(name, "the plain part of it is missing")
            continue
        try:
            proof = canonical.decode(Proof, read_all(backup.store, key), what=key)
        except (Damaged, NotFound):
            continue  # said of the proof itself
        if proof.details_sha256 and key + ".age" not in keys:
            yield _unreadable(name, "what it found is missing")
        elif proof.details_sha256 and proof.details_sha256 != _digest(backup.vault, key + ".age"):
            yield _unreadable(name, "what it found was altered")


def _unreadable(name: str, why: str) -> Finding:
    return Finding.of("proof-unreadable/verify", name=name, why=why)
