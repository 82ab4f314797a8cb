"""Every error that this package raises on purpose.

    BackupError
    ├── ConfigError            the configuration file, or an argument, is wrong
    │   └── UsageError         … of the command line
    ├── NotFound               no such system, table or object
    │   └── NoBackup           … a backup: a copy may have it (health/diagnosis.py says so)
    ├── SourceError            the database cannot be read as it should be
    │   ├── SourceUnavailable  … because it does not answer (worth another try)
    │   ├── PermissionMissing  … because a right is missing (the remedy holds the GRANTs)
    │   ├── NotSupported       … because a faithful copy is not possible: refused, never approximated
    │   ├── SourceChanged      … because it changed under our hands (a new snapshot makes it right)
    │   ├── Vanished           … a file: it was there when its tree was listed, and is not any more
    │   └── Unreadable         … a file: it is there, and may not or cannot be read
    ├── VaultError             the vault cannot be read or written
    │   ├── AlreadyExists      a conditional create found something there
    │   ├── StoreUnavailable   the store does not answer (worth another try)
    │   ├── StoreChanged       objects that a backup builds on went away (a new run makes it right)
    │   ├── NotAllowed             the store refuses for want of a right, or because it is locked against it
    │   ├── NotThawed          an object lies in an archive and has to be thawed before it can be read
    │   └── VaultBusy          another backup of the same system is running
    ├── KeyMissing             it is encrypted, and what would open it is not here
    ├── CopyFailed             a copy does not hold what it should; the backup itself is not touched by that
    ├── Damaged                stored bytes are not what the manifest says
    │   └── NotATime           … and no time stands where one should (a ValueError, too)
    ├── Incomplete             less was produced than was asked for
    ├── RestoreError           the restore did not happen; the target is as it was
    │   ├── TargetNotEmpty     … because the target already holds something
    │   ├── InTheWay           … because a link, a file or a folder lies where something else should be
    │   ├── TargetUnavailable  … because the target does not answer, or another session is in the way (worth another try)
    │   ├── TargetChanged      … because the target was altered since it was looked at (a new plan makes it right)
    │   └── RowsRefused        … because the database refuses a row (a data error: the others could be written)
    ├── ErrorsFound            the work is done, and it found an error (a backup that is made, and not as it should be)
    │   └── ProofFailed        … of a verification, a drill or a scrub
    ├── ToolMissing            a program that is needed is not on this machine
    ├── ServerFailed           a throw-away database server did not start
    ├── NotProtected           `status`: a system has no fresh, proven, whole backup
    ├── NotReady               `doctor`: something stands in the way of the next backup; `alert test`: of a message
    ├── HistoryUnavailable     the Dagster instance cannot be opened; the commands then go on without it
    ├── NotPruned              `prune`: something was in the way of forgetting, and was left as it is
    ├── CommandFailed          the command of `around` ended with another code than 0, which is the exit code
    ├── Interrupted            Ctrl-C
    │   └── Terminated         … or SIGTERM
    └── InternalError          a defect of this package: every other exception

A message says what happened; `remedy` says what to do about it, and both are shown wherever the
error surfaces. Exit codes and HTTP statuses are class attributes, here and nowhere else. Messages
never contain a password: code that builds one from a URL passes it through `config.redact` first; nor
values of rows, which reach logs, alerts and the history of runs (`values` has them, for a terminal).
"""

from __future__ import annotations


