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
from backup_pipeline.health.diagnosis import VAULT, Held, Places
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.operations import expected, stores
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault

if TYPE_CHECKING:
    from backup_pipeline.health.overview import SystemStatus
    from backup_pipeline.operations.site import Site

P = ParamSpec("P")
T = TypeVar("T")


def look(project: Site, system: str | None) -> Places:
    """What the place of a project says, and every other place that may hold the same backups."""
    settings, place = project.settings, project.place or VAULT
    here = stores.open_place(settings, place)
    there = here.store.stat(layout.VAULT) is not None
    copies = settings.copies if system is None else settings.copies_of(system)
    others = tuple(_held(project, name, system) for name in (VAULT, *copies) if name != place)
    note = expected.note_of(settings, here)
    backups = _count(here, system) if there else 0
    return Places(
        system, place, here.store.address, there, str(note) if note.exists() else "", backups, others
    )


def _held(project: Site, name: str, system: str | None) -> Held:
    try:
        return Held(name, _count(stores.open_for_a_look(project.settings, name), system))
    except BackupError as error:
        return Held(name, unreachable=error.message)


def _count(vault: Vault, system: str | None) -> int:
    names = vault.systems() if system is None else (system,)
    return sum(len(vault.ids(name)) for name in names)


def lost(project: Site, system: str | None = None) -> VaultError | None:
    """For verbs that find nothing and raise nothing: is that because there never was a backup?"""
    return diagnosis.lost(look(project, system))


def gone(project: Site, system: str | None = None) -> VaultError | None:
    """Was there a vault, and is there none? Copies are asked only then."""
    here = stores.open_place(project.settings, project.place)
    is_gone = expected.note_of(project.settings, here).exists() and here.store.stat(layout.VAULT) is None
    return lost(project, system) if is_gone else None


def lost_finding(project: Site, system: str | None = None) -> tuple[Finding, ...]:
    try:
        error = gone(project) if system is None else lost(project, system)
    except BackupError:
        return ()  # a place that does not answer is told by the verb itself
    return (Finding("error", "vault-lost", error.message, remedy=error.remedy),) if error else ()


def of_status(project: Site, status: SystemStatus) -> SystemStatus:
    lost = () if status.backups else lost_finding(project, status.system)
    # Of a vault that was lost, `backup` is the wrong remedy.
    told = [one for one in status.findings if not (lost and one.marked("follows_from_loss"))]
    return replace(status, findings=exact_findings(project, status.system, (*lost, *told)))


def explain(project: Site, system: str | None, error: BackupError, *, reading: bool) -> BackupError:
    copies = tuple(project.settings.copies) if system is None else project.settings.copies_of(system)
    place = project.place or VAULT
    try:
        better = diagnosis.explain(
            error, system, place, copies, reading=reading, look=lambda: look(project, system)
        )
        if better is error and isinstance(error, NoBackup) and system and not project.vault.ids(system):
            project.system(system)
    except NotFound as unknown:
        return unknown  # a name that means nothing: it says which was meant
    except BackupError:
        return error  # the place cannot be asked: the first error is the better one
    return better


@contextmanager
def explained(project: Site, system: str, *, reading: bool = True) -> Iterator[None]:
    try:
        yield
    except BackupError as error:
        better = explain(project, system, error, reading=reading)
        if better is error:
            raise
        raise better from error


def exact(project: Site, system: str, report: Report) -> Report:
    return replace(report, findings=exact_findings(project, system, report.findings))


def exact_findings(project: Site, system: str, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The remedies of findings, as those of errors."""
    return tuple(replace(one, remedy=exact_remedy(project, system, one.remedy)) for one in findings)


def exact_remedy(project: Site, system: str, remedy: str) -> str:
    return diagnosis.exact(remedy, system, project.place or VAULT, project.settings.copies_of(system))


def diagnosed(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A method of Project that reads backups of a system, which is its first argument."""

    @wraps(method)
    def told(project: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with explained(project, str(args[0] if args else kwargs["system"])):
            return method(project, *args, **kwargs)

    return told
