"""Small files of a vault that tell what is in a backup: plain in a plain vault, encrypted in an encrypted one.

A host that has only public keys remembers what it wrote, and finds it again by the digest of the stored bytes.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, KeyMissing, NotFound
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import crypto
from backup_pipeline.vault.objects import AGE

if TYPE_CHECKING:
    from backup_pipeline.vault.vault import Vault


def put(vault: Vault, key: str, data: bytes) -> str:
    """Write over `key`; in an encrypted vault its name gets `.age`. Returns the digest of the stored bytes."""
    stored = closed(vault, data)
    vault.store.put(key + ending(vault), stored, overwrite=True)
    return hashlib.sha256(stored).hexdigest()


def get(vault: Vault, key: str) -> bytes | None:
    """None where there is none, and where neither a key nor the memory of this host opens it."""
    try:
        return opened(vault, read_all(vault.store, key + ending(vault)))
    except NotFound:
        return None


def ending(vault: Vault) -> str:
    return AGE if vault.encrypted else ""


def closed(vault: Vault, data: bytes) -> bytes:
    """As it will lie in the store."""
    if not vault.encrypted:
        return data
    assert vault.keys is not None
    stored = crypto.encrypt(vault.keys, data)
    if vault.known is not None:
        vault.known.keep(hashlib.sha256(stored).hexdigest(), data)
    return stored


def opened(vault: Vault, stored: bytes) -> bytes | None:
    """None where neither a key nor the memory of this host opens it."""
    if not vault.encrypted:
        return stored
    assert vault.keys is not None
    if vault.keys.can_open:
        try:
            return crypto.decrypt(vault.keys, stored)
        except (Damaged, KeyMissing):
            pass  # another identity than that of its time: this host may still remember it
    return vault.known.get(hashlib.sha256(stored).hexdigest()) if vault.known else None
