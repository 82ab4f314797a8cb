"""Keys as the configuration gives them: what opens the vault, and where a host remembers what it cannot open."""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.config import Settings
from backup_pipeline.stores.base import Store
from backup_pipeline.vault.crypto import Keys
from backup_pipeline.vault.known import folder_name
from backup_pipeline.vault.vault import Vault


def keys_of(settings: Settings) -> Keys | None:
    """None where nothing is to be encrypted. The identity is looked up when it is needed."""
    chosen = settings.encryption
    return Keys(chosen.recipients, chosen.identity) if chosen else None


def known_folder(settings: Settings, address: str) -> Path:
    """What this host remembers of the encrypted vault at this address."""
    return settings.state_folder / "known" / folder_name(address)


def vault_in(settings: Settings, store: Store) -> Vault:
    """The vault in this store, with the keys of the configuration: the same for the vault and for its copies."""
    keys = keys_of(settings)
    return Vault(store, keys, known_folder(settings, store.address) if keys else None)
