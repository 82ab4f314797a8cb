"""Copies, for whoever has a Site: bringing them up to date, looking at them, and healing one place from another.

A place is the vault (`vault`) or a copy by its name. Whatever reads can be pointed at a place by `Site.at`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backup_pipeline.copies.lag import measured_lag
from backup_pipeline.copies.repair import RepairReport, repair, unreachable
from backup_pipeline.copies.replicate import CopyReport, replicate
from backup_pipeline.errors import BackupError, ConfigError, CopyFailed, NoBackup, NotFound, VaultBusy
from backup_pipeline.health.copy_places import look_at_places
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.orders import CopyOrder, RepairOrder
from backup_pipeline.model.outcome import first_of
from backup_pipeline.model.overview import CopyLag
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.operations import expected, stores
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time
from backup_pipeline.vault.vault import Vault

if TYPE_CHECKING:
    from backup_pipeline.model.overview import SystemStatus

__all__ = [
    "Copied",
    "RepairReport",
    "copies_of",
    "copy",
    "copy_to_all",
    "failure_of",
    "repair_place",
    "systems_at",
]

VAULT = stores.VAULT
#: So long a backup waits for another copy to the same place before it says that its own could not be made.
PATIENCE = 600.0
POLL = 1.0


@dataclass(frozen=True, slots=True)
class Copied:
    """One copy of one system: what was brought over, or why nothing could be."""

    name: str
    system: str
    report: CopyReport | None = None
    error: BackupError | None = None
    source: str = VAULT

    @property
    def ok(self) -> bool:
        return self.error is None and self.report is not None and self.report.ok


def systems_at(site: Site, place: str) -> tuple[str, ...]:
    """Those that have backups there; of the vault, the configured ones that have copies as well."""
    held = stores.open_place(site.settings, place).systems()
    if place != VAULT:
        return held
    return tuple(name for name in held if site.settings.copies_of(name)) or tuple(site.systems)


def copies_of(site: Site, system: str, names: Sequence[str] = ()) -> tuple[str, ...]:
    """The copies that a system goes to; those that are named, where some are."""
    for name in names:
        if name != VAULT:
            site.settings.copy_settings(name)
    if names:
        return tuple(dict.fromkeys(names))
    found = site.settings.copies_of(system)
    if not found:
        raise ConfigError(
            f"{system} has no copies",
            remedy="name another store under `copies:`, as in `copies: {offsite: /mnt/offsite/vault}`",
        )
    return found


@takes_time
def copy(
    site: Site, order: CopyOrder, target: str, listener: Listener = silent, *, patience: float = 0.0
) -> CopyReport:
    """Bring one place up to date from another: one backup (or `latest`), or all that it lacks. Raises what stands in
    the way of all of it; what is wrong with single backups is in the report. `patience`: how many seconds to wait for
    another copy to the same place, which may have begun before the newest backup was there."""
    system, source = order.system, order.source
    origin = stores.open_place(site.settings, source)
    ids = None if order.id in (None, "all") else (origin.resolve(system, order.id),)
    if ids is None and not origin.ids(system):
        raise NoBackup(
            f"there is no backup of {system} in {origin.store.address}",
            remedy="`backup-pipeline list` shows the backups that there are, `list --copy NAME` those of a copy",
        )
    place = stores.open_place(site.settings, target)
    if source == VAULT:
        expected.expect(site.settings, place)
    deadline, told = time.monotonic() + patience, False
    while True:
        try:
            report = replicate(origin, place, system, ids, listener=listener)
            expected.remember(site.settings, place)
            return report
        except VaultBusy as busy:
            if time.monotonic() >= deadline:
                raise
            if not told:
                listener(Advance("copy", target, note=f"waiting: {busy.message}"))
                told = True
            time.sleep(POLL)


def copy_to_all(
    site: Site,
    order: CopyOrder,
    listener: Listener = silent,
    *,
    patience: float = 0.0,
    each: Callable[[Copied], None] = lambda _: None,
) -> tuple[Copied, ...]:
    """Every copy of a system, one after the other. One that fails does not keep the others from being made."""
    done = []
    system, source = order.system, order.source
    targets = [name for name in copies_of(site, system, order.to) if name != source]
    if source in order.to or not targets:
        raise ConfigError(
            f"{source} is the place that {system} would be copied from, and cannot be where it is copied to",
            remedy="name another place with --to, or another source with --from: "
            + ", ".join((VAULT, *site.settings.copies)),
        )
    row = _InARow(listener)
    for name in targets:
        row.next()
        try:
            report = copy(site, order, name, row, patience=patience)
            one = Copied(name, system, report, source=source)
        except NotFound:
            raise
        except BackupError as error:
            one = Copied(name, system, error=error, source=source)
        each(one)
        done.append(one)
    return tuple(done)


class _InARow:
    """Several copies, told of as one piece of work: the totals of one begin where those before it ended."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self._before, self._moved = listener, 0, 0

    def next(self) -> None:
        self._before = self._moved

    def __call__(self, step: Advance) -> None:
        self._moved += step.bytes
        total = None if step.total_bytes is None else self._before + step.total_bytes
        self._listener(replace(step, total_bytes=total))


