"""Looks for what an error needs to be told rightly (health/diagnosis.py): is the vault gone, what do the copies hold?

Nothing is asked unless something was not found.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from backup_pipeline.errors import BackupError, NoBackup, NotFound, VaultError
from backup_pipeline.health import diagnosis
from backup_pipeline.health.diagnosis import VAULT, Places, PlaceSummary
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.operations import expected, stores
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault

if TYPE_CHECKING:
    from backup_pipeline.model.overview import SystemStatus
    from backup_pipeline.operations.site import Site

P = ParamSpec("P")
T = TypeVar("T")


def look(site: Site, system: str | None) -> Places:
    """What the place of a site says, and every other place that may hold the same backups."""
    settings, place = site.settings, site.place or VAULT
    here = stores.open_place(settings, place)
    there = here.store.stat(layout.VAULT) is not None
    copies = settings.copies if system is None else settings.copies_of(system)
    others = tuple(_summary(site, name, system) for name in (VAULT, *copies) if name != place)
    note = expected.note_of(settings, here)
    backups = _count(here, system) if there else 0
    return Places(
        system, place, here.store.address, there, str(note) if note.exists() else "", backups, others
    )


def _summary(site: Site, name: str, system: str | None) -> PlaceSummary:
    try:
        return PlaceSummary(name, _count(stores.open_for_a_look(site.settings, name), system))
    except BackupError as error:
        return PlaceSummary(name, unreachable=error.message)


def _count(vault: Vault, system: str | None) -> int:
    names = vault.systems() if system is None else (system,)
    return sum(len(vault.ids(name)) for name in names)


def lost(site: Site, system: str | None = None) -> VaultError | None:
    """For verbs that find nothing and raise nothing: is that because there never was a backup?"""
    return diagnosis.lost(look(site, system))


def gone(site: Site, system: str | None = None) -> VaultError | None:
    """Was there a vault, and is there none? Copies are asked only then."""
    here = stores.open_place(site.settings, site.place)
    is_gone = expected.note_of(site.settings, here).exists() and here.store.stat(layout.VAULT) is None
    return lost(site, system) if is_gone else None


def lost_finding(site: Site, system: str | None = None) -> tuple[Finding, ...]:
    try:
        error = gone(site) if system is None else lost(site, system)
    except BackupError:
        return ()  # a place that does not answer is told by the verb itself
    return (Finding.of("vault-lost", why=error.message, remedy=error.remedy),) if error else ()


def of_status(site: Site, status: SystemStatus) -> SystemStatus:
    lost = () if status.backups else lost_finding(site, status.system)
    # Of a vault that was lost, `backup` is the wrong remedy.
    told = [one for one in status.findings if not (lost and one.marked("follows_from_loss"))]
    return replace(status, findings=exact_findings(site, status.system, (*lost, *told)))


def explain(site: Site, system: str | None, error: BackupError, *, reading: bool) -> BackupError:
    copies = tuple(site.settings.copies) if system is None else site.settings.copies_of(system)
    place = site.place or VAULT
    try:
        better = diagnosis.explain(
            error, system, place, copies, reading=reading, look=lambda: look(site, system)
        )
        if better is error and isinstance(error, NoBackup) and system and not site.vault.ids(system):
            site.system(system)
    except NotFound as unknown:
        return unknown  # a name that means nothing: it says which was meant
    except BackupError:
        return error  # the place cannot be asked: the first error is the better one
    return better


@contextmanager
def explained(site: Site, system: str, *, reading: bool = True) -> Iterator[None]:
    try:
        yield
    except BackupError as error:
        better = explain(site, system, error, reading=reading)
        if better is error:
            raise
        raise better from error


def exact(site: Site, system: str, report: Report) -> Report:
    return replace(report, findings=exact_findings(site, system, report.findings))


def exact_findings(site: Site, system: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The remedies of findings, as those of errors."""
    return tuple(replace(one, remedy=exact_remedy(site, system, one.remedy)) for one in findings)


def exact_remedy(site: Site, system: str, remedy: str) -> str:
    return diagnosis.exact(remedy, system, site.place or VAULT, site.settings.copies_of(system))


def diagnosed(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A method of Site that reads backups of a system, which is its first argument."""

    @wraps(method)
    def told(site: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with explained(site, str(args[0] if args else kwargs["system"])):
            return method(site, *args, **kwargs)

    return told
