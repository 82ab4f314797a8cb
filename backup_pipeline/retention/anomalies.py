"""When nothing must be forgotten: the newest backups have collapsed, or the clock cannot be trusted.

A database that was emptied by mistake goes on being backed up, small and in good health, and every night a rule
would trade one of the good old backups for a new empty one. So pruning freezes until somebody looked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from backup_pipeline.model.ids import moment_of
from backup_pipeline.retention.policy import Candidate

#: Below this part of what the backups before it had, a backup has collapsed.
COLLAPSED = 0.5
#: So many backups before it are its measure, and at least so many must be there.
BEFORE, AT_LEAST = 7, 2
#: Fewer objects than this come and go.
FEW_OBJECTS = 20
#: Two machines' clocks may differ by so much.
AHEAD = timedelta(minutes=5)
#: Without a full backup for so long, either backups have stopped or the clock has jumped.
SILENT = timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Anomaly:
    #: Stable: bytes-collapsed, objects-collapsed, rows-gone, from-the-future, clock-set-back, long-silence
    code: str
    message: str


def anomalies(
    candidates: Sequence[Candidate],
    now: datetime,
    *,
    accepted: str = "",
    last_seen: datetime | None = None,
    silent_after: timedelta = SILENT,
) -> tuple[Anomaly, ...]:
    """`accepted`: up to this backup somebody has looked and found the sizes right. `last_seen`: the latest time that
    an earlier prune wrote down in the vault."""
    ordered = sorted(candidates, key=lambda one: one.id)
    found = [*_clock(ordered, now, last_seen, silent_after)]
    full = [one for one in ordered if one.fills_slots]
    for what in (_bytes, _objects):
        if anomaly := _collapse(full, what, accepted):
            found.append(anomaly)
    if anomaly := _no_rows(full, accepted):
        found.append(anomaly)
    return tuple(found)


def _clock(
    ordered: Sequence[Candidate], now: datetime, last_seen: datetime | None, silent_after: timedelta
) -> list[Anomaly]:
    found = []
    if ordered and moment_of(ordered[-1].id) > now + AHEAD:
        found.append(
            Anomaly(
                "from-the-future",
                f"{ordered[-1].id} is of a time that has not come; it is {now:%Y-%m-%d %H:%M} UTC on this machine",
            )
        )
    if last_seen is not None and last_seen > now + AHEAD:
        found.append(
            Anomaly(
                "clock-set-back",
                f"an earlier prune was at {last_seen:%Y-%m-%d %H:%M} UTC, and it is {now:%Y-%m-%d %H:%M} on this machine",
            )
        )
    full = [one for one in ordered if one.full]
    if full and now - moment_of(full[-1].id) > silent_after:
        days = (now - moment_of(full[-1].id)).days
        found.append(
            Anomaly(
                "long-silence",
                f"the newest full backup is {days} days old: either backups have stopped, or the clock of this "
                "machine is wrong",
            )
        )
    return found


def _bytes(one: Candidate) -> tuple[str, int, int]:
    return "bytes", one.bytes, 1


def _objects(one: Candidate) -> tuple[str, int, int]:
    return "objects", one.objects, FEW_OBJECTS


def _collapse(full: Sequence[Candidate], measure: object, accepted: str) -> Anomaly | None:
    """The last time that a backup had less than half of what those before it had, if it has not grown back since."""
    assert callable(measure)
    for place in range(len(full) - 1, AT_LEAST - 1, -1):
        if full[place].id <= accepted:
            return None
        # A measure that itself has an accepted collapse in it begins behind that.
        before = [one for one in full[max(0, place - BEFORE) : place] if one.id >= accepted]
        if len(before) < (1 if accepted else AT_LEAST):
            continue
        name, _, floor = measure(full[place])
        usual = median(measure(one)[1] for one in before)
        if usual < floor or measure(full[place])[1] >= COLLAPSED * usual:
            continue
        if measure(full[-1])[1] >= COLLAPSED * usual:
            continue  # it came back
        return Anomaly(
            f"{name}-collapsed",
            f"{full[place].id} has {measure(full[place])[1]:,} {name}; the {len(before)} full backups before it "
            f"had {usual:,.0f} (the middle one)",
        )
    return None


def _no_rows(full: Sequence[Candidate], accepted: str) -> Anomaly | None:
    if not full or full[-1].rows != 0 or full[-1].id <= accepted:
        return None
    had = [one for one in full if one.rows and one.id >= accepted]
    if not had:
        return None
    return Anomaly("rows-gone", f"{full[-1].id} has no row at all; {had[-1].id} had {had[-1].rows:,}")
