"""What is kept and why: by example, and over random histories."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.model.ids import backup_id, moment_of
from backup_pipeline.retention.policy import UNKNOWN_DEPLOY, Candidate, Decision, decide
from backup_pipeline_tests.retention.histories import ZONES, at, histories, nightly, policies


def kept(found: tuple[Decision, ...]) -> list[str]:
    return [one.id for one in found if one.keep]


def after(history: list[Candidate], days: float = 1) -> datetime:
    return moment_of(max(one.id for one in history)) + timedelta(days=days)


# ── by example


def test_each_rule_keeps_the_newest_of_each_of_its_periods() -> None:
    history = nightly("2026-01-01T02:00", 300)
    policy = RetentionSettings(daily=3, weekly=2, monthly=2, yearly=1)
    found = decide(history, policy, "UTC", after(history))
    days = [name[:10] for name in kept(found)]
    # 2026-10-27 is the last, a Tuesday; Sundays end ISO weeks.
    assert days == ["2026-09-30", "2026-10-25", "2026-10-26", "2026-10-27"]
    newest = found[-1]
    assert newest.reasons == (
        "the newest full backup",
        "daily 1 of 3",
        "weekly 1 of 2",
        "monthly 1 of 2",
        "yearly 1 of 1",
    )
    assert newest.promises == ("newest",)
    assert found[0].reasons == ("no rule wants it",)


def test_days_are_those_of_the_zone_also_when_the_clock_changes() -> None:
    # 22:30 and 23:30 UTC on 28 March 2026 are 23:30 and 00:30 in Berlin: two days there, one in UTC.
    history = [
        Candidate("2026-03-28T22-30-00-000Z"),
        Candidate("2026-03-28T23-30-00-000Z"),
        Candidate("2026-03-30T01-00-00-000Z"),
    ]
    policy = RetentionSettings(daily=10)
    now = at("2026-04-01T00:00")
    assert len(kept(decide(history, policy, "Europe/Berlin", now))) == 3
    assert len(kept(decide(history, policy, "UTC", now))) == 2
    # The night of 25 October 2026 has 02:30 twice in Berlin: one day all the same.
    twice = [
        Candidate("2026-10-25T00-30-00-000Z"),
        Candidate("2026-10-25T01-30-00-000Z"),
        Candidate("2026-10-26T01-00-00-000Z"),
    ]
    assert kept(decide(twice, policy, "Europe/Berlin", at("2026-10-27T00:00"))) == [
        one.id for one in twice[1:]
    ]


def test_the_same_week_of_another_year_is_another_week() -> None:
    """364 days are 52 weeks: the same number of the week, or the same month, year after year."""
    history = nightly("2021-03-10T02:00", 4, hours=24 * 364)
    for rule in ("weekly", "monthly", "yearly"):
        policy = RetentionSettings.model_validate({rule: 3})
        assert kept(decide(history, policy, "UTC", after(history))) == [one.id for one in history[1:]]
    # The last days of December belong to the first week of the next year.
    turn = nightly("2024-12-28T02:00", 6)
    days = [name[:10] for name in kept(decide(turn, RetentionSettings(weekly=3), "UTC", after(turn)))]
    assert days == ["2024-12-29", "2025-01-02"]


def test_a_degraded_backup_stands_for_a_day_only_where_there_is_no_whole_one() -> None:
    day = [Candidate("2026-05-01T02-00-00-000Z"), Candidate("2026-05-01T14-00-00-000Z", degraded=True)]
    later = nightly("2026-05-02T02:00", 3)
    policy = RetentionSettings(daily=9)
    assert kept(decide([*day, *later], policy, "UTC", after(later)))[0] == day[0].id
    assert len(kept(decide([*day, *later], policy, "UTC", after(later)))) == 4
    assert kept(decide([day[1], *later], policy, "UTC", after(later)))[0] == day[1].id


def test_the_newest_whole_full_backup_stays_when_newer_ones_are_degraded() -> None:
    history = nightly("2026-05-01T02:00", 4)
    history[2:] = [replace(one, degraded=True) for one in history[2:]]
    found = {one.id: one for one in decide(history, RetentionSettings(last=1), "UTC", after(history))}
    assert found[history[3].id].promises == ("newest",)
    assert found[history[1].id].promises == ("newest-whole",)
    assert kept(tuple(found.values())) == [history[1].id, history[3].id]


def test_the_newest_proven_a_pinned_and_a_locked_backup_stay() -> None:
    history = nightly("2026-05-01T02:00", 6)
    history[0] = replace(history[0], proven=True)
    history[1] = replace(history[1], proven=True)
    history[2] = replace(history[2], pinned="before the audit")
    history[3] = replace(history[3], locked="the vault still has it")
    policy = RetentionSettings(last=1, pin=(history[4].id,))
    found = decide(history, policy, "UTC", after(history, 900))
    assert [one.promises for one in found] == [
        (),
        ("proven",),
        ("pinned",),
        ("locked",),
        ("pinned",),
        ("newest",),
    ]
    assert found[2].reasons[0] == "pinned: before the audit"
    assert not found[0].keep


def test_a_pre_migration_backup_stays_until_a_backup_has_seen_its_deploy() -> None:
    old, new = frozenset("x"), frozenset("xab")
    before = Candidate("2026-05-01T02-00-00-000Z", kind="pre-migration", pending=frozenset("ab"), applied=old)
    not_yet = Candidate("2026-06-01T02-00-00-000Z", pending=frozenset("b"), applied=frozenset("xa"))
    degraded = Candidate("2026-07-01T02-00-00-000Z", pending=frozenset(), applied=new, degraded=True)
    applied = Candidate("2026-08-01T02-00-00-000Z", pending=frozenset("c"), applied=new)
    last = Candidate("2026-09-01T02-00-00-000Z", pending=frozenset("ab"))
    policy = RetentionSettings(last=1)

    def held(*newer: Candidate) -> bool:
        return before.id in kept(decide([before, *newer], policy, "UTC", at("2028-01-01T00:00")))

    assert held()
    assert held(not_yet)
    assert held(not_yet, degraded)
    assert held(not_yet, replace(applied, scope="partial"), last)
    assert not held(not_yet, applied)
    assert not held(not_yet, applied, last)


def test_an_older_checkout_that_knows_nothing_of_a_migration_has_not_seen_it_applied() -> None:
    """The nightly backup's machine has not pulled yet: to its files nothing is pending, and the deploy is still to come."""
    old = frozenset("x")
    before = Candidate("2026-05-01T02-00-00-000Z", kind="pre-migration", pending=frozenset("a"), applied=old)
    nightly_one = Candidate("2026-05-02T02-00-00-000Z", pending=frozenset(), applied=old)
    deployed = Candidate("2026-05-03T02-00-00-000Z", pending=frozenset(), applied=frozenset("xa"))
    policy = RetentionSettings(last=1)

    def held(*newer: Candidate, days: float) -> bool:
        now = moment_of(before.id) + timedelta(days=days)
        return before.id in kept(decide([before, *newer], policy, "UTC", now))

    assert held(nightly_one, days=2)
    assert not held(nightly_one, deployed, days=3)
    # Given up: no backup will ever see it applied.
    assert held(nightly_one, days=89)
    assert not held(nightly_one, days=91)


