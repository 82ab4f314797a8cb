"""The listing of a file tree: one line an entry, sorted by path, streamed in and out. FORMAT.md is normative.

A tree may hold millions of files, so nothing here needs the whole listing in memory: an entry is a line of
canonical JSON, and lines come in the order of the bytes of their paths.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import FileImage

LISTING_SUFFIX = ".files.zst"
#: A pack whose contents shrink, and one whose contents do not (images, archives): plain tar.
PACK_SUFFIX = ".tar.zst"
STORED_PACK_SUFFIX = ".tar"

EntryType = Literal["file", "folder", "link", "hardlink"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a content lies: in which pack of the tree (by its number), and where in the pack's plain tar."""

    pack: int
    #: Of the first byte of the content, behind the tar header.
    offset: int


@dataclass(frozen=True, slots=True)
class FileEntry:
    #: Relative, with `/`; bytes that are not UTF-8 are surrogate escapes, as Python's `os.fsdecode` makes them.
    path: str
    type: EntryType = "file"
    size: int = 0
    #: Permission bits, as in 0o644; None where the source has none (a bucket).
    mode: int | None = None
    mtime_ns: int = 0
    #: Of the content of a file.
    sha256: str = ""
    #: In which pack the content is; None for an empty file, a folder, a link, and a file that is kept as blocks.
    place: Place | None = None
    #: A big file that is kept as page-aligned blocks.
    image: FileImage | None = None
    #: link: what it points to · hardlink: the path of the entry whose content it shares
    target: str = ""
    uid: int | None = None
    gid: int | None = None
    #: What tells a later backup that the content is the same without reading it: ctime_ns, inode, etag, hash …
    state: dict[str, str] | None = None
    #: What the content is, by its bytes (`sources.files.media`), where the tree has a policy that asks; empty: not looked at.
    media: str = ""

    @property
    def sort_key(self) -> bytes:
        return os.fsencode(self.path)


def line_of(entry: FileEntry) -> bytes:
    return canonical.encode(entry)


def read_lines(blocks: Iterable[bytes], *, what: str) -> Iterator[FileEntry]:
    """The entries of a listing, as its bytes come in."""
    rest = b""
    for block in blocks:
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        for line in lines:
            yield canonical.decode(FileEntry, line, what=what)
    if rest:
        yield canonical.decode(FileEntry, rest, what=what)
