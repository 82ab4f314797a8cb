"""An act: one thing that was done, however it was asked for. `state/acts` keeps the log of acts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

from backup_pipeline.errors import BackupError, InternalError, Interrupted
from backup_pipeline.model.findings import Finding

#: What is done again and again, so that a later success mends an earlier failure. A restore or a pin is asked for once.
JOBS = ("backup", "copy", "drill", "prune", "scrub", "verify")
#: A failure that nothing followed for so long is history.
LOOK_BACK = timedelta(days=60)

Fact = str | int | float


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a backup, as far as the history shows it."""

    name: str
    #: What it found, if no more than that it is good.
    said: str = ""
    #: The worst first, and not all of a thousand.
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Act:
    #: As the command is called: backup, copy, prune …
    verb: str
    ok: bool = True
    #: "": of all systems, as a scrub is.
    system: str = ""
    backup: str = ""
    #: The copy that it was done in or to; "": the vault.
    place: str = ""
    exit_code: int = 0
    #: Of the error: its code, what happened, what to do.
    code: str = ""
    message: str = ""
    remedy: str = ""
    seconds: float = 0.0
    #: cli, python, or dagster
    origin: str = "cli"
    #: The run of Dagster that has it in its history; "": none, so the daemon reports it.
    run: str = ""
    #: The command tells `alerts:` that it failed; the daemon is not to do so again.
    told: bool = False
    #: When it ended.
    at: str = ""
    #: What the asset of it shows: figures, by their names.
    facts: Mapping[str, Fact] = field(default_factory=dict)
    #: Of a backup that no run recorded.
    checks: tuple[Check, ...] = ()

    def learning(self, backup: str = "", facts: Mapping[str, Fact] | None = None) -> Act:
        return replace(self, backup=backup or self.backup, facts={**self.facts, **(facts or {})})

    def failed(self, error: BaseException) -> Act:
        told = _as_ours(error)
        return replace(self.because(told.code, told.message, told.remedy), exit_code=told.exit_code)

    def because(self, code: str, message: str, remedy: str) -> Act:
        return replace(self, ok=False, code=code, message=message, remedy=remedy)


def _as_ours(error: BaseException) -> BackupError:
    if isinstance(error, BackupError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("it was interrupted", remedy="run it again when it suits")
    first = (str(error).splitlines() or [""])[0]
    return InternalError(
        f"{type(error).__name__}: {first}", remedy="run it with --verbose, and report what it shows"
    )


def unmended(done: Iterable[Act]) -> tuple[Act, ...]:
    """Of each job (of a copy: for each place), its newest failure that no later success has mended."""
    newest: dict[tuple[str, str], Act] = {}
    for act in sorted(done, key=lambda act: act.at):
        # Ctrl-C was pressed by a person, who knows; what was true of the job before still is.
        if act.verb in JOBS and act.code != Interrupted.code:
            newest[act.verb, act.place] = act
    return tuple(act for act in newest.values() if not act.ok)


@dataclass(frozen=True, slots=True)
class Place:
    """How far the log was read."""

    file: str = ""
    offset: int = 0