def test_nothing_younger_than_the_minimum_age_goes() -> None:
    history = nightly("2026-05-01T02:00", 10)
    found = decide(history, RetentionSettings(last=1, min_age_days=3), "UTC", after(history, 0.5))
    # 12 h, 36 h, 60 h old; the next is three and a half days.
    assert [one.reasons[-1] for one in found[6:]] == [
        "no rule wants it",
        *["younger than 3 days"] * 2,
        "younger than 3 days",
    ]
    assert not found[6].keep


def test_a_pre_migration_backup_of_which_nothing_is_known_stays_for_a_generous_time() -> None:
    before = Candidate("2026-05-01T02-00-00-000Z", kind="pre-migration")
    newer = Candidate("2026-05-02T02-00-00-000Z")
    made = moment_of(before.id)
    policy = RetentionSettings(last=1)
    assert before.id in kept(
        decide([before, newer], policy, "UTC", made + UNKNOWN_DEPLOY - timedelta(hours=1))
    )
    assert before.id not in kept(
        decide([before, newer], policy, "UTC", made + UNKNOWN_DEPLOY + timedelta(hours=1))
    )


@pytest.mark.parametrize("days", [30, 7])
def test_a_backup_that_was_made_before_a_restore_stays_as_long_as_the_restore_can_be_undone(
    days: int,
) -> None:
    before = [Candidate(f"2026-05-01T0{n}-00-00-000Z", kind="pre-restore", scope="partial") for n in (2, 3)]
    newer = nightly("2026-05-02T02:00", 60)
    policy = RetentionSettings(last=1, pre_restore=days * 86400, same_day="replace")

    def held(after: timedelta) -> set[str]:
        return set(kept(decide([*before, *newer], policy, "UTC", moment_of(before[0].id) + after)))

    assert {one.id for one in before} <= held(timedelta(days=days, hours=-1))
    assert not {one.id for one in before} & held(timedelta(days=days, hours=2))


