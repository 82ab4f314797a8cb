"""What a restore could not make, or was told not to make: one list, with the reason and the SQL of each, as a file that
psql can run once the reason is gone."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.databases.postgres.restore.screening import without_passwords
from backup_pipeline.databases.postgres.restore.statements import Statement
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.findings import Finding


@dataclass(frozen=True, slots=True)
class Left:
    """One statement of the backup that the target does not have."""

    reason: str
    #: Without the semicolon.
    sql: str
    #: It was asked for (`--no-code`). Everything else makes the restore end with an error.
    asked: bool = False
    #: Others may build on it: what is missed by them is left out as well.
    needed: bool = False

    @property
    def what(self) -> str:
        return self.sql.partition("\n")[0][:100]

    def finding(self) -> Finding:
        return Finding.of(
            "not-restored",
            subject=self.what,
            reason=self.reason,
            examples=(f"{without_passwords(self.sql)};",),
        )


def need_place(path: Path) -> None:
    """Asked before the restore begins: afterwards it would be too late to say that the list has no place."""
    if not os.access(path.parent, os.W_OK | os.X_OK) or path.is_dir():
        raise ConfigError(
            f"{path}: the list of what could not be restored cannot be written there",
            remedy="name a file in a folder that may be written: --remainder FILE",
        )


def write(path: Path, subject: str, left: Iterable[Left]) -> None:
    """For its owner alone: the SQL holds the bodies of functions. An older list of this name is replaced."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            file.write(script(subject, left))
            file.flush()
            os.fsync(file.fileno())
        os.replace(staged, path)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise


def script(subject: str, left: Iterable[Left]) -> str:
    parts = [
        f"{_comment(f'What the restore of {subject} left out, and why. Read it, then run it with psql.')}\n"
        # Whole or not at all: a GRANT must not hold where the statement about the owner before it failed.
        "BEGIN;\nSELECT pg_catalog.set_config('search_path', '', false);\nSET check_function_bodies = false;\n"
    ]
    for one in left:
        # psql would take a backslash outside of quotes for a command of its own.
        meta = any(token.text == "\\" for token in Statement(one.sql, 1).tokens())
        parts.append(f"{_comment(one.reason)}\n{_comment(one.sql) if meta else one.sql + ';'}\n")
    return "\n".join([*parts, "COMMIT;\n"])


def _comment(text: str) -> str:
    return "\n".join(f"-- {line}" for line in text.splitlines())
