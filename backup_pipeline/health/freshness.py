"""Is the newest backup new enough, and was one proven lately? Pure: what is there, and the time, go in."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from croniter import croniter

from backup_pipeline.config import SystemSettings
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp

DAY = 86400.0
#: Two machines' clocks may differ by so much.
AHEAD = 300.0


def deadline(settings: SystemSettings, zone: str, now: datetime) -> float | None:
    """How old, in seconds, the newest backup may be: what is set, else two of the schedule's intervals."""
    if settings.fresh_within is not None:
        return float(settings.fresh_within)
    if settings.schedule is None:
        return None
    return 2 * longest_interval(settings.schedule, zone, now)


def next_tick(schedule: str, zone: str, now: datetime) -> datetime:
    """When a schedule next comes round, in UTC."""
    tick: datetime = croniter(schedule, now.astimezone(ZoneInfo(zone))).get_next(datetime)
    return tick.astimezone(UTC)


def longest_interval(schedule: str, zone: str, now: datetime) -> float:
    """The longest of the next few gaps: "0 2 * * 1-5" has a weekend in it."""
    ticks = croniter(schedule, now.astimezone(ZoneInfo(zone)))
    times: list[datetime] = [ticks.get_next(datetime) for _ in range(9)]
    return max((b - a).total_seconds() for a, b in pairwise(times))


def judge(
    system: str, settings: SystemSettings, zone: str, latest_at: datetime | None, now: datetime
) -> Iterator[Finding]:
    limit = deadline(settings, zone, now)
    if latest_at is None:
        yield Finding.of("no-backup", system=system)
    elif (latest_at - now).total_seconds() > AHEAD:
        yield Finding.of("from-the-future/clock", latest_at=latest_at, now=now)
    elif limit is not None and (now - latest_at).total_seconds() > limit:
        yield Finding.of("not-fresh", age=_age(now - latest_at), wanted=_age(timedelta(seconds=limit)))


def proof(system: str, settings: SystemSettings, proven_at: str | None, now: datetime) -> tuple[Finding, ...]:
    schedule = "" if settings.drill_schedule else ", and set `drill_schedule:`"
    if proven_at is None:
        return (Finding.of("never-proven", system=system, schedule=schedule),)
    age = now.astimezone(UTC) - parse_timestamp(proven_at)
    if age.total_seconds() <= settings.proven_within:
        return ()
    return (Finding.of("proof-too-old", age=_age(age), system=system, schedule=schedule),)


def _age(delta: timedelta) -> str:
    minutes = delta.total_seconds() / 60
    if minutes < 120:
        return f"{minutes:.0f} minutes"
    return f"{minutes / 1440:.1f} days" if minutes >= 2880 else f"{minutes / 60:.0f} hours"