def test_one_a_day_replaces_by_a_newer_of_the_same_kind_and_never_by_a_worse_one() -> None:
    policy = RetentionSettings(last=50, min_age_days=30, same_day="replace")
    day = {
        "morning": Candidate("2026-05-01T02-00-00-000Z"),
        "noon": Candidate("2026-05-01T12-00-00-000Z"),
        "by hand": Candidate("2026-05-01T13-00-00-000Z", kind="manual"),
        "before a deploy": Candidate("2026-05-01T14-00-00-000Z", kind="pre-migration"),
        "degraded": Candidate("2026-05-01T15-00-00-000Z", degraded=True),
        "degraded again": Candidate("2026-05-01T16-00-00-000Z", degraded=True),
        "partial": Candidate("2026-05-01T17-00-00-000Z", scope="partial"),
        "next": Candidate("2026-05-02T02-00-00-000Z"),
    }
    found = {one.id: one for one in decide(day.values(), policy, "UTC", at("2026-05-03T00:00"))}
    gone = {name for name, one in day.items() if not found[one.id].keep}
    assert gone == {"morning", "degraded"}
    assert found[day["morning"].id].reasons == (f"replaced by {day['noon'].id} of the same day",)


def test_a_partial_backup_fills_no_slot_and_goes_with_the_full_ones_around_it() -> None:
    full = nightly("2026-05-01T02:00", 10)
    partial = [Candidate(f"2026-05-{day:02d}T12-00-00-000Z", scope="partial") for day in (2, 8, 10)]
    found = kept(decide([*full, *partial], RetentionSettings(daily=4, weekly=3), "UTC", after(full)))
    assert partial[0].id not in found
    assert partial[1].id in found
    assert partial[2].id in found
    weekly = kept(decide([*full, *partial], RetentionSettings(weekly=3), "UTC", after(full, 100)))
    assert [name for name in weekly if "T12" in name] == [partial[2].id]  # no whole full one is newer


# ── over random histories


@settings(max_examples=60, deadline=None)
@given(histories(), policies, st.sampled_from(ZONES), st.floats(-2, 500))
def test_what_is_promised_is_never_forgotten(
    history: list[Candidate], policy: RetentionSettings, zone: str, days: float
) -> None:
    now = after(history, days)
    found = {one.id: one for one in decide(history, policy, zone, now)}
    assert list(found) == sorted(one.id for one in history)
    assert all(one.reasons for one in found.values())
    ordered = sorted(history, key=lambda one: one.id)
    full = [one for one in ordered if one.scope == "full"]
    whole = [one for one in full if not one.degraded]
    proven = [one for one in full if one.proven]
    never = [*ordered[-1:], *full[-1:], *whole[-1:], *proven[-1:]]
    never += [one for one in ordered if one.pinned is not None or one.locked or one.kind == "imported"]
    for one in ordered:
        newer = [other for other in whole if other.id > one.id]
        gone = [o for o in newer if o.pending is not None and one.pending and not (o.pending & one.pending)]
        deployed = any(o.applied != one.applied for o in gone)
        young = now - moment_of(one.id) < UNKNOWN_DEPLOY
        undone = (one.pending and not gone) or (young and not deployed)
        if one.kind == "pre-migration" and (not newer or undone):
            never.append(one)
    undoable = timedelta(seconds=policy.pre_restore)
    never += [one for one in ordered if one.kind == "pre-restore" and now - moment_of(one.id) < undoable]
    for one in never:
        assert found[one.id].keep, one
        assert found[one.id].promises, one
    if policy.min_age_days and policy.same_day == "keep":
        young_ones = [one for one in ordered if now - moment_of(one.id) < timedelta(days=policy.min_age_days)]
        assert all(found[one.id].keep for one in young_ones)


