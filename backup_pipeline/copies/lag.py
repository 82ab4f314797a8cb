"""How far a copy is behind: whether it holds every backup that the vault keeps, within its deadline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from backup_pipeline.copies import folders
from backup_pipeline.copies.history import kept_no_longer
from backup_pipeline.errors import VaultError
from backup_pipeline.model.ids import moment_of
from backup_pipeline.model.overview import CopyLag
from backup_pipeline.vault.vault import Vault


def measured_lag(
    vault: Vault, copy: Vault, system: str, *, name: str, within: float, now: datetime
) -> CopyLag:
    """By one listing of the system's folder in each place."""
    try:
        there = folders.look(copy.store, system)
        absent = [identifier for identifier in vault.ids(system) if identifier not in there.ids]
        missing = tuple(identifier for identifier in absent if not kept_no_longer(copy, there, identifier))
    except VaultError as error:
        return CopyLag(name, system, within, unreachable=error.message, remedy=error.remedy)
    return judged(name, system, there.ids, missing, within=within, now=now)


def judged(
    name: str, system: str, held: Sequence[str], missing: tuple[str, ...], *, within: float, now: datetime
) -> CopyLag:
    """Pure: what is there, what is not, and the time."""
    behind = max(0.0, (now - moment_of(missing[0])).total_seconds()) if missing else 0.0
    return CopyLag(name, system, within, len(held), held[-1] if held else None, missing, behind)
