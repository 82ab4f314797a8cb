"""Figures and pages as people read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from backup_pipeline.cli import units
from backup_pipeline.cli.page import Page, clean, width
from backup_pipeline.cli.report import counted_as_text, show_report
from backup_pipeline.model.findings import Finding, Report


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (3 * 2**50, "3072.0 TiB"),
    ],
)
def test_sizes_are_binary_and_say_so(count: int, shown: str) -> None:
    assert units.size(count) == shown


@pytest.mark.parametrize(
    ("what", "count", "shown"),
    [
        ("tables", 6, "6 tables"),
        ("tables", 1, "1 table"),
        ("indexes", 1, "1 index"),
        ("plain_bytes", 1536, "1.5 KiB plain"),
    ],
)
def test_what_was_counted_is_said_in_words(what: str, count: int, shown: str) -> None:
    assert counted_as_text(what, count) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [(0, 0, "–"), (0, 5, "0%"), (5, 5, "100%"), (999, 1000, "99%"), (1, 1000, "<1%"), (1, 3, "33%")],
)
def test_a_share_never_rounds_to_all_or_nothing(part: int, whole: int, shown: str) -> None:
    assert units.share(part, whole) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.0 s"),
        (0.0001, "1 ms"),
        (0.04, "40 ms"),
        (0.0999, "0.1 s"),
        (9.5, "9.5 s"),
        (42, "42 s"),
        (150, "2 min"),
        (7500, "2 h 05 min"),
        (300000, "3.5 days"),
    ],
)
def test_durations_have_a_unit_that_fits(seconds: float, shown: str) -> None:
    assert units.duration(seconds) == shown


def test_a_time_is_in_the_zone_of_its_system_and_says_the_offset() -> None:
    moment = datetime(2026, 11, 21, 23, 30, tzinfo=UTC)
    assert units.when(moment, ZoneInfo("UTC")) == "2026-11-21 23:30:00 UTC"
    assert units.when(moment, ZoneInfo("Europe/Berlin")) == "2026-11-22 00:30:00 +01:00"
    assert units.when(moment, ZoneInfo("America/Lima")) == "2026-11-21 18:30:00 -05:00"
    assert units.day(moment, ZoneInfo("Asia/Kolkata")) == "2026-11-22 05:00 +05:30"


def test_an_age_may_lie_ahead() -> None:
    assert units.age(timedelta(hours=-3)) == "in 3 h 00 min"
    assert units.age(timedelta(seconds=3)) == "just now"
    assert units.age(timedelta(days=3)) == "3.0 days ago"


def test_a_name_from_a_database_cannot_draw_on_the_terminal() -> None:
    assert clean("a\x1b[31mb\nc\u202ed\x00") == "a\\x1b[31mb\\nc\\u202ed\\x00"
    page = Page()
    page.table(("NAME",), [("evil\n\x1b[2J",)])
    assert len(page.lines) == 2
    assert "\x1b" not in str(page)


def test_columns_line_up_with_wide_and_combining_characters() -> None:
    assert (width("日本"), width("e\u0301"), width("abc")) == (4, 1, 3)
    page = Page()
    page.table(("NAME", "ROWS"), [("日本", "1"), ("abcd", "1,000")], right=(1,))
    assert page.lines == ["NAME   ROWS", "日本      1", "abcd  1,000"]


def test_nothing_is_cut_off_however_long_it_is() -> None:
    page = Page()
    page.table(("NAME", "WHY"), [("x" * 500, "y" * 500)])
    assert "x" * 500 in page.lines[1]
    assert "y" * 500 in page.lines[1]


def test_a_finding_shows_its_table_examples_and_every_line_of_its_remedy() -> None:
    page = Page()
    remedy = 'GRANT SELECT ON "a" TO me;\nGRANT SELECT ON "b" TO me;'
    page.findings([Finding("error", "no-right", "cannot be read", "public.a", remedy, tuple("abcdefg"))])
    assert page.lines[0] == "ERROR no-right: public.a: cannot be read"
    assert page.lines[1:6] == [f"        {letter}" for letter in "abcde"]
    assert "2 more examples" in page.lines[6]
    assert page.lines[7:] == [
        '      → GRANT SELECT ON "a" TO me;',
        '        GRANT SELECT ON "b" TO me;',
    ]


def test_colours_are_only_used_when_asked_for() -> None:
    for colour in (False, True):
        page = Page(colour=colour)
        page.heading("x")
        page.verdict(True, "good")
        page.findings([Finding("warning", "c", "m")])
        assert ("\x1b[" in str(page)) is colour


def test_what_was_looked_at_is_told_in_whole_words_and_without_noughts() -> None:
    page = Page()
    counted = {"policy_breaches": 1, "indexes": 1, "boxes": 1, "rows": 0, "references_not_checked": 0}
    show_report(page, Report("shop", (), counted, 1.0))
    assert page.lines[1] == "looked at 1 policy breach, 1 index, 1 box, 0 rows in 1.0 s"
