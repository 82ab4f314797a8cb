"""The name of a backup: the UTC time at which it was begun, `2026-11-21T02-00-00-123Z`.

Names sort by time as plain text, and hold no character that a file system or a URL minds. A name is unique within a
system, because the vault creates the folder of a backup under the system's lock.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from backup_pipeline.errors import ConfigError, NotATime
from backup_pipeline.model.findings import HEAL_MANIFEST

_ID = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}-\d{2}-\d{2}-\d{3}Z")
#: In front of the id of a restore.
RESTORE = "r-"
_SYSTEM = re.compile(r"[a-z][a-z0-9_]{0,62}")
#: Names that mean something else: at the top of a vault, and in the graph (the asset `vault/scrub` and its group).
RESERVED = frozenset({"objects", "tmp", "vault"})


#: Clocks differ, by minutes; not by a day.
FUTURE = timedelta(days=1)


def backup_id(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment:%Y-%m-%dT%H-%M-%S}-{moment.microsecond // 1000:03d}Z"


def is_backup_id(text: str) -> bool:
    """A name of digits that is no time (the 45th of December) is none."""
    if _ID.fullmatch(text) is None:
        return False
    try:
        moment_of(text)
    except ValueError:
        return False
    return True


def restore_id(moment: datetime) -> str:
    """`r-2026-11-21T02-00-00-123Z`: sorted by time as a backup's id is, and never taken for one."""
    return RESTORE + backup_id(moment)


def is_restore_id(text: str) -> bool:
    return text.startswith(RESTORE) and is_backup_id(text.removeprefix(RESTORE))


def is_system_name(text: str) -> bool:
    """What may be the folder of a system in a vault; a name that is reserved in the graph alone is one."""
    return _SYSTEM.fullmatch(text) is not None and text not in ("objects", "tmp")


def moment_of(identifier: str) -> datetime:
    """Of a backup, or of a restore."""
    identifier = identifier.removeprefix(RESTORE)
    return datetime.strptime(identifier[:-1] + "000", "%Y-%m-%dT%H-%M-%S-%f").replace(tzinfo=UTC)


def now() -> datetime:
    return datetime.now(UTC)


def from_the_future(identifier: str, moment: datetime) -> bool:
    """Filed under a time that no clock shows yet: by a clock that was wrong, or by a writer to the store."""
    return moment_of(identifier) > moment + FUTURE


def timestamp(moment: datetime) -> str:
    """How a time is written inside a manifest: RFC 3339, UTC, microseconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_timestamp(text: str) -> datetime:
    """Raises Damaged: times are read from stores, and anything may stand there."""
    try:
        return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    except ValueError:
        raise NotATime(f"{text[:40]!r} is not a time", remedy=HEAL_MANIFEST) from None


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
