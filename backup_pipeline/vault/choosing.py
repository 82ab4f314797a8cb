"""Which backup is meant: `latest`, `latest~2`, an id or its beginning, a day, or `before` a time.

All of these but an id mean full backups: a partial one has to be named. A day and a time are of the zone of the system.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from backup_pipeline.errors import ConfigError, NoBackup, UsageError
from backup_pipeline.model.ids import is_backup_id, moment_of
from backup_pipeline.vault.backup import no_such

if TYPE_CHECKING:
    from backup_pipeline.vault.vault import Vault

_LATEST = re.compile(r"latest(?:~(\d{1,6}))?")
_BEFORE = re.compile(r"before\s+(.+)")
_SHOWN = 10


def choose(vault: Vault, system: str, said: str | None) -> str:
    latest = _LATEST.fullmatch(said or "latest")
    if latest is not None:
        return _back(vault, system, int(latest[1] or 0))
    assert said is not None
    if before := _BEFORE.fullmatch(said):
        return _newest_before(vault, system, before[1])
    if is_backup_id(said):
        _ = vault.backup(system, said).stored  # raises where there is none
        return said
    if (day := _day(said)) is not None:
        return _newest_of(vault, system, day)
    found = [one for one in vault.ids(system) if one.startswith(said)]
    if not found:
        raise no_such(vault, system, said)
    if len(found) > 1:
        raise ConfigError(
            f"{said} is the beginning of {len(found)} backups of {system}: {_some(found)}",
            remedy="write more of the one that is meant; a whole day, as in 2026-11-20, means its newest full one",
        )
    return found[0]


def _day(said: str) -> date | None:
    try:
        return date.fromisoformat(said) if re.fullmatch(r"\d{4}-\d{2}-\d{2}", said) else None
    except ValueError:
        return None  # the 45th of a month


def _newest_of(vault: Vault, system: str, day: date) -> str:
    zone = vault.zone_of(system)
    begin, end = (
        datetime.combine(one, time(), ZoneInfo(zone)).astimezone(UTC)
        for one in (day, day + timedelta(days=1))
    )
    there = vault.ids_until_now(system)
    of_day = [one for one in there if begin <= moment_of(one) < end]
    for one in _full(vault, system, reversed(of_day)):
        return one
    before = _full(vault, system, (one for one in reversed(there) if moment_of(one) < begin))
    after = _full(vault, system, (one for one in there if moment_of(one) >= end))
    near = " and ".join(
        f"{one} {side} it"
        for found, side in ((before, "before"), (after, "after"))
        for one in islice(found, 1)
    )
    partial = f"; partial ones are {_some(of_day)}" if of_day else ""
    raise NoBackup(
        f"there is no full backup of {system} of {day} ({zone}) in {vault.store.address}{partial}",
        remedy=f"the nearest full ones are {near}"
        if near
        else f"`backup-pipeline backup {system}` makes one",
    )


def _newest_before(vault: Vault, system: str, said: str) -> str:
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        raise UsageError(
            f"{said!r} is no time", remedy="write a day or a time: 2026-11-20, '2026-11-20 14:30'"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(vault.zone_of(system)))
    there = vault.ids_until_now(system)
    for one in _full(vault, system, (one for one in reversed(there) if moment_of(one) < moment)):
        return one
    first = next(_full(vault, system, there), None)
    raise NoBackup(
        f"there is no full backup of {system} from before {moment.isoformat(sep=' ')} in {vault.store.address}",
        remedy=f"the first one is {first}" if first else f"`backup-pipeline backup {system}` makes one",
    )


def _some(ids: list[str]) -> str:
    more = f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else ""
    return ", ".join(ids[:_SHOWN]) + more


def _full(vault: Vault, system: str, ids: Iterable[str]) -> Iterator[str]:
    return (one for one in ids if vault.backup(system, one).scope == "full")


def _back(vault: Vault, system: str, steps: int) -> str:
    found = list(islice(_full(vault, system, reversed(vault.ids_until_now(system))), steps + 1))
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
