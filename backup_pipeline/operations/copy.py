"""`copy`: bring the copies of a system up to date. A place is the vault (`vault`) or a copy by its name."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from backup_pipeline.copies.replicate import CopyReport, replicate
from backup_pipeline.errors import BackupError, ConfigError, CopyFailed, NoBackup, NotFound, VaultBusy
from backup_pipeline.model.orders import CopyOrder
from backup_pipeline.model.outcome import first_of
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.operations import expected, stores
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time

__all__ = ["Copied", "copies_of", "copy", "copy_to", "failure_of", "systems_at"]

VAULT = stores.VAULT
#: Seconds that a backup waits for another copy to the same place.
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
def copy_to(site: Site, order: CopyOrder, target: str, listener: Listener = silent) -> CopyReport:
    """Bring one place up to date from another: one backup (or `latest`), or all that it lacks. Raises what stands in
    the way of all of it; what is wrong with single backups is in the report."""
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
    deadline, told = time.monotonic() + order.patience, False
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


def copy(
    site: Site,
    order: CopyOrder,
    listener: Listener = silent,
    *,
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
            report = copy_to(site, order, name, row)
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
    """The words for a user who waits for an exit code. `made`: the backup that was committed before."""
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
