"""The check `retention`: how far back, and with which holes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.health.coverage import judge, promised

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NIGHTLY = "0 2 * * *"


def nights(*ages: int) -> list[datetime]:
    return sorted(datetime(2026, 11, 21, 2, tzinfo=UTC) - timedelta(days=age) for age in ages)


def codes(
    full: list[datetime], policy: RetentionSettings, schedule: str | None = NIGHTLY, **more: datetime
) -> list[str]:
    found = judge(full, policy, schedule=schedule, zone="UTC", now=NOW, **more)
    return [one.code for one in found.findings]


def test_the_reach_of_a_policy_is_that_of_its_widest_rule() -> None:
    assert promised(RetentionSettings(last=7)) == timedelta(0)
    assert promised(RetentionSettings(daily=30, weekly=8)) == timedelta(days=49)
    assert promised(RetentionSettings(last=1, min_age_days=90)) == timedelta(days=89)


def test_a_history_that_reaches_back_without_a_hole_is_good() -> None:
    policy = RetentionSettings(daily=30)
    found = judge(nights(*range(30)), policy, schedule=NIGHTLY, zone="UTC", now=NOW)
    assert found.findings == ()
    assert found.counted == {"backups": 30, "days_covered": 29, "days_promised": 29, "gaps": 0}


def test_a_young_system_is_not_blamed_and_one_that_lost_its_past_is() -> None:
    policy = RetentionSettings(daily=30)
    assert codes(nights(*range(5)), policy) == []
    assert codes(nights(*range(5)), policy, began=NOW - timedelta(days=200)) == ["retention-short"]
    assert codes([], policy) == ["nothing-kept"]


def test_a_missing_night_is_a_gap_a_weekend_of_the_schedule_is_none() -> None:
    policy = RetentionSettings(daily=30)
    assert codes(nights(*(n for n in range(30) if n != 7)), policy) == ["history-gap"]
    # 2026-11-21 is a Saturday: Friday's backup is one day old, and those of Saturdays and Sundays are not made.
    working = [n for n in range(40) if (5 - n) % 7 not in (5, 6)]
    assert codes(nights(*working), policy, "0 2 * * 1-5") == []
    assert codes(nights(*(n for n in working if n != 2)), policy, "0 2 * * 1-5") == ["history-gap"]
    assert codes(nights(*(n for n in range(30) if n != 7)), policy, None) == []


def test_days_that_the_rules_thin_out_are_no_gaps() -> None:
    policy = RetentionSettings(daily=7, weekly=8)
    weekly = [13, 20, 27, 34, 41, 48, 55]
    assert codes(nights(*range(7), *weekly), policy) == []
    hourly = sorted({*nights(*range(7)), *(NOW - timedelta(hours=h) for h in range(10))})
    assert codes(hourly, RetentionSettings(last=10, daily=7), "0 * * * *") == []


def test_a_gap_that_began_before_the_days_of_the_rules_is_a_gap_in_them() -> None:
    """Nothing ran for five weeks, until the day before yesterday; what is older was kept as a week's."""
    policy = RetentionSettings(daily=30, weekly=8)
    assert codes(nights(0, 1, 40, 47), policy) == ["history-gap"]
    (finding,) = judge(nights(0, 1, 40, 47), policy, schedule=NIGHTLY, zone="UTC", now=NOW).findings
    assert "once for 39.0 days" in finding.message
    # The day on which they begin is no gap.
    assert codes(nights(*range(29), 33, 40, 47), policy) == []
    # Where a week is the rule, one of Sundays is no gap and two are.
    sundays = [6 + 7 * n for n in range(8)]
    assert codes(nights(*sundays), RetentionSettings(daily=30, weekly=8), "0 2 * * 0") == []


def test_weeks_months_and_years_that_are_missing_are_gaps_as_well() -> None:
    sundays = [6 + 7 * n for n in range(12)]
    weekly = RetentionSettings(weekly=8)
    assert codes(nights(*sundays), weekly, "0 2 * * 0") == []
    assert codes(nights(*(age for age in sundays if age != 20)), weekly, "0 2 * * 0") == []  # fourteen days
    assert codes(nights(*(age for age in sundays if age not in (20, 27))), weekly) == ["history-gap"]
    months = [10 + 30 * n for n in range(12)]
    assert codes(nights(*months), RetentionSettings(monthly=12)) == []
    broken = [age for age in months if age not in (100, 130)]
    assert codes(nights(*broken), RetentionSettings(monthly=12)) == ["history-gap"]
    assert codes(nights(*broken), RetentionSettings(monthly=2)) == []
