"""What was proven of a backup, as it lies beside it under `proofs/`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import backup_id, parse_timestamp
from backup_pipeline.model.manifest import Proof
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import layout, private
from backup_pipeline.vault.objects import AGE

if TYPE_CHECKING:
    from backup_pipeline.vault.backup import Backup
    from backup_pipeline.vault.vault import Vault


def remember(backup: Backup, proof: Proof) -> None:
    vault = backup.vault
    key = layout.proof_key(backup.system, backup.id, proof.kind, backup_id(parse_timestamp(proof.at)))
    if vault.encrypted:
        digest = private.put(vault, key, canonical.encode(proof))
        proof = replace(proof, findings=(), counted={}, details_sha256=digest)
    vault.store.put(key, canonical.encode(proof), overwrite=True)


def look(backup: Backup) -> tuple[tuple[Proof, ...], tuple[str, ...]]:
    """The proofs, oldest first, and the keys of those that cannot be read. Proofs of another manifest do not count. Without
    the key a proof only says whether all was well."""
    vault = backup.vault
    digest = backup.link.sha256
    keys = [stat.key for stat in vault.store.list(layout.proofs_prefix(backup.system, backup.id))]
    found, bad = [], []
    for key in keys:
        if key.endswith(AGE):
            continue
        try:
            found.append(_proof(vault, key, key + AGE in keys))
        except Damaged:
            bad.append(key)
    ordered = sorted((p for p in found if p.manifest_sha256 == digest), key=lambda proof: proof.at)
    return tuple(ordered), tuple(bad)


def unreadable(key: str) -> Finding:
    return Finding.of("proof-unreadable", key=key)


def plain(vault: Vault, key: str) -> Proof:
    """What lies in the open of a proof."""
    told = canonical.decode(Proof, read_all(vault.store, key), what=key)
    parse_timestamp(told.at)
    return told


def _proof(vault: Vault, key: str, has_more: bool) -> Proof:
    told = plain(vault, key)
    try:
        data = private.get(vault, key) if has_more else None
        return told if data is None else canonical.decode(Proof, data, what=key + AGE)
    except Damaged:
        return told  # the plain part is what counts; the rest is for people
