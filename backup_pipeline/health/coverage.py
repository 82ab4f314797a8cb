"""Does what is kept reach as far back as the rules promise, without a hole? Pure: times and rules go in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.health.freshness import next_tick
from backup_pipeline.model.findings import Finding

DAY = timedelta(days=1)
#: In days. The rules keep one a day: hours that are missing in a day are no gap.
SLACK = 1.5
#: So many gaps are named; more are counted.
NAMED = 10


@dataclass(frozen=True, slots=True)
class Covered:
    findings: tuple[Finding, ...]
    counted: dict[str, int]


def promised(policy: RetentionSettings) -> timedelta:
    """How far back the oldest backup is, when all the places of a rule are filled: n days are n - 1 apart."""
    days = max(
        policy.daily - 1,
        7 * (policy.weekly - 1),
        28 * (policy.monthly - 1),
        365 * (policy.yearly - 1),
        policy.min_age_days - 1,
        0,
    )
    return timedelta(days=days)


def judge(
    full: Sequence[datetime],
    policy: RetentionSettings,
    *,
    schedule: str | None,
    zone: str,
    now: datetime,
    began: datetime | None = None,
) -> Covered:
    """`full`: of which moments there are full backups, oldest first. `began`: when the first backup ever was made; a
    young system cannot have an old one."""
    if not full:
        return Covered(
            (Finding.of("nothing-kept"),),
            {"backups": 0, "days_covered": 0},
        )
    reach = now - full[0]
    wanted = min(promised(policy), now - (began or full[0]) - DAY)
    findings: list[Finding] = []
    if reach < wanted - DAY:
        findings.append(Finding.of("retention-short", reached=reach.days, promised=wanted.days))
    gaps = list(_gaps(full, policy, schedule, zone, now))
    if gaps:
        longest = max(later - earlier for earlier, later in gaps)
        findings.append(
            Finding.of(
                "history-gap",
                count=len(gaps),
                long=_long(longest),
                examples=(
                    f"{earlier:%Y-%m-%d %H:%M} to {later:%Y-%m-%d %H:%M} UTC"
                    for earlier, later in gaps[:NAMED]
                ),
            )
        )
    counted = {
        "backups": len(full),
        "days_covered": reach.days,
        "days_promised": promised(policy).days,
        "gaps": len(gaps),
    }
    return Covered(tuple(findings), counted)


def _gaps(
    full: Sequence[datetime], policy: RetentionSettings, schedule: str | None, zone: str, now: datetime
) -> Iterator[tuple[datetime, datetime]]:
    """Where every day should still be there, then every week, month, year. How old the newest one may be is for `fresh`
    to say."""
    if schedule is None:
        return
    dense = [(now - reach, allowed) for reach, allowed in _reaches(policy) if reach]
    for earlier, later in pairwise(full):
        for begins, allowed in dense:
            # Of a gap that began where less is promised, the part counts that lies where it is.
            since = max(earlier, begins)
            if later - since > allowed and _missed(schedule, zone, since, later):
                yield earlier, later
                break


def _reaches(policy: RetentionSettings) -> tuple[tuple[timedelta, timedelta], ...]:
    """How far back the days, weeks, months and years are kept, and how far apart two that stand for neighbours may be:
    the newest of a week may be its Monday's, where the other days failed, and that of the next its Sunday's."""
    return (
        (max(policy.daily - 1, policy.min_age_days - 1, 0) * DAY, SLACK * DAY),
        (7 * max(policy.weekly - 1, 0) * DAY, 14 * DAY),
        (28 * max(policy.monthly - 1, 0) * DAY, 62 * DAY),
        (365 * max(policy.yearly - 1, 0) * DAY, 732 * DAY),
    )


def _missed(schedule: str, zone: str, earlier: datetime, later: datetime) -> bool:
    """Between two backups the schedule came round twice: once for the later one, and once for one that is not there. So a
    weekend that the schedule leaves out is no gap, and a missing Thursday is one."""
    return next_tick(schedule, zone, next_tick(schedule, zone, earlier)) <= later


def _long(gap: timedelta) -> str:
    return f"{gap / DAY:.1f} days"
