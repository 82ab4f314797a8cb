"""What was proven of a backup, as it lies beside it under `proofs/`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged
from backup_pipeline.model import canonical
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
    digest = vault.link(system, identifier).sha256
    keys = [stat.key for stat in vault.store.list(layout.proofs_prefix(system, identifier))]
    found = [_proof(vault, key, key + AGE in keys) for key in keys if not key.endswith(AGE)]
    return tuple(sorted((p for p in found if p.manifest_sha256 == digest), key=lambda proof: proof.at))


def _proof(vault: Vault, key: str, has_more: bool) -> Proof:
    told = canonical.decode(Proof, read_all(vault.store, key), what=key)
    parse_timestamp(told.at)
    data = private.get(vault, key) if has_more else None
    try:
        return told if data is None else canonical.decode(Proof, data, what=key + AGE)
    except Damaged:
        return told  # the plain part is what counts; the rest is for people
