"""How values are written in backup.yaml: sizes, durations, schedules, zones, owners, tags."""

from __future__ import annotations

import re
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field

from backup_pipeline.errors import ConfigError
from backup_pipeline.model.ids import check_system_name

_SIZE = re.compile(r"\s*(\d+)\s*([kmgt]?)i?b?\s*", re.IGNORECASE)
_DURATION = re.compile(r"\s*(\d+)\s*(s|m|h|d|w)\s*", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_OWNER = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+|team:\S+")
_TAG_KEY = re.compile(r"([A-Za-z0-9_.-]{1,63}/)?[A-Za-z0-9_.-]{1,63}")
_TAG_VALUE = re.compile(r"[A-Za-z0-9_.-]{0,63}")
_PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_GROUP = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")


def _size(value: object) -> object:
    """64MB, 64 MiB, 1g or a number of bytes; powers of 1024, as disks and databases count."""
    if not isinstance(value, str):
        return value
    if match := _SIZE.fullmatch(value):
        return int(match[1]) * 1024 ** " kmgt".index(match[2].lower() or " ")
    raise ValueError(f"{value!r} is not a size; write it as 64MiB, 1GiB or a number of bytes")


def _duration(value: object) -> object:
    """36h, 2d, 90m or a number of seconds."""
    if not isinstance(value, str):
        return value
    if match := _DURATION.fullmatch(value):
        return int(match[1]) * _SECONDS[match[2].lower()]
    raise ValueError(f"{value!r} is not a duration; write it as 90m, 36h, 2d, 5w or a number of seconds")


def _cron(value: str) -> str:
    """Five fields, and a time that comes: Dagster takes no seconds and no 30 February."""
    # Imported here: it costs more than all the rest of a small command, and few files have no schedule to check.
    from croniter import CroniterBadCronError, CroniterBadDateError, croniter

    try:
        good = len(croniter.expand(value)[0]) == 5
        croniter(value).get_next()
    except (CroniterBadCronError, CroniterBadDateError):
        good = False
    if not good:
        raise ValueError(
            f'{value!r} is not a cron expression; five fields, e.g. "0 2 * * *" for 02:00 every day'
        )
    return value


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{value!r} is not a time zone; use a name such as Europe/Berlin") from None
    return value


def _owner(value: str) -> str:
    if not _OWNER.fullmatch(value):
        raise ValueError(f"{value!r} is neither an e-mail address nor a team, such as team:platform")
    return value


def _tag_key(value: str) -> str:
    if not _TAG_KEY.fullmatch(value):
        raise ValueError(f"{value!r} cannot be a tag: letters, digits, _ . - (63 at most)")
    return value


def _tag_value(value: str) -> str:
    if not _TAG_VALUE.fullmatch(value):
        raise ValueError(f"{value!r} cannot be the value of a tag: letters, digits, _ . - (63 at most)")
    return value


def _system(value: str) -> str:
    try:
        return check_system_name(value)
    except ConfigError as error:
        raise ValueError(f"{error.message}; {error.remedy}") from error


def _group(value: str) -> str:
    if not _GROUP.fullmatch(value):
        raise ValueError(f"{value!r} cannot be the name of a group: a letter, then letters, digits, _ or -")
    return value


def _plain_name(value: str) -> str:
    if not _PLAIN_NAME.fullmatch(value):
        raise ValueError(
            f"{value!r} cannot be a name here: a lower-case letter, then letters, digits or _ (40)"
        )
    return value


def _environment(value: str) -> str:
    if value in NOT_ENVIRONMENTS:
        raise ValueError(f"{value!r} means something else; name the environment: production, staging, test …")
    return _plain_name(value)


#: What `--from-environment` and messages say of a database without a marker, and of one that cannot be told.
NOT_ENVIRONMENTS = ("none", "unknown")

Size = Annotated[int, BeforeValidator(_size), Field(gt=0)]
Duration = Annotated[int, BeforeValidator(_duration), Field(gt=0)]
Cron = Annotated[str, AfterValidator(_cron)]
Zone = Annotated[str, AfterValidator(_zone)]
Owner = Annotated[str, AfterValidator(_owner)]
TagKey = Annotated[str, AfterValidator(_tag_key)]
TagValue = Annotated[str, AfterValidator(_tag_value)]
SystemName = Annotated[str, AfterValidator(_system)]
GroupName = Annotated[str, AfterValidator(_group)]
#: Of the operating system. Whether it is there is asked when it is used.
UnixGroup = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.@-]{0,63}$")]
#: Of a file tree: it becomes part of an asset's name.
TreeName = Annotated[str, AfterValidator(_plain_name)]
#: Of a copy: the same.
CopyName = Annotated[str, AfterValidator(_plain_name)]
#: production, staging …
Environment = Annotated[str, AfterValidator(_environment)]
#: `orders`, `public.*`: matched against `schema.table` and the bare name.
Glob = Annotated[str, Field(min_length=1)]
