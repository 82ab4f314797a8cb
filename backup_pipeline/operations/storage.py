"""How large a vault is, how it grows, and when its disk is full."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from backup_pipeline.model.findings import Report
from backup_pipeline.operations import stores
from backup_pipeline.operations.site import Site
from backup_pipeline.retention.census import demand_a_vault
from backup_pipeline.vault import layout

if TYPE_CHECKING:
    pass


def has_a_vault(site: Site) -> bool:
    return site.vault.store.stat(layout.VAULT) is not None


def examine_storage(site: Site, copy: str | None = None) -> Report:
    """How large the vault (or a copy) is, how it grows, and when its disk is full."""
    from backup_pipeline.health.storage import judge, measure, remember

    began = time.monotonic()
    store = stores.open_place(site.settings, copy).store
    demand_a_vault(store)
    sample = measure(store, site.clock())
    samples = remember(site.settings.state_folder, store.address, sample)
    findings, counted = judge(samples, store.address)
    return Report(f"storage: {store.address}", findings, counted, time.monotonic() - began)
