"""What can be said of an encrypted backup from what lies in the open beside it: its seal, its outline, its proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import fields

from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import HEAL_MANIFEST, Finding
from backup_pipeline.model.manifest import ObjectRef, Proof
from backup_pipeline.model.outline import Outline
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import hidden, layout
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.vault import Vault

NOT_OPENED = Finding(
    "info",
    "not-opened",
    "what is encrypted was not opened: the stored bytes were compared with their names and seals, and no more",
    remedy="verify it where the identity is, now and then; drills do that as well",
)


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
        message = "the seal names something else than the files of a backup: it was altered"
        yield Finding("error", "seal-broken", message, remedy=HEAL_MANIFEST)


def _missing(name: str) -> Finding:
    if name == "outline.json":
        return Finding("error", "outline-missing", f"{name} is missing", remedy=HEAL_MANIFEST)
    return Finding("error", "recover-missing", f"{name} is missing", remedy=HEAL_MANIFEST)


def _altered(name: str) -> Finding:
    message = f"{name} is not the one that was sealed (or the seal was altered)"
    if name == "outline.json":
        return Finding("error", "outline-altered", message, remedy=HEAL_MANIFEST)
    if name.startswith("RECOVER"):
        return Finding("error", "recover-altered", message, remedy=HEAL_MANIFEST)
    return Finding("error", "seal-broken", message, remedy=HEAL_MANIFEST)


def _digest(vault: Vault, key: str) -> str:
    return hashlib.sha256(read_all(vault.store, key)).hexdigest()


def open_outline(backup: Backup, digest: str) -> tuple[Outline | None, tuple[Finding, ...]]:
    try:
        outline = backup.outline
    except Damaged as error:
        return None, (Finding("error", "outline-unreadable", error.message, remedy=HEAL_MANIFEST),)
    if outline.manifest_sha256 != digest:
        message = "outline.json is not that of the manifest beside it"
        return outline, (Finding("error", "outline-altered", message, remedy=HEAL_MANIFEST),)
    return outline, ()


def compare(outline: Outline, expected: Outline) -> Iterator[Finding]:
    """The outline against the manifest that it is the outline of."""
    names = [
        field.name
        for field in fields(Outline)
        if getattr(outline, field.name) != getattr(expected, field.name)
    ]
    if names:
        yield Finding(
            "error",
            "outline-altered",
            f"outline.json does not say what the manifest says: {', '.join(names)}",
            remedy=HEAL_MANIFEST,
        )


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
    return Finding(
        "warning",
        "proof-unreadable",
        f"the remembered proof {name} cannot be read: {why}",
        remedy="delete its files and run the drill or the verification again",
    )
