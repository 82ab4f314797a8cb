"""What there is, at a glance: the line of a backup in `list`, a system in `status`, a copy beside the vault, the daemon."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Scope
from backup_pipeline.model.orders import Kind
from backup_pipeline.model.vault_records import Ack

Signature = Literal["signed", "unsigned", "wrong"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of `list`."""

    system: str
    id: str
    kind: Kind
    scope: Scope
    #: None, here and below: it is encrypted, and this host can neither open nor remember it.
    tables: int | None
    rows: int | None
    #: Plain bytes of the rows or of the database file, and of all file trees.
    bytes: int
    #: Bytes of the objects that it names, shared ones included.
    stored: int
    seconds: float
    #: Of tables, and the segments of a file.
    chunks: int | None
    reused_chunks: int | None
    #: The last drill, if it passed.
    proven_at: str | None = None
    verified_at: str | None = None
    #: Errors and lasting warnings that the backup, or a look at it, has told.
    findings: int = 0
    #: Those of them that are errors and that no person accepted.
    errors: int = 0
    #: The last verification found one that no person accepted. What the judgement of the content found does not count.
    failed: bool = False
    left_out: int | None = 0
    #: In all its file trees.
    files: int | None = 0
    #: Something that was asked for could not be taken; its findings say what.
    degraded: bool = False
    #: Why it was pinned; None: it is not.
    pinned: str | None = None
    objects: int = 0
    file_bytes: int | None = 0
    #: The backup that it follows.
    previous: str | None = None
    #: When it was last drilled, however that ended.
    drilled_at: str | None = None
    #: signed · unsigned · wrong; None: the configuration names no signers.
    signature: Signature | None = None
    #: Files of proofs that cannot be read: they count for nothing.
    unreadable_proofs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Broken:
    """A backup that cannot even be listed."""

    system: str
    id: str
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class CopyLag:
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
            remedy = self.remedy or "see whether the store answers, and whether its credentials still hold"
            return (Finding.of("copy-unreachable", name=self.copy, why=self.unreachable, remedy=remedy),)
        if not self.late:
            return ()
        count = len(self.missing)
        what = "1 backup is" if count == 1 else f"{count} backups are"
        return (
            Finding.of(
                "copy-behind",
                name=self.copy,
                behind=what,
                oldest=self.missing[0],
                age=_age(self.behind_seconds),
                allowed=_age(self.within),
                system=self.system,
                examples=self.missing,
            ),
        )


@dataclass(frozen=True, slots=True)
class SystemStatus:
    """What `status` says of a system: would you sleep well?"""

    system: str
    latest: Listed | None
    age_seconds: float | None
    backups: int
    proven: Listed | None
    fresh: bool
    findings: tuple[Finding, ...] = ()
    #: By the schedule, in UTC; None without one.
    next_backup: str | None = None
    next_drill: str | None = None
    zone: str = "UTC"
    #: How far each of its copies is behind.
    copies: tuple[CopyLag, ...] = ()
    #: Findings that a person accepted.
    accepted: tuple[Ack, ...] = ()
    #: The newest full backup of the kind `scheduled`.
    scheduled: str | None = None

    @property
    def protected(self) -> bool:
        """Fresh, proven and whole: nothing that a person should look at."""
        return not any(finding.severity in ("error", "warning") for finding in self.findings)


@dataclass(frozen=True, slots=True)
class Runner:
    """The Dagster daemon that this machine can see."""

    #: never: there was none · unknown: its instance is not on this machine, and does not answer
    state: Literal["runs", "stopped", "never", "unknown"]
    seen: datetime | None = None
    #: Schedules that were switched off in the UI.
    off: tuple[str, ...] = ()


def _age(seconds: float) -> str:
    hours = seconds / 3600
    if hours >= 48:
        return f"{hours / 24:.1f} days"
    return f"{hours:.0f} hours" if hours >= 2 else f"{seconds / 60:.0f} minutes"