@settings(max_examples=60, deadline=None)
@given(histories(), policies, st.sampled_from(ZONES))
def test_never_less_than_the_policy(history: list[Candidate], policy: RetentionSettings, zone: str) -> None:
    """Written again from what the rules mean: of the newest n periods that have a full backup, each has a kept one."""
    policy = policy.model_copy(update={"same_day": "keep"})
    found = set(kept(decide(history, policy, zone, after(history))))
    full = sorted(
        (one for one in history if one.scope == "full" and one.kind != "imported"), key=lambda one: one.id
    )

    def day(one: Candidate) -> date:
        return moment_of(one.id).astimezone(ZoneInfo(zone)).date()

    assert {one.id for one in full[len(full) - min(len(full), policy.last) :]} <= found
    for count, period in (
        (policy.daily, lambda d: d.toordinal()),
        (policy.weekly, lambda d: d.isocalendar()[0] * 100 + d.isocalendar()[1]),
        (policy.monthly, lambda d: d.year * 100 + d.month),
        (policy.yearly, lambda d: d.year),
    ):
        newest = sorted({period(day(one)) for one in full}, reverse=True)[:count]
        for wanted in newest:
            there = [one for one in full if period(day(one)) == wanted]
            good = [one for one in there if not one.degraded] or there
            assert good[-1].id in found


@settings(max_examples=60, deadline=None)
@given(histories(), policies, st.sampled_from(ZONES))
def test_one_a_day_leaves_one_of_every_day_week_month_and_year_of_the_policy(
    history: list[Candidate], policy: RetentionSettings, zone: str
) -> None:
    policy = policy.model_copy(update={"same_day": "replace"})
    held = {one.id for one in history} & set(kept(decide(history, policy, zone, after(history))))
    full = [one for one in history if one.scope == "full" and one.kind != "imported"]

    def day(one: Candidate) -> date:
        return moment_of(one.id).astimezone(ZoneInfo(zone)).date()

    for count, period in (
        (policy.daily, lambda d: d.toordinal()),
        (policy.weekly, lambda d: d.isocalendar()[0] * 100 + d.isocalendar()[1]),
        (policy.monthly, lambda d: d.year * 100 + d.month),
        (policy.yearly, lambda d: d.year),
    ):
        for wanted in sorted({period(day(one)) for one in full}, reverse=True)[:count]:
            there = [one for one in full if period(day(one)) == wanted]
            stays = [one for one in there if one.id in held]
            assert stays
            if any(one.whole for one in there):
                assert any(one.whole for one in stays)


@settings(max_examples=60, deadline=None)
@given(histories(), policies, st.sampled_from(ZONES), st.floats(0, 50))
def test_pruning_twice_forgets_nothing_more(
    history: list[Candidate], policy: RetentionSettings, zone: str, days: float
) -> None:
    now = after(history, days)
    once = set(kept(decide(history, policy, zone, now)))
    again = kept(decide([one for one in history if one.id in once], policy, zone, now))
    assert set(again) == once


@settings(max_examples=60, deadline=None)
@given(histories(40), policies, st.sampled_from(ZONES), st.integers(0, 3))
def test_pruning_after_every_backup_leaves_what_pruning_once_leaves(
    history: list[Candidate], policy: RetentionSettings, zone: str, every: int
) -> None:
    """What a rule wants at the end it wanted all the time. (Promises may keep more on the way, never less.)"""
    # A drill proves a backup before the next one is made.
    held: list[Candidate] = []
    for number, one in enumerate(history):
        held.append(one)
        if number % (every + 1) == 0:
            now = moment_of(one.id) + timedelta(minutes=1)
            stays = set(kept(decide(held, policy, zone, now)))
            held = [other for other in held if other.id in stays]
    now = after(history, 1)
    last = {one.id: one for one in decide(held, policy, zone, now) if one.keep}
    once = set(kept(decide(history, policy, zone, now)))
    assert once <= last.keys()
    # The backup that had seen a deploy may have gone meanwhile: then what was made before it stays a while longer.
    assert all(last[name].promises == ("pre-migration",) for name in last.keys() - once)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York"])
def test_ten_years_of_nightly_pruning_leave_what_the_rules_say(zone: str) -> None:
    policy = RetentionSettings(last=7, daily=30, weekly=8, monthly=12, yearly=3, min_age_days=30)
    held: list[Candidate] = []
    start = at("2020-01-01T02:00")
    for night in range(3650):
        moment = start + timedelta(days=night)
        held.append(Candidate(backup_id(moment), bytes=1000, objects=30))
        if night % 9 == 0 or night > 3640:
            stays = set(kept(decide(held, policy, zone, moment + timedelta(hours=1))))
            held = [one for one in held if one.id in stays]
    # 30 days (31 with the one that min_age still holds), then weeks, months and years that are not among them.
    assert 44 <= len(held) <= 50
    assert len({moment_of(one.id).astimezone(ZoneInfo(zone)).year for one in held}) == 3
