"""The small records of a vault: pins, forgotten backups, garbage, scrubbed parts, acknowledgements, restores. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from backup_pipeline.model.manifest import Engine, Link, ObjectRef
from backup_pipeline.model.outline import OutlineObject


@dataclass(frozen=True, slots=True)
class Pin:
    """A person wants this backup kept, against every rule."""

    at: str
    by: str = ""
    reason: str = ""
    format: int = 1


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A backup that was removed on purpose. It takes the place of the manifest in the history."""

    system: str
    id: str
    #: Of the manifest as it lay in the store; "" where it was gone or unreadable already.
    manifest_sha256: str
    at: str
    #: prune · forget · repair …, and why.
    why: str
    by: str = ""
    previous: Link | None = None
    format: int = 1

    @property
    def link(self) -> Link:
        return Link(self.id, self.manifest_sha256)


@dataclass(frozen=True, slots=True)
class Newest:
    """Which backup of a system was written last."""

    id: str
    manifest_sha256: str
    format: int = 1


@dataclass(frozen=True, slots=True)
class Accepted:
    """Up to this backup, a person has found the sizes right."""

    id: str
    at: str
    by: str = ""
    format: int = 1


@dataclass(frozen=True, slots=True)
class Garbage:
    """Objects that nothing names."""

    #: When prune last looked.
    at: str = ""
    #: Since when nothing names them → the names of the objects, without folder.
    marked: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: Being deleted now, by the holder of the lock at the top of the vault.
    condemned: tuple[str, ...] = ()
    format: int = 1


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """One of the 256 parts of the objects, as it was last read back."""

    at: str
    objects: int = 0
    bytes: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class ScrubState:
    #: First two hexadecimal digits → when that part was read, and what was found.
    parts: dict[str, Scrubbed] = field(default_factory=dict)
    format: int = 1


@dataclass(frozen=True, slots=True)
class Ack:
    """A finding of a system that a person accepted."""

    code: str
    at: str
    #: The tables, and trees as `files.NAME`, that it was about; "" for the whole system.
    about: tuple[str, ...] = ("",)
    #: From then on it is told again; "" for never.
    until: str = ""
    because: str = ""
    #: Digests of what was told, where the same code tells each time of another event: see `acknowledgements`.
    told: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Acks:
    acks: tuple[Ack, ...] = ()
    format: int = 1


# ── restores

#: unknown: it was about to be committed, and it is not known whether it was.
RestoreState = Literal["done", "failed", "unknown"]
#: before: the rows that were updated or deleted, as they were · after: those that were created or updated, as they are
Which = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class RowImage:
    """Rows of one table that a restore touched."""

    schema: str
    table: str
    which: Which
    columns: tuple[str, ...]
    #: The columns that name a row; empty where the table has no key.
    key: tuple[str, ...]
    rows: int
    objects: tuple[ObjectRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Prepared:
    """A restore right before its commit in the database: what it will have done if the commit succeeds."""

    system: str
    #: Given when the record is begun.
    id: str
    #: The backup that the rows came from.
    backup: Link
    #: Where that was read: `vault`, or the name of a copy.
    place: str
    #: The database that was written to. Without a password.
    target: str
    engine: Engine
    #: user@host
    by: str
    began: str
    #: What was asked, as JSON knows it.
    order: dict[str, Any] = field(default_factory=dict)
    #: What the merge planned, as JSON knows it.
    plan: dict[str, Any] = field(default_factory=dict)
    #: Of the plan.
    digest: str = ""
    #: The backup of the tables as they were; "" where none was made.
    pre_restore: str = ""
    #: The restore that this one takes back.
    undoes: str = ""
    images: tuple[RowImage, ...] = ()
    format: int = 1


@dataclass(frozen=True, slots=True)
class RestoreOutline:
    """What may be known of a restore without a key."""

    system: str
    id: str
    #: The id of the backup that the rows came from.
    backup: str
    began: str
    objects: tuple[OutlineObject, ...] = ()
    pre_restore: str = ""
    undoes: str = ""
    format: int = 1


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a restore."""

    system: str
    id: str
    at: str
    #: What was written, as JSON knows it: the counts of each table.
    result: dict[str, Any] = field(default_factory=dict)
    #: Why it failed.
    why: str = ""
    #: Its process ended before it noted this: a later look at the database told it.
    found_later: bool = False
    format: int = 1
