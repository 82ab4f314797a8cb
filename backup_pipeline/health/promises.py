"""Will the promise of the configuration be kept tonight as well? Pure: the settings, what runs, and the time go in.

A backup of this morning says nothing of the next one. The next one is made where a schedule is set and a process runs it:
a Dagster daemon that gives a sign of life, or another one (cron) that made the scheduled backup when it was last due.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from croniter import croniter

from backup_pipeline.config import SystemSettings
from backup_pipeline.errors import ErrorsFound
from backup_pipeline.health.freshness import longest_interval
from backup_pipeline.model.acts import Act
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import moment_of, parse_timestamp
from backup_pipeline.model.overview import Runner, SystemStatus

#: A scheduled backup may begin so much after its time, or a quarter of the interval after it.
LATE = timedelta(hours=1)
#: The next night: without a schedule, what is promised must hold for so long.
TONIGHT = timedelta(days=1)


def last_due(schedule: str, zone: str, now: datetime) -> datetime:
    """When a scheduled backup should have begun at the latest, a delay that is no failure left aside."""
    late = min(LATE, timedelta(seconds=longest_interval(schedule, zone, now) / 4))
    tick: datetime = croniter(schedule, (now - late).astimezone(ZoneInfo(zone))).get_prev(datetime)
    return tick.astimezone(UTC)


def kept(found: SystemStatus, settings: SystemSettings, runner: Runner, now: datetime) -> Iterator[Finding]:
    system, zone = found.system, found.zone
    cron = f"cron (`backup-pipeline -q backup {system} --kind scheduled`)"
    if settings.schedule is None:
        yield from _without_schedule(found, settings, cron, now)
        return
    if f"backup_{system}_schedule" in runner.off:
        yield Finding.of("schedule-off", schedule=settings.schedule, system=system, cron=cron)
        return
    if runner.state == "runs":
        return
    due = last_due(settings.schedule, zone, now)
    if found.scheduled and moment_of(found.scheduled) >= due:
        return  # another process than a daemon runs it: it did when it was last due
    missed = f"and the vault has no scheduled backup since it was last due ({_local(due, zone)})"
    why = {
        "never": f"no Dagster daemon ever ran on this machine, {missed}",
        "stopped": f"the Dagster daemon of this machine was last seen {_local(runner.seen, zone)}, {missed}"
        if runner.seen
        else missed,
        "unknown": f"whether a Dagster daemon lives cannot be seen from here, {missed}",
    }[runner.state]
    yield Finding.of("schedule-not-run", schedule=settings.schedule, why=why, cron=cron)


def _without_schedule(
    found: SystemStatus, settings: SystemSettings, cron: str, now: datetime
) -> Iterator[Finding]:
    if settings.fresh_within is None:
        yield Finding.of("no-schedule", cron=cron)
    elif found.latest:
        ends = moment_of(found.latest.id) + timedelta(seconds=settings.fresh_within)
        if now <= ends < now + TONIGHT:
            yield Finding.of("backup-due", local=_local(ends, found.zone), system=found.system)


#: Verbs in the log of acts: the option that names a place, and what the command needs besides the system.
_COMMANDS = {
    "ack": ("", "CODE --because …"),
    "backup": ("", ""),
    "copy": ("--to", ""),
    "drill": ("--from", ""),
    "forget": ("--copy", "ID"),
    "pin": ("--copy", ""),
    "prune": ("--copy", ""),
    "rekey": ("", ""),
    "repair": ("--copy", ""),
    "restore": ("--from", "--to …"),
    "scrub": ("--copy", ""),
    "unpin": ("--copy", "ID"),
    "verify": ("--copy", ""),
}


def failures(failed: Iterable[Act], latest: str, zone: str) -> Iterator[Finding]:
    """`latest`: the newest full backup. What was found in it stands beside it, and is not told a second time."""
    for one in failed:
        stands_there = one.backup in ("", latest) and not one.place and one.verb != "scrub"
        if one.exit_code == ErrorsFound.exit_code and stands_there:
            continue
        where = f" ({one.place})" if one.place else ""
        yield Finding.of(
            "last-run-failed",
            verb=one.verb,
            where=where,
            local=_local(parse_timestamp(one.at), zone),
            code=one.code,
            why=one.message,
            command=f"{one.remedy}; " * bool(one.remedy),
            again=_again(one),
        )


def _again(act: Act) -> str:
    """The whole command: a person pastes it. A schedule or sensor of the graph has none."""
    if act.verb not in _COMMANDS:
        return act.verb
    option, needed = _COMMANDS[act.verb]
    words = [act.verb, *([act.system] if act.system and act.verb != "scrub" else [])]
    words += [needed.replace("ID", act.backup or "ID")] if needed else []
    words += [option, act.place] if act.place else []
    return f"`backup-pipeline {' '.join(words)}`"


def _local(moment: datetime, zone: str) -> str:
    """As every time in a text: in the zone of the system, with its offset."""
    local = moment.astimezone(ZoneInfo(zone))
    offset = f"{local:%z}"
    return f"{local:%Y-%m-%d %H:%M:%S} " + (f"{offset[:3]}:{offset[3:5]}" if local.utcoffset() else "UTC")