def failure_of(done: Sequence[Copied], *, made: str = "") -> CopyFailed | None:
    """What to tell somebody who waits for an exit code. `made`: the backup that was committed before."""
    bad = [one for one in done if not one.ok]
    if not bad:
        return None
    first = bad[0]
    which = ", ".join(dict.fromkeys(one.name for one in bad))
    many = (
        "the copies "
        if len({one.name for one in bad}) > 1
        else "the copy "
        if first.name != VAULT
        else "the "
    )
    message = f"{many}{which} could not be brought up to date: {_why(first)}"
    if made:
        message = f"the backup {made} was committed and is whole, but {message}"
    return CopyFailed(message, remedy=_remedy(first))


def _why(one: Copied) -> str:
    if one.error is not None:
        return one.error.message
    assert one.report is not None
    return first_of([finding for finding in one.report.findings if finding.severity == "error"])


def _remedy(one: Copied) -> str:
    origin = "" if one.source == VAULT else f" --from {one.source}"
    again = f"`backup-pipeline copy {one.system}{origin} --to {one.name}` goes on from there"
    if one.error is not None:
        return f"{one.error.remedy}; then {again}" if one.error.remedy else again
    assert one.report is not None
    return next((f.remedy for f in one.report.findings if f.severity == "error" and f.remedy), again)


def lags(site: Site, system: str) -> tuple[CopyLag, ...]:
    """How far each copy of a system is behind. A store that does not answer is told of, not waited for."""
    return tuple(lag_of(site, system, name) for name in site.settings.copies_of(system))


def with_copies(site: Site, status: SystemStatus) -> SystemStatus:
    """What `status` says of a system, and of its copies."""
    found = lags(site, status.system)
    late = tuple(finding for one in found for finding in one.findings)
    return replace(status, copies=found, findings=(*status.findings, *late))


def lag_of(site: Site, system: str, name: str) -> CopyLag:
    within = float(site.settings.copy_settings(name).within)
    try:
        target = stores.open_for_a_look(site.settings, name)
        expected.expect(site.settings, target)
        return measured_lag(site.vault, target, system, name=name, within=within, now=site.clock())
    except BackupError as error:
        return CopyLag(name, system, within, unreachable=error.message, remedy=error.remedy)


def inspect(site: Site) -> Iterator[Finding]:
    """For the doctor: every copy of the configuration."""

    def opened() -> Iterator[tuple[str, Vault | BackupError]]:
        for name in site.settings.copies:
            try:
                place = stores.open_for_a_look(site.settings, name)
                expected.expect(site.settings, place)
                yield name, place
            except BackupError as error:
                yield name, error

    yield from look_at_places(site.vault, opened(), now=site.clock())


@takes_time
def repair_place(site: Site, order: RepairOrder, listener: Listener = silent) -> RepairReport:
    """Heal the vault, or a copy, from the other places that hold this system."""
    system, place = order.system, order.place
    names = list(order.sources) or [
        name for name in (VAULT, *site.settings.copies_of(system)) if name != place
    ]
    if place in names:
        raise ConfigError(f"{place} cannot be healed from itself", remedy="name another place with --from")
    if not names and not order.set_aside:
        raise ConfigError(
            f"there is no other place that {system} could be healed from",
            remedy=f"name another store under `copies:`. Without one, `backup-pipeline repair {system} --set-aside` takes "
            "what is damaged out of the way, and the next backup stores its content anew",
        )
    others: list[tuple[str, Vault]] = []
    away: list[Finding] = []
    for name in names:
        try:
            others.append((name, stores.open_place(site.settings, name)))
        except ConfigError as error:
            if order.sources:
                raise
            away.append(unreachable(name, error))  # a variable that is not set here, for one
    report = repair(
        stores.open_place(site.settings, place),
        others,
        system,
        place=place,
        quick=order.quick,
        dry_run=order.dry_run,
        set_aside=order.set_aside,
        listener=listener,
    )
    return replace(report, findings=(*away, *report.findings))
