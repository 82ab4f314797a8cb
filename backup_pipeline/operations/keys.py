"""Keys as the configuration gives them: what opens the vault, and where a host remembers what it cannot open."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from backup_pipeline.config import Settings
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import moment_of
from backup_pipeline.model.orders import RekeyOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.state import paths
from backup_pipeline.stores.base import Store
from backup_pipeline.vault.crypto import Keys
from backup_pipeline.vault.remembered import Remembered
from backup_pipeline.vault.signing import Signing
from backup_pipeline.vault.vault import Vault

if TYPE_CHECKING:
    from backup_pipeline.backups.rekey import RekeyReport, UnderOthers
    from backup_pipeline.operations import Site

__all__ = ["RekeyReport", "UnderOthers", "findings", "gone_by", "rekey", "vault_in"]


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
    return Vault(store, keys, known, wrote, signing)


def rekey(site: Site, order: RekeyOrder, listener: Listener = silent) -> RekeyReport:
    """Bring the newest backup under the recipients of today; see `backup_pipeline.backups.rekey`."""
    from backup_pipeline.backups import rekey as rekeying

    return rekeying.rekey(
        site.vault, order.system, dry_run=order.dry_run, listener=listener, clock=site.clock
    )


def gone_by(settings: Settings, system: str, identifier: str) -> datetime | None:
    """When retention has removed a backup at the latest, pins aside; None where nothing ever does."""
    rules = settings.retention_of(system)
    if rules is None:
        return None
    days = max(
        rules.min_age_days,
        rules.daily,
        7 * rules.weekly,
        31 * rules.monthly,
        366 * rules.yearly,
    )
    if rules.last and not days:
        return None  # by number: it depends on how many are made
    return moment_of(identifier) + timedelta(days=days + 1)


def findings(site: Site) -> tuple[Finding, ...]:
    """What `doctor` says of the keys."""
    from backup_pipeline.health.keys import inspect_keys, inspect_signing

    chosen = site.settings.encryption
    files = chosen.identity.files if chosen and chosen.identity else ()
    return (*inspect_keys(site.vault, files), *inspect_signing(site.vault))
