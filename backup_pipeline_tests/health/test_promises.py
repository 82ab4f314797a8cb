"""Protected tonight as well: a schedule is a promise of the process that runs it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from backup_pipeline.config import SystemSettings
from backup_pipeline.health.promises import failures, kept, last_due
from backup_pipeline.model.acts import Act
from backup_pipeline.model.ids import backup_id
from backup_pipeline.model.overview import Listed, Runner, SystemStatus

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
NIGHT = datetime(2026, 11, 29, 2, tzinfo=UTC)
NEVER = Runner("never")


def codes(
    *,
    schedule: str | None = "0 2 * * *",
    fresh_within: str | None = None,
    latest_at: datetime | None = NIGHT,
    scheduled_at: datetime | None = None,
    runner: Runner = NEVER,
    now: datetime = NOW,
) -> list[str]:
    settings = SystemSettings.model_validate(
        {"database": "sqlite:///x.db", "schedule": schedule, "fresh_within": fresh_within}
    )
    latest = (
        Listed("shop", backup_id(latest_at), "manual", "full", 1, 1, 1, 1, 1.0, 1, 0) if latest_at else None
    )
    scheduled = backup_id(scheduled_at) if scheduled_at else None
    found = SystemStatus("shop", latest, None, 1, None, True, scheduled=scheduled)
    return [one.code for one in kept(found, settings, runner, now)]


def test_a_living_daemon_keeps_a_schedule_unless_it_is_switched_off() -> None:
    assert codes(runner=Runner("runs", NOW)) == []
    assert codes(runner=Runner("runs", NOW, off=("backup_shop_schedule",))) == ["schedule-off"]
    assert codes(runner=Runner("stopped", NOW - timedelta(days=3))) == ["schedule-not-run"]


@pytest.mark.parametrize("runner", [NEVER, Runner("unknown"), Runner("stopped", NIGHT)])
def test_without_a_daemon_only_the_last_scheduled_backup_shows_that_something_runs(runner: Runner) -> None:
    assert codes(runner=runner) == ["schedule-not-run"], "one by hand says nothing of tonight"
    assert codes(runner=runner, scheduled_at=NIGHT) == []
    assert codes(runner=runner, scheduled_at=NIGHT - timedelta(days=1)) == ["schedule-not-run"]
    assert codes(runner=runner, scheduled_at=NIGHT, now=NIGHT + timedelta(hours=24, minutes=30)) == [], (
        "a delay"
    )
    assert codes(runner=runner, scheduled_at=NIGHT, now=NIGHT + timedelta(hours=26)) == ["schedule-not-run"]


def test_without_a_schedule_something_must_say_how_old_a_backup_may_be() -> None:
    assert codes(schedule=None) == ["no-schedule"]
    assert codes(schedule=None, fresh_within="30d") == []
    assert codes(schedule=None, fresh_within="30d", now=NIGHT + timedelta(days=29, hours=1)) == ["backup-due"]
    assert codes(schedule=None, fresh_within="30d", now=NIGHT + timedelta(days=31)) == [], (
        "it is not fresh: told"
    )


def test_a_schedule_of_minutes_has_less_patience() -> None:
    assert last_due("*/20 * * * *", "UTC", NOW) == NOW - timedelta(minutes=20)
    assert last_due("0 2 * * *", "Europe/Berlin", NOW) == datetime(2026, 11, 29, 1, tzinfo=UTC)


def test_the_last_failure_says_when_why_and_what_to_do_and_one_cause_is_told_once() -> None:
    def act(verb: str, **more: object) -> Act:
        return Act(
            verb, False, "shop", at="2026-11-29T02:00:05.000000Z", code="busy", message="no room", **more
        )  # type: ignore[arg-type]

    (told,) = failures([act("prune", remedy="make room")], "latest", "Europe/Berlin")
    assert told.severity == "error"
    assert "the last prune failed at 2026-11-29 03:00:05 +01:00: busy: no room" in told.message
    assert told.remedy.startswith("make room; `backup-pipeline prune shop` once more")
    for verb, more, command in (
        ("verify", {}, "verify shop"),
        ("drill", {"place": "offsite"}, "drill shop --from offsite"),
        ("copy", {"place": "offsite"}, "copy shop --to offsite"),
        ("forget", {"backup": "2026-11-21T02-00-00-123Z"}, "forget shop 2026-11-21T02-00-00-123Z"),
    ):
        (told,) = failures([act(verb, **more)], "latest", "UTC")
        assert told.remedy.startswith(f"`backup-pipeline {command}` once more")
    found = act("backup", exit_code=10, backup="latest")
    assert list(failures([found], "latest", "UTC")) == [], "status names what was found in it"
    assert len(list(failures([act("verify", exit_code=10, backup="older")], "latest", "UTC"))) == 1
