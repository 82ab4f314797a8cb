"""When nothing must be forgotten: the newest backups have collapsed, or the clock cannot be trusted.

A database that was emptied by mistake is still backed up, small and in good health. Every night a rule would trade a
good old backup for a new empty one. So pruning freezes until a person has looked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from backup_pipeline.model.ids import moment_of
from backup_pipeline.retention.policy import Candidate

#: Below this part of what the backups before it had, a backup has collapsed.
COLLAPSED = 0.5
#: So many backups before it are its measure. One is enough: `last: 1` never leaves more than one, and that is
#: the very one that would be traded for an empty newcomer.
BEFORE = 7
#: Fewer objects, rows or files than this come and go.
FEW = 20
#: Two machines' clocks may differ by so much.
AHEAD = timedelta(minutes=5)
#: Without a full backup for so long, either backups have stopped or the clock has jumped.
SILENT = timedelta(days=62)


@dataclass(frozen=True, slots=True)
class Anomaly:
    #: Stable: bytes-, objects-, rows-, files-, file-bytes-collapsed; rows-gone, files-gone;
    #: from-the-future, clock-set-back, long-silence
    code: str
    message: str

    @property
    def of_the_clock(self) -> bool:
        return self.code in ("from-the-future", "clock-set-back", "long-silence")


@dataclass(frozen=True, slots=True)
class _Measure:
    """One thing that a backup has much or little of."""

    code: str
    name: str
    #: None: not known here (rows and files take the key of an encrypted vault).
    of: Callable[[Candidate], int | None]
    few: int = FEW
    #: That nothing is left of it is a collapse also where there were few.
    noticed_when_gone: bool = False


#: Each by itself: gigabytes of media must not hide that the tables are empty, nor a large database that the media are gone.
_MEASURES = (
    _Measure("bytes", "bytes", lambda one: one.bytes, few=1),
    _Measure("objects", "objects", lambda one: one.objects),
    _Measure("rows", "rows", lambda one: one.rows, noticed_when_gone=True),
    _Measure("files", "files", lambda one: one.files, noticed_when_gone=True),
    _Measure("file-bytes", "bytes of files", lambda one: one.file_bytes, few=4096),
)


def anomalies(
    candidates: Sequence[Candidate],
    now: datetime,
    *,
    accepted: str = "",
    last_seen: datetime | None = None,
    silent_after: timedelta = SILENT,
) -> tuple[Anomaly, ...]:
    """`accepted`: up to this backup a person has found the sizes right. `last_seen`: the latest time that
    an earlier prune wrote down in the vault."""
    ordered = sorted((one for one in candidates if not one.foreign), key=lambda one: one.id)
    found = [*_clock(ordered, now, last_seen, silent_after)]
    full = [one for one in ordered if one.fills_slots]
    for measure in _MEASURES:
        anomaly = _collapse(full, measure, accepted)
        if anomaly is None and measure.noticed_when_gone:
            anomaly = _none_left(full, measure, accepted)
        if anomaly is not None:
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


def _collapse(full: Sequence[Candidate], measure: _Measure, accepted: str) -> Anomaly | None:
    """The last time that a backup had less than half of what those before it had, if it has not grown back since."""
    known = [(one.id, size) for one in full if (size := measure.of(one)) is not None]
    for place in range(len(known) - 1, 0, -1):
        identifier, has = known[place]
        if identifier <= accepted:
            return None
        # A measure that itself has an accepted collapse in it begins behind that.
        before = [size for name, size in known[max(0, place - BEFORE) : place] if name >= accepted]
        if not before:
            continue
        usual = median(before)
        if usual < measure.few or has >= COLLAPSED * usual:
            continue
        if known[-1][1] >= COLLAPSED * usual:
            continue  # it came back
        what = (
            "the full backup before it" if len(before) == 1 else f"the {len(before)} full backups before it"
        )
        return Anomaly(
            f"{measure.code}-collapsed",
            f"{identifier} has {has:,} {measure.name}; {what} had {usual:,.0f}"
            + ("" if len(before) == 1 else " (the middle one)"),
        )
    return None


def _none_left(full: Sequence[Candidate], measure: _Measure, accepted: str) -> Anomaly | None:
    if not full or measure.of(full[-1]) != 0 or full[-1].id <= accepted:
        return None
    had = [(one.id, size) for one in full if (size := measure.of(one)) and one.id >= accepted]
    if not had:
        return None
    identifier, size = had[-1]
    return Anomaly(
        f"{measure.code}-gone", f"{full[-1].id} has no {measure.name} at all; {identifier} had {size:,}"
    )
