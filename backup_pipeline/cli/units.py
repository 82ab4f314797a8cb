"""Figures as people read them: powers of 1024 by their right names, times in the zone of their system."""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from backup_pipeline.model.plural import plural as plural


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
    """None: it is unknown here."""
    return "–" if count is None else f"{count:,}"


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


def when(moment: datetime, zone: tzinfo) -> str:
    """2026-11-21 03:00:00 +01:00. Every time in a text is in the zone of its system, which is the zone of its schedules,
    with the offset; ids and JSON are in UTC."""
    return _with_offset(moment.astimezone(zone), "%Y-%m-%d %H:%M:%S")


def day(moment: datetime, zone: tzinfo) -> str:
    """For a column: the minute."""
    return _with_offset(moment.astimezone(zone), "%Y-%m-%d %H:%M")


def _with_offset(local: datetime, form: str) -> str:
    offset = f"{local:%z}"  # +0100; %:z is of Python 3.12
    return f"{local:{form}} {offset[:3]}:{offset[3:5]}" if local.utcoffset() else f"{local:{form}} UTC"
