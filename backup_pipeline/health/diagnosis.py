"""What an error means where there are copies, and what to do about it: one diagnosis for every verb.

Pure: what the places say is handed in (`Places`). `operations/diagnosing.py` looks, and is called by the commands, the
Python API and the steps of the graph. The rooms below know one place and nothing of copies: they raise NoBackup, or
write HEAL or HEAL_MANIFEST as the remedy, and both are made exact here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from backup_pipeline.errors import BackupError, NoBackup, StoreUnavailable, VaultError
from backup_pipeline.model.findings import HEAL, HEAL_MANIFEST

VAULT = "vault"


@dataclass(frozen=True, slots=True)
class PlaceSummary:
    """What another place holds."""

    place: str
    backups: int = 0
    unreachable: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """What was seen when a backup was looked for and was not found."""

    #: None: of all systems.
    system: str | None
    #: `vault`, or the name of a copy.
    place: str
    address: str
    #: A vault lies at the address now.
    there: bool
    #: The note that says that a vault was there; empty where this machine knows of none.
    note: str
    #: Backups of the system at the place itself.
    backups: int
    others: tuple[PlaceSummary, ...] = ()

    @property
    def gone(self) -> bool:
        return bool(self.note) and not self.there


def lost(seen: Places) -> VaultError | None:
    """None where nothing was lost: there are backups, or there never were any."""
    holders = [one for one in seen.others if one.backups]
    # A copy without a backup is one that was not made yet.
    if seen.backups or not (seen.gone or (holders and seen.place == VAULT)):
        return None
    whose = f" of {seen.system}" if seen.system else ""
    if seen.gone:
        message = f"there was a vault in {seen.address}, and nothing is there now: a disk that is not mounted, or a loss"
        first = "mount it, or correct its address. If it is lost: "
    else:
        message = (
            f"there is no backup{whose} in {seen.address}: they were lost, or the address is another one"
        )
        first = ""
    others = [*(_holds(one, whose) for one in holders), *_silent(seen)]
    begin = f"to begin an empty one there, remove {seen.note}" if seen.gone else ""
    remedy = "; ".join(filter(None, [_bring_back(seen, holders), begin]))
    return VaultError("; ".join([message, *others]), remedy=first + remedy)


def _holds(summary: PlaceSummary, whose: str) -> str:
    name = "the vault" if summary.place == VAULT else f"copy {summary.place}"
    return f"{name} holds {summary.backups} {'backup' if summary.backups == 1 else 'backups'}{whose}"


def _silent(seen: Places) -> Iterable[str]:
    return (f"{one.place} cannot be reached ({one.unreachable})" for one in seen.others if one.unreachable)


def _bring_back(seen: Places, holders: list[PlaceSummary]) -> str:
    if not holders:
        return ""
    of, system = (f" {seen.system}", seen.system) if seen.system else ("", "SYSTEM")
    name = holders[0].place
    origin = "" if name == VAULT else f" --from {name}"
    return (
        f"`backup-pipeline copy{of}{origin} --to {seen.place}` brings the backups back; "
        f"`backup-pipeline restore {system}{origin}` needs no {'vault' if origin else 'copy'}"
    )


def exact(text: str, system: str, place: str, copies: Iterable[str]) -> str:
    """A remedy in which HEAL and HEAL_MANIFEST are replaced by what helps here."""
    return text.replace(HEAL, _heal(system, place, copies)).replace(
        HEAL_MANIFEST, _heal(system, place, copies, of_manifest=True)
    )


def _heal(system: str, place: str, copies: Iterable[str], *, of_manifest: bool = False) -> str:
    others = [name for name in (VAULT, *copies) if name != place]
    if not others:
        if of_manifest:
            return f"there is no copy to heal it from: use another backup (`backup-pipeline list {system}`)"
        return (
            f"there is no copy to heal it from: `backup-pipeline backup {system} --full` reads everything again and stores anew "
            f"what the living system still has, and `backup-pipeline repair {system} --set-aside` takes out of the way what "
            f"stays damaged; other backups that name it are hurt as well (`verify {system} all`)"
        )
    where = " or ".join(others)
    at = "" if place == VAULT else f" --copy {place}"
    meanwhile = f"; until then, `--from {others[0]}` reads it there" if others[0] != VAULT else ""
    return f"`backup-pipeline repair {system}{at}` brings it back from {where}{meanwhile}"


def explain(
    error: BackupError,
    system: str | None,
    place: str,
    copies: tuple[str, ...],
    *,
    reading: bool,
    look: Callable[[], Places],
) -> BackupError:
    """The error to show instead; the same one where nothing is to be added. `reading`: the verb can be pointed at another
    place. `look` is only called when a backup was not found."""
    if isinstance(error, NoBackup):
        seen = look()
        return lost(seen) or _elsewhere(error, seen)
    if system is None:
        return error
    remedy = exact(error.remedy, system, place, copies)
    if isinstance(error, StoreUnavailable) and reading and place == VAULT and copies:
        others = " or ".join(f"`--from {name}`" for name in copies)
        remedy = "; ".join(filter(None, [remedy, f"{others} reads the backups of a copy"]))
    return error if remedy == error.remedy else type(error)(error.message, remedy=remedy, values=error.values)


def _elsewhere(error: NoBackup, seen: Places) -> BackupError:
    """There are others at the place, and not this one: perhaps a copy has it."""
    holders = [one.place for one in seen.others if one.backups]
    if not holders:
        return error
    if not seen.backups:
        origin = "" if VAULT in holders else f" --from {holders[0]}"
        return NoBackup(
            error.message,
            remedy=f"`backup-pipeline copy {seen.system}{origin} --to {seen.place}` brings the backups there",
        )
    places = " or ".join(f"`list {seen.system} --copy {name}`" for name in holders if name != VAULT)
    return NoBackup(
        error.message, remedy="; ".join(filter(None, [error.remedy, places and f"of copies: {places}"]))
    )
