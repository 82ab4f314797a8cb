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
    from backup_pipeline.vault.vault import Vault


def remember(vault: Vault, system: str, identifier: str, proof: Proof) -> None:
    key = layout.proof_key(system, identifier, proof.kind, backup_id(parse_timestamp(proof.at)))
    if vault.encrypted:
        digest = private.put(vault, key, canonical.encode(proof))
        proof = replace(proof, findings=(), counted={}, details_sha256=digest)
    vault.store.put(key, canonical.encode(proof), overwrite=True)


def proofs(vault: Vault, system: str, identifier: str) -> tuple[Proof, ...]:
    """Oldest first. Proofs of another manifest do not count. Without the key, what was found is not known, only whether all
    was well."""
    return look(vault, system, identifier)[0]


def look(vault: Vault, system: str, identifier: str) -> tuple[tuple[Proof, ...], tuple[str, ...]]:
    """As above, and the keys of those that cannot be read: they prove nothing, and stand in the way of nothing."""
    digest = vault.link(system, identifier).sha256
    keys = [stat.key for stat in vault.store.list(layout.proofs_prefix(system, identifier))]
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
    return Finding(
        "warning",
        "proof-unreadable",
        f"the remembered proof {key} cannot be read, and counts for nothing",
        remedy="delete that file and run the drill or the verification again",
    )


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
