"""The name of a backup: the UTC time at which it was begun, `2026-11-21T02-00-00-123Z`.

Names sort by time as plain text, hold no character that a file system or a URL minds, and are unique
within a system because the vault creates the folder of a backup under the system's lock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from backup_pipeline.errors import ConfigError

_ID = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}-\d{3}Z")
_SYSTEM = re.compile(r"[a-z][a-z0-9_]{0,62}")
#: Names that mean something else: at the top of a vault, and in the graph (the asset `vault/scrub` and its group).
RESERVED = frozenset({"objects", "tmp", "vault"})


def backup_id(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H-%M-%S}-{moment.microsecond // 1000:03d}Z"


def is_backup_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def moment_of(identifier: str) -> datetime:
    return datetime.strptime(identifier[:-1] + "000", "%Y-%m-%dT%H-%M-%S-%f").replace(tzinfo=UTC)


def timestamp(moment: datetime) -> str:
    """How a time is written inside a manifest: RFC 3339, UTC, microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)


def check_system_name(name: str) -> str:
    """A system's name becomes a folder, a Dagster group and part of a job's name, so it is kept plain."""
    if not _SYSTEM.fullmatch(name) or name in RESERVED:
        raise ConfigError(
            f"{name!r} cannot be the name of a system",
            remedy="use a lower-case letter followed by lower-case letters, digits or _ "
            f"(and none of {', '.join(sorted(RESERVED))}); backups that were made under this name are still "
            "listed, verified and restored by it",
        )
    return name
