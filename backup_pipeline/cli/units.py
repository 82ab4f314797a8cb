"""Figures as people read them: powers of 1024 by their right names, times with their zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo


def size(count: float) -> str:
    """1536 → "1.5 KiB"."""
    if abs(count) < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB", "TiB"):
        count /= 1024
        if abs(count) < 1023.95 or unit == "TiB":
            break
    return f"{count:.1f} {unit}"


def number(count: int | None) -> str:
    """None: nobody here can know it."""
    return "–" if count is None else f"{count:,}"


def plural(count: int, one: str, many: str = "") -> str:
    """2, "table" → "2 tables"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def share(part: float | None, whole: float | None) -> str:
    """Never "100%" of what is not all, never "0%" of what is not nothing."""
    if not whole or part is None:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 1:
        return "<1%"
    return f"{percent:.0f}%" if percent == 100 else f"{min(percent, 99):.0f}%"


def duration(seconds: float) -> str:
    if 0 < seconds < 0.0995:
        return f"{max(1, round(seconds * 1000))} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes / 1440:.1f} days"


def age(delta: timedelta) -> str:
    seconds = delta.total_seconds()
    if seconds < 0:
        return f"in {duration(-seconds)}"
    return "just now" if seconds < 10 else f"{duration(seconds)} ago"


def when(moment: datetime, zone: tzinfo | None = None) -> str:
    """2026-11-21 03:00:00 CET (02:00:00 UTC); `zone` is this machine's unless given."""
    local = moment.astimezone(zone)
    world = moment.astimezone(UTC)
    if local.utcoffset() == timedelta(0):
        return f"{world:%Y-%m-%d %H:%M:%S} UTC"
    there = f"{world:%H:%M:%S}" if world.date() == local.date() else f"{world:%Y-%m-%d %H:%M:%S}"
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()} ({there} UTC)"


def day(moment: datetime) -> str:
    """For a column: the minute, in UTC like the ids beside it."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%MZ}"
