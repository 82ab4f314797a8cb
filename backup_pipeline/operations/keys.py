"""Keys as the configuration gives them: what opens the vault, and where a host remembers what it cannot open."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backup_pipeline.config import Settings
from backup_pipeline.model.findings import Finding
from backup_pipeline.state import paths
from backup_pipeline.stores.base import Store
from backup_pipeline.vault.crypto import Keys
from backup_pipeline.vault.remembered import Remembered
from backup_pipeline.vault.signing import Signing
from backup_pipeline.vault.vault import Vault

if TYPE_CHECKING:
    from backup_pipeline.operations import Site


def keys_of(settings: Settings) -> Keys | None:
    """None where nothing is to be encrypted. The identity is looked up when it is needed."""
    chosen = settings.encryption
    return Keys(chosen.recipients, chosen.identity) if chosen else None


def vault_in(settings: Settings, store: Store) -> Vault:
    """The vault in this store, with the keys of the configuration: the same for the vault and for its copies."""
    keys = keys_of(settings)
    state, address = settings.state_folder, store.address
    known = paths.known(state, address) if keys or settings.signing else None
    wrote = Remembered(paths.newest(state, address), paths.place(state, address))
    signing = Signing(settings.signers, settings.signing, settings.signed_since)
    zones = {name: settings.zone_of(name) for name in ("", *settings.systems)}
    return Vault(store, keys, known, wrote, signing, zones=zones)


def findings(site: Site) -> tuple[Finding, ...]:
    """What `doctor` says of the keys."""
    from backup_pipeline.health.keys import inspect_keys, inspect_signing

    chosen = site.settings.encryption
    files = chosen.identity.files if chosen and chosen.identity else ()
    return (*inspect_keys(site.vault, files), *inspect_signing(site.vault))
