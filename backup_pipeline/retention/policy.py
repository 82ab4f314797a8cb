"""Keep or forget, and why. Pure: what is known of the backups, the rules, the zone and the time go in.

Slots (`last`, `daily` …) are filled by full backups only. The one that stands for a day, a week, a month or a year is its
newest whole one; a degraded one does only where there is nothing better. Days are those of the system's time zone.
What a rule keeps today it keeps tomorrow, until a newer backup takes the place: pruning every night leaves the same
backups as pruning once a year (a test says so), and pruning twice forgets nothing more.

Beside the slots stand promises that no rule can take away; see `_protected`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from backup_pipeline.config.retention import RetentionSettings
from backup_pipeline.model.ids import moment_of
from backup_pipeline.model.manifest import Scope
from backup_pipeline.model.orders import Kind
from backup_pipeline.model.overview import Signature

#: A pre-migration backup whose migrations cannot be read (no key, or no record), or were given up, stays so long.
UNKNOWN_DEPLOY = timedelta(days=90)
#: What no rule can take away, by a name that a command line can say.
PROMISES = {
    "newest": "the newest full backup (and the newest of all)",
    "newest-whole": "the newest full backup that is not degraded",
    "proven": "the newest full backup that a drill has proven",
    "pre-migration": "made before a migration, until a backup is there that saw it applied",
    "pre-restore": "made before a restore, which can be undone as long as it stays",
    "pinned": "it is pinned",
    "locked": "its object lock has not ended; or, in a copy, the vault needs it there",
    "imported": "it came from another system's backups",
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """What is known of a backup when it is decided upon."""

    id: str
    kind: Kind = "scheduled"
    scope: Scope = "full"
    degraded: bool = False
    #: Plain bytes, and the number of objects that it names.
    bytes: int = 0
    objects: int = 0
    #: None: not known without a key.
    rows: int | None = None
    #: Of all file trees; 0 where it has none: a tree that left the configuration is a tree that is gone.
    files: int | None = None
    file_bytes: int | None = None
    #: The last drill of it passed.
    proven: bool = False
    #: The reason of the pin; None: it has no pin.
    pinned: str | None = None
    #: Why it must not be touched now: an object lock, a vault that needs it in this copy.
    locked: str = ""
    #: The state of its signature, where it counts as made by another hand: then it takes the place of no other.
    foreign: Signature | None = None
    #: Migrations that were pending when it was made, as the project's files had it, and what the database said was
    #: applied; None: not known.
    pending: frozenset[str] | None = None
    applied: frozenset[str] | None = None

    @property
    def full(self) -> bool:
        return self.scope == "full"

    @property
    def whole(self) -> bool:
        return self.full and not self.degraded

    @property
    def fills_slots(self) -> bool:
        """What was imported tells nothing of the day on which it was imported."""
        return self.full and self.kind != "imported"


@dataclass(frozen=True, slots=True)
class Decision:
    id: str
    keep: bool
    reasons: tuple[str, ...]
    #: Why it is never removed, against every rule: keys of PROMISES.
    promises: tuple[str, ...] = ()


def decide(
    candidates: Iterable[Candidate], policy: RetentionSettings, zone: str, now: datetime
) -> tuple[Decision, ...]:
    """One decision for each candidate, oldest first. One of another hand stays until a person forgets it, and counts for
    nothing."""
    every = sorted(candidates, key=lambda one: one.id)
    ordered = [one for one in every if not one.foreign]
    protected = _protected(ordered, policy, now)
    replaced = _replaced(ordered, zone) if policy.same_day == "replace" else {}
    slots = _slots([one for one in ordered if one.id not in replaced], policy, zone)
    dense = _dense_from(slots)
    decisions = []
    for one in every:
        if one.foreign:
            decisions.append(Decision(one.id, True, ("made by another hand: it goes by `forget` only",)))
            continue
        promises = protected.get(one.id, {})
        reasons = [*promises.values(), *(reason for reason, _ in slots.get(one.id, ()))]
        if one.id not in replaced:
            reasons += _by_age(one, policy, now)
            reasons += _narrow(one, ordered, dense)
        if reasons:
            decisions.append(Decision(one.id, True, tuple(reasons), tuple(promises)))
        else:
            decisions.append(Decision(one.id, False, (_why_not(one, replaced),)))
    return tuple(decisions)


def _protected(
    ordered: Sequence[Candidate], policy: RetentionSettings, now: datetime
) -> dict[str, dict[str, str]]:
    """Id → the promises that keep it, each with what is said of it. None of them depends on a rule."""
    found: dict[str, dict[str, str]] = {}

    def promise(one: Candidate | None, name: str, reason: str) -> None:
        if one is not None:
            found.setdefault(one.id, {}).setdefault(name, reason)

    promise(_newest(ordered, lambda one: one.full), "newest", "the newest full backup")
    whole = _newest(ordered, lambda one: one.whole)
    if whole is not None and whole.id not in found:
        promise(whole, "newest-whole", "the newest full backup that is not degraded")
    if ordered and not ordered[-1].full:
        # The history hangs on it: the next backup names it as the one before.
        promise(ordered[-1], "newest", "the newest backup")
    promise(_newest(ordered, lambda one: one.full and one.proven), "proven", "the newest proven backup")
    for one in ordered:
        if one.pinned is not None or one.id in policy.pin:
            promise(one, "pinned", f"pinned: {one.pinned}" if one.pinned else "pinned")
        if one.locked:
            promise(one, "locked", one.locked)
        if one.kind == "imported":
            promise(one, "imported", "imported: it goes by `forget` only")
        if one.kind == "pre-migration" and (reason := _before_its_deploy(one, ordered, now)):
            promise(one, "pre-migration", reason)
        if one.kind == "pre-restore":
            until = moment_of(one.id) + timedelta(seconds=policy.pre_restore)
            reason = f"before a restore, which can be undone until {until:%Y-%m-%d}"
            promise(one if now < until else None, "pre-restore", reason)
    return found


def _newest(ordered: Sequence[Candidate], wanted: Callable[[Candidate], bool]) -> Candidate | None:
    return next((one for one in reversed(ordered) if wanted(one)), None)


def _before_its_deploy(one: Candidate, ordered: Sequence[Candidate], now: datetime) -> str:
    """A deploy is over when a newer whole backup shows two things: something was applied since, and none of these
    migrations is pending any more. That they are not pending is not enough: an older checkout on
    the machine that backs up has no files of them. What was given up instead goes when it is old."""
    newer = [other for other in ordered if other.id > one.id and other.whole]
    if not newer:
        return "before a migration, and no whole full backup is newer"
    without = [
        other
        for other in newer
        if one.pending and other.pending is not None and not other.pending & one.pending
    ]
    if any(other.applied != one.applied for other in without):
        return ""
    if one.pending and not without:
        return "before a migration that no newer backup has seen applied"
    if now - moment_of(one.id) >= UNKNOWN_DEPLOY:
        return ""
    if one.pending:
        return f"before a migration that no backup has seen applied, so it stays {UNKNOWN_DEPLOY.days} days"
    return f"before a migration; which one is not known here, so it stays {UNKNOWN_DEPLOY.days} days"


def _replaced(ordered: Sequence[Candidate], zone: str) -> dict[str, str]:
    """Id → the newer backup of the same day, kind and scope that takes its place. Never a worse one: a degraded
    backup replaces degraded ones only, and a partial one nothing but partial ones."""
    found: dict[str, str] = {}
    newest: dict[Hashable, Candidate] = {}
    for one in reversed(ordered):
        if one.kind in ("imported", "pre-migration", "pre-restore"):
            continue
        group = (_day(one, zone), one.kind, one.scope)
        better = newest.get((*group, False)) or (newest.get((*group, True)) if one.degraded else None)
        if better is not None:
            found[one.id] = better.id
        newest.setdefault((*group, one.degraded), one)
    return found


def _slots(
    ordered: Sequence[Candidate], policy: RetentionSettings, zone: str
) -> dict[str, list[tuple[str, str]]]:
    """Id → (reason, rule) for each slot that it fills."""
    full = [one for one in ordered if one.fills_slots]
    found: dict[str, list[tuple[str, str]]] = {}
    for number, one in enumerate(reversed(full[len(full) - min(policy.last, len(full)) :]), start=1):
        found.setdefault(one.id, []).append((f"last {number} of {policy.last}", "last"))
    periods: tuple[tuple[str, int, Callable[[date], Hashable]], ...] = (
        ("daily", policy.daily, lambda day: day),
        ("weekly", policy.weekly, lambda day: day.isocalendar()[:2]),
        ("monthly", policy.monthly, lambda day: (day.year, day.month)),
        ("yearly", policy.yearly, lambda day: day.year),
    )
    for rule, count, period_of in periods:
        stands: dict[Hashable, Candidate] = {}
        for one in full:
            period = period_of(_day(one, zone))
            held = stands.get(period)
            if held is None or held.degraded or not one.degraded:
                stands[period] = one
        chosen = sorted(stands.values(), key=lambda one: one.id, reverse=True)
        # Periods in the order of their days, not of the backups that stand for them: these are the same order.
        for number, one in enumerate(chosen[:count], start=1):
            found.setdefault(one.id, []).append((f"{rule} {number} of {count}", rule))
    return found


def _dense_from(slots: Mapping[str, Sequence[tuple[str, str]]]) -> str | None:
    """The oldest backup that `last` or `daily` keep: from there on the history is dense."""
    held = [name for name, reasons in slots.items() if any(rule in ("last", "daily") for _, rule in reasons)]
    return min(held, default=None)


def _by_age(one: Candidate, policy: RetentionSettings, now: datetime) -> list[str]:
    days = policy.min_age_days
    young = days and now - moment_of(one.id) < timedelta(days=days)
    return [f"younger than {days} days"] if young else []


def _narrow(one: Candidate, ordered: Sequence[Candidate], dense: str | None) -> list[str]:
    """A partial backup fills no slot: it goes with the full ones around it."""
    if one.full:
        return []
    if not any(other.whole and other.id > one.id for other in ordered):
        return ["partial, and no whole full backup is newer"]
    if dense is not None and one.id > dense:
        return ["partial, and as young as what `last` and `daily` keep"]
    return []


def _why_not(one: Candidate, replaced: Mapping[str, str]) -> str:
    if one.id in replaced:
        return f"replaced by {replaced[one.id]} of the same day"
    return "partial, and full backups have taken its place" if not one.full else "no rule wants it"


def _day(one: Candidate, zone: str) -> date:
    return moment_of(one.id).astimezone(ZoneInfo(zone)).date()
