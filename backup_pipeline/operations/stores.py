"""From what the configuration says to stores and vaults that can be used: the vault itself, and its copies."""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.config import Settings, StoreSettings
from backup_pipeline.operations.keys import vault_in
from backup_pipeline.state import paths
from backup_pipeline.stores.opening import open_store
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault

#: What the vault is called where a copy is called by its name.
VAULT = "vault"


def open_place(settings: Settings, name: str | None) -> Vault:
    """The vault, or a copy by its name: the one way in which a verb comes to the place that it was told."""
    return open_vault(settings) if name in (None, VAULT) else open_copy(settings, str(name))


def open_vault(settings: Settings) -> Vault:
    return _open(settings, settings.vault)


def open_copy(settings: Settings, name: str) -> Vault:
    return _open(settings, settings.copy_settings(name))


def open_for_a_look(settings: Settings, name: str) -> Vault:
    """A place that a waiting user asks about: one that does not answer is given up soon."""
    return _open(settings, settings.place(name), attempts=2)


def open_vault_for_pruning(settings: Settings, copy: str | None = None) -> Vault:
    """The vault, or a copy, with the credentials that may delete (`pruner:`); the ordinary ones where there are none."""
    store = settings.vault if copy is None else settings.copy_settings(copy)
    return vault_in(settings, open_store(store.for_pruning(options_of(settings, store))))


def options_of(settings: Settings, store: StoreSettings) -> StoreOptions:
    found = store.options(settings.base, paths.staging(settings.state_folder), layout.MUTABLE)
    if store.scheme == "s3" and not store.signs_in_itself and (defaults := settings.s3_defaults) is not None:
        found = store.with_defaults(found, defaults)
    return replace(found, archivable=layout.ARCHIVABLE, group=settings.group)


def _open(settings: Settings, store: StoreSettings, *, attempts: int | None = None) -> Vault:
    options = options_of(settings, store)
    if attempts is not None:
        options = replace(options, max_attempts=min(attempts, options.max_attempts))
    return vault_in(settings, open_store(options))
