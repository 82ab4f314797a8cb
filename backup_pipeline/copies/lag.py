"""How far a copy is behind: whether it holds every backup that the vault keeps, within its deadline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backup_pipeline.copies import folders
from backup_pipeline.copies.history import kept_no_longer
from backup_pipeline.errors import VaultError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import moment_of
from backup_pipeline.vault.vault import Vault

HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Standing:
    """One system in one copy."""

    copy: str
    system: str
    #: A backup older than this that is not there is late; seconds.
    within: float
    #: Backups that are there.
    backups: int = 0
    latest: str | None = None
    #: Those of the vault that should be there and are not, oldest first.
    missing: tuple[str, ...] = ()
    #: The age of the oldest of them, in seconds.
    behind_seconds: float = 0.0
    #: Why nothing can be said of it.
    unreachable: str = ""
    remedy: str = ""

    @property
    def late(self) -> bool:
        return bool(self.missing) and self.behind_seconds > self.within

    @property
    def ok(self) -> bool:
        return not self.unreachable and not self.late

    @property
    def findings(self) -> tuple[Finding, ...]:
        if self.unreachable:
            return (
                Finding(
                    "error",
                    "copy-unreachable",
                    f"copy {self.copy}: {self.unreachable}",
                    remedy=self.remedy
                    or "see whether the store answers, and whether its credentials still hold",
                ),
            )
        if not self.late:
            return ()
        count = len(self.missing)
        what = "1 backup is" if count == 1 else f"{count} backups are"
        message = (
            f"copy {self.copy}: {what} not there; the oldest, {self.missing[0]}, is {_age(self.behind_seconds)} old, "
            f"and {_age(self.within)} were allowed"
        )
        remedy = (
            f"`backup-pipeline copy {self.system} --to {self.copy}` brings them over, or says what keeps them"
        )
        return (Finding("error", "copy-behind", message, remedy=remedy, examples=self.missing),)


def standing(vault: Vault, copy: Vault, system: str, *, name: str, within: float, now: datetime) -> Standing:
    """By one listing of the system's folder in each place."""
    try:
        there = folders.look(copy.store, system)
        absent = [identifier for identifier in vault.ids(system) if identifier not in there.ids]
        missing = tuple(identifier for identifier in absent if not kept_no_longer(copy, there, identifier))
    except VaultError as error:
        return Standing(name, system, within, unreachable=error.message, remedy=error.remedy)
    return judged(name, system, there.ids, missing, within=within, now=now)


def judged(
    name: str, system: str, held: Sequence[str], missing: tuple[str, ...], *, within: float, now: datetime
) -> Standing:
    """Pure: what is there, what is not, and the time."""
    behind = max(0.0, (now - moment_of(missing[0])).total_seconds()) if missing else 0.0
    return Standing(name, system, within, len(held), held[-1] if held else None, missing, behind)


def _age(seconds: float) -> str:
    hours = seconds / HOUR
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours:.0f} hours" if hours >= 2 else f"{seconds / 60:.0f} minutes"