class BackupError(Exception):
    """The root. `code` is stable: scripts and the JSON output rely on it."""

    code = "error"
    exit_code = 1
    http_status = 500

    def __init__(self, message: str, *, remedy: str = "", values: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        #: What rows hold. It is shown on a terminal, and is nowhere written down.
        self.values = values

    def __str__(self) -> str:
        return f"{self.message}\n→ {self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (worker → parent); the keyword must survive that.
        return (_rebuild, (type(self), self.message, self.remedy, self.values))


def _rebuild(kind: type[BackupError], message: str, remedy: str, values: str = "") -> BackupError:
    return kind(message, remedy=remedy, values=values)


class ConfigError(BackupError):
    code, exit_code, http_status = "config", 2, 400


class UsageError(ConfigError):
    code = "usage"


class NotFound(BackupError):
    code, exit_code, http_status = "not-found", 3, 404


class NoBackup(NotFound):
    code = "no-backup"


class SourceError(BackupError):
    code, exit_code, http_status = "source", 4, 502


class SourceUnavailable(SourceError):
    code, http_status = "source-unavailable", 503


class PermissionMissing(SourceError):
    code, http_status = "permission-missing", 502


class NotSupported(SourceError):
    code, http_status = "not-supported", 422


class SourceChanged(SourceError):
    code, http_status = "source-changed", 409


class Vanished(SourceError):
    code, http_status = "file-vanished", 409


class Unreadable(SourceError):
    code, http_status = "file-unreadable", 502


class VaultError(BackupError):
    code, exit_code, http_status = "vault", 5, 502


class AlreadyExists(VaultError):
    code, http_status = "already-exists", 409

    #: Whether what is there is something else than what was to be put; None where the store does not know.
    differs: bool | None = None


class StoreUnavailable(VaultError):
    code, http_status = "store-unavailable", 503

    #: Seconds that the store asked us to wait before we try again.
    retry_after: float | None = None
    #: A part of the work was done: trying again goes on from there, and is no repetition.
    progressed = False


class NotAllowed(VaultError):
    code, http_status = "not-allowed", 502


class NotThawed(VaultError):
    code, http_status = "not-thawed", 409


class StoreChanged(VaultError):
    code, http_status = "store-changed", 409


class VaultBusy(VaultError):
    code, exit_code, http_status = "busy", 6, 409


class Damaged(BackupError):
    code, exit_code, http_status = "damaged", 7, 500


class NotATime(Damaged, ValueError):
    code = "not-a-time"


class Incomplete(BackupError):
    code, exit_code, http_status = "incomplete", 8, 500


class RestoreError(BackupError):
    code, exit_code, http_status = "restore", 9, 500


class TargetNotEmpty(RestoreError):
    code, http_status = "target-not-empty", 409


class InTheWay(RestoreError):
    code, http_status = "in-the-way", 409


class TargetUnavailable(RestoreError):
    code, http_status = "target-unavailable", 503


class TargetChanged(RestoreError):
    code, http_status = "target-changed", 409


class RowsRefused(RestoreError):
    code, http_status = "rows-refused", 422

    #: Of PostgreSQL: 23505 is a broken unique constraint.
    sqlstate = ""


class ErrorsFound(BackupError):
    code, exit_code, http_status = "errors-found", 10, 500


class ProofFailed(ErrorsFound):
    code = "proof-failed"


class ToolMissing(BackupError):
    code, exit_code, http_status = "tool-missing", 11, 500


class ServerFailed(BackupError):
    code, exit_code, http_status = "server-failed", 12, 500


class NotProtected(BackupError):
    code, exit_code, http_status = "not-protected", 13, 500


class NotReady(BackupError):
    code, exit_code, http_status = "not-ready", 14, 500


class HistoryUnavailable(BackupError):
    code, exit_code, http_status = "history-unavailable", 15, 503


class KeyMissing(BackupError):
    code, exit_code, http_status = "key-missing", 16, 409


class CopyFailed(BackupError):
    code, exit_code, http_status = "copy-failed", 17, 502


class NotPruned(BackupError):
    code, exit_code, http_status = "not-pruned", 18, 409


class CommandFailed(BackupError):
    code, exit_code, http_status = "command-failed", 1, 500

    @classmethod
    def with_code(cls, command: str, exit_code: int) -> CommandFailed:
        """`around` ends as its command did."""
        made = cls(
            f"{command} ended with exit code {exit_code}",
            remedy="what it has changed is shown above",
        )
        made.exit_code = exit_code
        return made


class Interrupted(BackupError):
    code, exit_code, http_status = "interrupted", 130, 503


class Terminated(Interrupted):
    code, exit_code = "terminated", 143


class InternalError(BackupError):
    code, exit_code, http_status = "internal", 70, 500
