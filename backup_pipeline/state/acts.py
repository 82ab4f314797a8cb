"""What was done, however it was asked for: a line for each act, in the state folder.

    .backup-pipeline/acts/2026-11.jsonl

`operations/audit` writes it, for the CLI, the Python API and the steps of the graph. `status` reads the last failure of each
job from it, and the daemon reports what no run of Dagster has recorded. The log is a memory of this machine and no
proof: what a backup is worth stands beside the backup. So a log that cannot be written fails nothing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path

from backup_pipeline.config import Settings, redact
from backup_pipeline.errors import Damaged, VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.acts import Act, Check, Place
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


def redacted(act: Act, secrets: Iterable[str]) -> Act:
    """Without a secret, and not longer than a line should be."""
    hidden = tuple(secrets)
    return replace(
        act,
        message=redact(act.message, hidden)[:LONGEST],
        remedy=redact(act.remedy, hidden)[:LONGEST],
        facts={
            name: redact(fact, hidden) if isinstance(fact, str) else fact for name, fact in act.facts.items()
        },
        checks=tuple(_redacted(check, hidden) for check in act.checks),
    )


def _redacted(check: Check, hidden: tuple[str, ...]) -> Check:
    findings = tuple(
        replace(one, message=redact(one.message, hidden)[:LONGEST], remedy=redact(one.remedy, hidden))
        for one in sorted(check.findings, key=_by_severity)[:MOST_FINDINGS]
    )
    return replace(check, said=redact(check.said, hidden)[:LONGEST], findings=findings)


def _by_severity(finding: Finding) -> int:
    return ("error", "warning", "info").index(finding.severity)


def record(settings: Settings, act: Act) -> VaultError | None:
    """Write it down, without a secret. What stood in the way is given back, and never raised."""
    act = replace(act, at=act.at or timestamp(datetime.now(UTC)))
    kept = redacted(act, settings.secrets)
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
