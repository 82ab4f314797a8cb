"""What was done, however it was asked for: a line for each act, in the state folder.

    .backup-pipeline/acts/2026-11.jsonl

`operations/audit` writes it, for the CLI, the Python API and the steps of the graph. `status` reads the last failure of each
job from it, and the daemon reports what no run of Dagster has recorded. The log is a memory of this machine and no
proof: what a backup is worth stands beside the backup. So a log that cannot be written fails nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_pipeline.config import Settings, redact
from backup_pipeline.errors import (
    BackupError,
    Damaged,
    InternalError,
    Interrupted,
    VaultError,
)
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import timestamp
from backup_pipeline.state import paths
from backup_pipeline.stores.rights import opened

#: Files, one a month, that stay.
MONTHS = 13
#: So much of a month is read, from its end: more than 10,000 lines. A schedule that fails each minute must not make `status` slow.
MOST_BYTES = 4 * 2**20
#: Of a driver's error this much stands in a line.
LONGEST = 2000
#: Of each check; the manifest and the proofs beside it hold all.
MOST_FINDINGS = 10
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

    def redacted(self, hidden: Iterable[str]) -> Check:
        hidden = tuple(hidden)
        findings = tuple(
            replace(one, message=redact(one.message, hidden)[:LONGEST], remedy=redact(one.remedy, hidden))
            for one in sorted(self.findings, key=_by_severity)[:MOST_FINDINGS]
        )
        return replace(self, said=redact(self.said, hidden)[:LONGEST], findings=findings)


def _by_severity(finding: Finding) -> int:
    return ("error", "warning", "info").index(finding.severity)


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

    def redacted(self, secrets: Iterable[str]) -> Act:
        """Without a secret, and not longer than a line should be."""
        hidden = tuple(secrets)
        return replace(
            self,
            message=redact(self.message, hidden)[:LONGEST],
            remedy=redact(self.remedy, hidden)[:LONGEST],
            facts={
                name: redact(fact, hidden) if isinstance(fact, str) else fact
                for name, fact in self.facts.items()
            },
            checks=tuple(check.redacted(hidden) for check in self.checks),
        )


def _as_ours(error: BaseException) -> BackupError:
    if isinstance(error, BackupError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return Interrupted("it was interrupted", remedy="run it again when it suits")
    first = (str(error).splitlines() or [""])[0]
    return InternalError(
        f"{type(error).__name__}: {first}", remedy="run it with --verbose, and report what it shows"
    )


def record(settings: Settings, act: Act) -> VaultError | None:
    """Write it down, without a secret. What stood in the way is given back, and never raised."""
    act = replace(act, at=act.at or timestamp(datetime.now(UTC)))
    kept = act.redacted(settings.secrets)
    file = paths.acts_of(settings.state_folder, act.at[:7])
    try:
        settings.make_state(file.parent)
        _append(file, canonical.encode({**canonical.plain(kept), "ok": kept.ok}))
    except (OSError, VaultError) as error:
        return VaultError(
            f"that {act.verb} was done cannot be written to {file}: {getattr(error, 'strerror', None) or error}",
            remedy="set `state:` to a folder of the user that runs backups",
        )
    return None


def _append(file: Path, line: bytes) -> None:
    """One write to the end of the file: lines of several processes do not mix."""
    new = not file.exists()
    handle = opened(file, os.O_RDWR | os.O_APPEND)
    try:
        size = os.fstat(handle).st_size
        if size and os.pread(handle, 1, size - 1) != b"\n":
            line = b"\n" + line  # a process died, or the disk was full, in the middle of the line before
        os.write(handle, line)
    finally:
        os.close(handle)
    if new:
        with suppress(OSError):
            for old in _files(file.parent)[:-MONTHS]:
                old.unlink()


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].jsonl"))


def of(settings: Settings, system: str | None = None, since: datetime | None = None) -> Iterator[Act]:
    """Oldest first: all, or those of a system, those of all systems included."""
    first = timestamp(since) if since else ""
    for file in _files(paths.acts(settings.state_folder)):
        if file.stem < first[:7]:
            continue
        for act in _read(_tail(file)):
            if act.at >= first and (system is None or act.system in (system, "")):
                yield act


def _tail(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, file.stat().st_size - MOST_BYTES))
            return stream.read()
    except OSError:
        return b""


def _read(data: bytes) -> Iterator[Act]:
    """A line that cannot be read, or was cut off, hides no other."""
    for line in data.split(b"\n"):
        if line.strip():
            with suppress(Damaged, ValueError):
                yield _decoded(line)


def _decoded(line: bytes) -> Act:
    """Mostly by hand: `status` reads a month of lines, and this takes a quarter of the time."""
    if b'"checks":' in line:
        return canonical.decode(Act, line, what="a line of the log of acts")
    raw = json.loads(line)
    if not isinstance(raw, dict) or "verb" not in raw:
        raise ValueError(line)
    known = {name: raw[name] for name in _KINDS if name in raw}
    if not all(isinstance(value, _KINDS[name]) for name, value in known.items()):
        raise ValueError(line)
    return Act(**known)


#: What the fields of a line are: as their defaults, but a duration may be written without a point.
_KINDS: dict[str, tuple[type, ...]] = {
    "verb": (str,),
    "facts": (dict,),
    **{one.name: (type(one.default), int) for one in fields(Act) if isinstance(one.default, float)},
    **{one.name: (type(one.default),) for one in fields(Act) if isinstance(one.default, str | int)},
}


def last_failures(settings: Settings, system: str, now: datetime) -> tuple[Act, ...]:
    """Of each job of a system (of a copy: for each place), its newest failure that no later success has mended."""
    return unmended(of(settings, system, now - LOOK_BACK))


def unmended(done: Iterable[Act]) -> tuple[Act, ...]:
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


def beyond(settings: Settings, place: Place, *, most: int | None = None) -> tuple[tuple[Act, ...], Place]:
    """What was written since (at most so many lines), and where that ends. A line that is still being written is left for
    the next look."""
    found: list[Act] = []
    for file in _files(paths.acts(settings.state_folder)):
        if file.stem < place.file:
            continue
        start = place.offset if file.stem == place.file else 0
        with file.open("rb") as stream:
            if start > os.fstat(stream.fileno()).st_size:
                start = 0  # another log: the state folder was made anew
            stream.seek(start)
            for line in stream:
                if not line.endswith(b"\n") or (most is not None and len(found) >= most):
                    break
                found += _read(line)
                start += len(line)
        place = Place(file.stem, start)
        if most is not None and len(found) >= most:
            break
    return tuple(found), place
