"""Pruning by hand, for tests: a fixed time, the rules of one system, and what lies in the vault."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.model.orders import PruneOrder
from backup_pipeline.retention.prune import Conditions, PruneReport, Rules, prune
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ONE = {"shop": Rules(RetentionSettings(last=1))}
TWO = {"shop": Rules(RetentionSettings(last=2))}


def pruned(
    vault: Vault, rules: dict[str, Rules] = ONE, *, hours: float = 0, grace: float = 24, **more: object
) -> PruneReport:
    terms = Conditions(rules, timedelta(hours=grace), NOW + timedelta(hours=hours))
    return prune(vault, terms, PruneOrder(**more))  # type: ignore[arg-type]


def objects(vault: Vault) -> set[str]:
    return {stat.key.rpartition("/")[2] for stat in vault.store.list(layout.OBJECTS)}


def named(vault: Vault) -> set[str]:
    return {
        one.sha256 + one.suffix
        for system in vault.systems()
        for name in vault.ids(system)
        for one in vault.backup(system, name).manifest.objects()
    }
