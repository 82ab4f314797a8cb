"""Which backup is meant: `latest`, `latest~2`, an id or its beginning, a day, or the newest before a moment.

What a person writes says "the last good one", so all of these but an id mean full backups: a partial one has to be named.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING

from backup_pipeline.errors import ConfigError, NoBackup
from backup_pipeline.model.ids import is_backup_id, moment_of
from backup_pipeline.vault.backup import no_such

if TYPE_CHECKING:
    from backup_pipeline.vault.vault import Vault

_LATEST = re.compile(r"latest(?:~(\d{1,6}))?")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SHOWN = 10


def choose(vault: Vault, system: str, said: str | None) -> str:
    latest = _LATEST.fullmatch(said or "latest")
    if latest is not None:
        return _back(vault, system, int(latest[1] or 0))
    assert said is not None
    if is_backup_id(said):
        _ = vault.backup(system, said).stored  # raises where there is none
        return said
    found = [one for one in vault.ids(system) if one.startswith(said)]
    if len(found) > 1 and _DAY.fullmatch(said):
        found = [one for one in found if vault.backup(system, one).scope == "full"][-1:] or found
    if not found:
        raise no_such(vault, system, said)
    if len(found) > 1:
        shown = ", ".join(found[:_SHOWN]) + (
            f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        )
        raise ConfigError(
            f"{said} is the beginning of {len(found)} backups of {system}: {shown}",
            remedy="write more of the one that is meant; a whole day, as in 2026-11-20, means its newest full one",
        )
    return found[0]


def newest_before(vault: Vault, system: str, moment: datetime) -> str:
    for one in _full(vault, system):
        if moment_of(one) < moment:
            return one
    raise NoBackup(
        f"there is no full backup of {system} from before {moment.isoformat(sep=' ')} in {vault.store.address}",
        remedy=f"`backup-pipeline list {system}` shows those that there are",
    )


def _full(vault: Vault, system: str) -> Iterator[str]:
    """The newest first."""
    return (one for one in reversed(vault.ids_until_now(system)) if vault.backup(system, one).scope == "full")


def _back(vault: Vault, system: str, steps: int) -> str:
    found = list(islice(_full(vault, system), steps + 1))
    if not found:
        raise NoBackup(
            f"there is no full backup of {system} in {vault.store.address}",
            remedy=f"`backup-pipeline backup {system}` makes one",
        )
    if len(found) <= steps:
        raise NoBackup(
            f"there is no latest~{steps} of {system} in {vault.store.address}: it holds {len(found)} full backups",
            remedy=f"`backup-pipeline list {system}` shows them; the oldest is latest~{len(found) - 1}",
        )
    return found[-1]
