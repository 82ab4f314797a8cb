"""When pruning must freeze: collapsed backups, and clocks that cannot be trusted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from backup_pipeline.model.ids import moment_of
from backup_pipeline.retention.anomalies import anomalies
from backup_pipeline.retention.policy import Candidate
from backup_pipeline_tests.retention.histories import nightly


def codes(
    history: list[Candidate], accepted: str = "", now: datetime | None = None, **more: datetime
) -> list[str]:
    moment = now or moment_of(history[-1].id) + timedelta(hours=1)
    return [one.code for one in anomalies(history, moment, accepted=accepted, **more)]  # type: ignore[arg-type]


def sized(*sizes: int, objects: int = 30) -> list[Candidate]:
    history = nightly("2026-05-01T02:00", len(sizes))
    return [replace(one, bytes=size, objects=objects) for one, size in zip(history, sizes, strict=True)]


def test_a_history_as_it_should_be_is_no_anomaly() -> None:
    assert codes(sized(1000, 1010, 1020, 990, 1500, 800)) == []
    assert codes(sized(1000)) == []


def test_a_newest_backup_of_less_than_half_freezes() -> None:
    assert codes(sized(1000, 1000, 1000, 499)) == ["bytes-collapsed"]
    assert codes(sized(1000, 1000, 1000, 500)) == []
    collapsed = sized(1000, 1000, 1000, 1000)
    collapsed[-1] = replace(collapsed[-1], objects=3)
    assert codes(collapsed) == ["objects-collapsed"]


def test_a_burst_of_small_backups_does_not_become_the_measure() -> None:
    assert codes(sized(*[1000] * 8, *[100] * 40)) == ["bytes-collapsed"]


def test_a_slow_decline_is_a_collapse_as_well() -> None:
    assert codes(sized(1000, 800, 640, 512, 410, 330, 260, 210, 170)) == ["bytes-collapsed"]


def test_what_came_back_is_no_anomaly_any_more() -> None:
    assert codes(sized(*[1000] * 8, 100, 100, 900)) == []


def test_what_was_accepted_is_not_brought_up_again_but_the_next_collapse_is() -> None:
    history = sized(*[1000] * 8, 100, 100, 100)
    assert codes(history, accepted=history[-1].id) == []
    longer = sized(*[1000] * 8, 100, 100, 100, 100, 104, 98)
    assert codes(longer, accepted=history[-1].id) == []
    assert codes(sized(*[1000] * 8, 100, 100, 100, 100, 104, 10), accepted=history[-1].id) == [
        "bytes-collapsed"
    ]


def test_one_good_backup_is_measure_enough() -> None:
    """`last: 1` never leaves more than one, and it is the one that an empty newcomer would replace."""
    assert codes(sized(1000, 100)) == ["bytes-collapsed"]
    assert codes(sized(1000, 500)) == []
    assert anomalies([], moment_of("2026-05-01T02-00-00-000Z")) == ()


@pytest.mark.parametrize("field", ["rows", "files", "file_bytes"])
def test_what_is_large_does_not_hide_that_something_else_collapsed(field: str) -> None:
    """Gigabytes of media, and the orders are gone: the sum of all bytes hardly moves."""
    code = field.replace("_", "-")
    before = [replace(one, **{field: 50_000}) for one in sized(*[1_000_000] * 3)]

    def then(many: int | None) -> list[str]:
        last = replace(sized(*[1_000_000] * 4)[-1], **{field: many})
        return codes([*before, last])

    assert then(25_000) == []
    assert then(24_999) == [f"{code}-collapsed"]
    assert then(0) == [f"{code}-collapsed"]
    assert then(None) == []  # without the key it is unknown


def test_the_last_few_rows_or_files_are_missed_as_well() -> None:
    history = [replace(one, rows=5, files=5, file_bytes=50) for one in sized(*[1000] * 4)]
    history[-1] = replace(history[-1], rows=1, files=1, file_bytes=1)
    assert codes(history) == []
    history[-1] = replace(history[-1], rows=0, files=0)
    assert codes(history) == ["rows-gone", "files-gone"]
    assert codes(history, accepted=history[-1].id) == []


def test_partial_and_imported_backups_are_no_measure_and_no_collapse() -> None:
    history = sized(1000, 1000, 1000, 1000, 10, 10)
    history[4] = replace(history[4], scope="partial")
    history[5] = replace(history[5], kind="imported")
    assert codes(history) == []


def test_clocks_that_cannot_be_trusted_freeze() -> None:
    history = sized(*[1000] * 4)
    newest = moment_of(history[-1].id)
    assert codes(history, now=newest - timedelta(minutes=4)) == []
    assert codes(history, now=newest - timedelta(minutes=6)) == ["from-the-future"]
    assert codes(history, now=newest + timedelta(days=1), last_seen=newest + timedelta(days=2)) == [
        "clock-set-back"
    ]
    assert codes(history, now=newest + timedelta(days=61)) == []
    assert codes(history, now=newest + timedelta(days=63)) == ["long-silence"]
