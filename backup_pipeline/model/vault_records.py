"""The small records of a vault: pins, forgotten backups, garbage, scrubbed parts, acknowledgements. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field

from backup_pipeline.model.manifest import Link


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
