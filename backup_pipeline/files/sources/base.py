"""The contract of a file source. `backup_pipeline_tests/contracts/files_contract.py` holds every kind to it.

A file source lists what there is and opens what it is asked for; it never writes, and it does not know the vault.

- `entries` yields in the order of the bytes of the paths, each path once, without holding them all in memory. It
  reads no content. A folder without the right to enter it is yielded as a Trouble, and the walk goes on: one closed
  folder must not cost the backup of all others.
- Links are entries of their own; they are never followed, so nothing outside of the tree is read.
- `open` gives the content as a stream. `SourceUnavailable` is worth another try; `Vanished`, `Unreadable` are not.
- `settled` asks again, after the content was read, whether it is still the file that was listed. What grew,
  shrank or was replaced meanwhile is read again by the caller, a few times, and then reported.
- `open` is called by several threads. A source that waits for a network says by `at_once: int` how many files may be read
  at a time; without it, that is what a local disk takes.
- A source that other processes can read as well says by `root: Path` where; they read it by `LocalSource.read_into`.
- Nothing that a source says contains a secret.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from backup_pipeline.errors import Unreadable, Vanished
from backup_pipeline.model.files import EntryType
from backup_pipeline.model.findings import Report

__all__ = ["FileSource", "Found", "Trouble", "Unreadable", "Vanished"]


@dataclass(frozen=True, slots=True)
class Found:
    """An entry as the source lists it, before its content was read."""

    #: Relative, with `/`; bytes that are not UTF-8 as surrogate escapes.
    path: str
    type: EntryType = "file"
    size: int = 0
    mode: int | None = None
    mtime_ns: int = 0
    #: Of a link: what it points to, as it stands there.
    target: str = ""
    uid: int | None = None
    gid: int | None = None
    #: Equal to that of the earlier backup, together with size and mtime: the content is the same. Local: ctime_ns and
    #: inode · bucket: etag and version · Dropbox: content hash and revision.
    state: dict[str, str] = field(default_factory=dict)
    #: It has holes: fewer bytes on the disk than it is long.
    sparse: bool = False
    #: Entries with the same identity are one file with several names (hard links); empty: it has one name only.
    identity: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is there and could not be listed or taken."""

    path: str
    #: file-unreadable | folder-unreadable | file-special | name-not-storable …
    code: str
    message: str


class FileSource(Protocol):
    @property
    def kind(self) -> str:
        """local | bucket | dropbox"""

    @property
    def address(self) -> str:
        """For people, the manifest and reports; without a secret."""

    def entries(self) -> Iterator[Found | Trouble]: ...

    def open(self, found: Found) -> AbstractContextManager[BinaryIO]: ...

    def settled(self, found: Found) -> Found | None:
        """What there is now under that path; None when nothing is."""

    def diagnose(self) -> Report:
        """Can this tree be backed up as it should be? Asked by `doctor`."""
