"""Histories of backups, for tests of what is kept: by hand, and at random."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.model.ids import backup_id
from backup_pipeline.retention.policy import Candidate

#: Zones whose days are not all 24 hours long, one far to the east, one at half an hour, one that has no summer time.
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "Pacific/Auckland",
    "Australia/Lord_Howe",
    "Asia/Kolkata",
)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def nightly(first: str, count: int, *, hours: float = 24, **more: object) -> list[Candidate]:
    """One backup a night from `first` on."""
    start = at(first)
    return [
        Candidate(backup_id(start + timedelta(hours=hours * number)), bytes=1000, objects=30, **more)  # type: ignore[arg-type]
        for number in range(count)
    ]


policies = st.builds(
    RetentionSettings,
    last=st.integers(1, 5),
    daily=st.integers(0, 10),
    weekly=st.integers(0, 6),
    monthly=st.integers(0, 6),
    yearly=st.integers(0, 3),
    min_age_days=st.sampled_from((0, 0, 1, 7, 30)),
    same_day=st.sampled_from(("keep", "keep", "replace")),
)


@st.composite
def histories(draw: st.DrawFn, most: int = 60) -> list[Candidate]:
    """Backups at odd times, some of them twice a day, around changes of the clock as well as far from them."""
    moment = draw(
        st.sampled_from(
            (at("2024-03-28T00:30"), at("2025-10-24T00:30"), at("2025-12-27T23:10"), at("2026-03-06T06:59"))
        )
    )
    found, deployed = [], 0
    for _ in range(draw(st.integers(1, most))):
        moment += timedelta(
            minutes=draw(st.sampled_from((7, 55, 60, 600, 1380, 1440, 1440, 1440, 1500, 4 * 1440, 20 * 1440)))
        )
        kind = draw(
            st.sampled_from(("scheduled",) * 6 + ("manual", "pre-migration", "pre-restore", "imported"))
        )
        # What was applied stays applied.
        deployed += draw(st.sampled_from((0, 0, 0, 1)))
        pending = frozenset(draw(st.sets(st.sampled_from("abc"), max_size=2)))
        found.append(
            Candidate(
                backup_id(moment),
                kind=kind,
                scope=draw(st.sampled_from(("full",) * 5 + ("partial",))),
                degraded=draw(st.sampled_from((False,) * 5 + (True,))),
                bytes=draw(st.integers(0, 5000)),
                objects=draw(st.integers(0, 50)),
                rows=draw(st.sampled_from((None, 0, 10, 5000))),
                proven=draw(st.sampled_from((False,) * 4 + (True,))),
                pinned=draw(st.sampled_from((None,) * 9 + ("why",))),
                locked=draw(st.sampled_from(("",) * 12 + ("the vault still has it",))),
                pending=draw(st.sampled_from((None, pending, pending))),
                applied=frozenset(map(str, range(deployed))),
            )
        )
    return found
