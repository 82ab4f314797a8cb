"""The listing of a file tree: one line an entry, sorted by path, streamed in and out. FORMAT.md is normative.

A tree may hold millions of files, so nothing here needs the whole listing in memory: an entry is a line of
canonical JSON, and lines come in the order of the bytes of their paths.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json.encoder import encode_basestring
from typing import Any, Literal

from backup_pipeline.errors import Damaged
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import HEAL
from backup_pipeline.model.manifest import FileImage

LISTING_SUFFIX = ".files.zst"
#: A pack whose contents shrink, and one whose contents do not (images, archives): plain tar.
PACK_SUFFIX = ".tar.zst"
STORED_PACK_SUFFIX = ".tar"
#: A big content that is an object of its own: its plain bytes are the content and nothing else (offset 0).
BLOB_SUFFIX = ".blob.zst"
STORED_BLOB_SUFFIX = ".blob"

#: Digests that are kept of a content where rows say them, beside its SHA-256; and how many bytes each has.
DIGESTS = {"md5": 16, "sha1": 20}

EntryType = Literal["file", "folder", "link", "hardlink"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a content lies: in which pack of the tree (by its number), and where in the pack's plain tar."""

    pack: int
    #: Of the first byte of the content, behind the tar header. 0: the pack is this content, and no tar.
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
    #: It had holes: a restore leaves runs of zeros out where the file system allows it.
    sparse: bool = False
    #: What the content is, by its bytes (`sources.files.media`), where the tree has a policy that asks; empty: not looked at.
    media: str = ""
    #: Of the content of a file, by their names in DIGESTS: those that `refs:` asks for.
    digests: dict[str, str] | None = None

    @property
    def sort_key(self) -> bytes:
        return os.fsencode(self.path)


def line_of(entry: FileEntry) -> bytes:
    """Canonical JSON, as `canonical.encode` writes it, but written by hand: a tree has millions of lines. Bytes of a name
    that are not UTF-8 are written as \\udcXX, and nothing else is."""
    text = _text_of(entry)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _STRANGE.sub(lambda match: f"\\u{ord(match[0]):04x}", text).encode()


def placed(line: bytes, place: Place) -> bytes:
    """The line of a file whose place was not yet known. In a name the quotes would be escaped."""
    where = b'"place":{"offset":%d,"pack":%d},"sha256":"' % (place.offset, place.pack)
    return line.replace(b'"sha256":"', where, 1)


#: Of an entry: the one of a file of 50 TB, kept in blocks, is shorter.
LONGEST_LINE = 64 << 20
_STRANGE = re.compile("[\ud800-\udfff]")


def _text_of(entry: FileEntry) -> str:
    """The keys in the order of their names; those that hold their default are left out."""
    parts = []
    quote = encode_basestring
    if entry.digests:
        inner = ",".join([f"{quote(key)}:{quote(entry.digests[key])}" for key in sorted(entry.digests)])
        parts.append(f'"digests":{{{inner}}}')
    if entry.gid is not None:
        parts.append(f'"gid":{entry.gid}')
    if entry.image is not None:
        parts.append(f'"image":{canonical.encode(entry.image)[:-1].decode()}')
    if entry.media:
        parts.append(f'"media":{quote(entry.media)}')
    if entry.mode is not None:
        parts.append(f'"mode":{entry.mode}')
    if entry.mtime_ns:
        parts.append(f'"mtime_ns":{entry.mtime_ns}')
    parts.append(f'"path":{quote(entry.path)}')
    if entry.place is not None:
        parts.append(f'"place":{{"offset":{entry.place.offset},"pack":{entry.place.pack}}}')
    if entry.sha256:
        parts.append(f'"sha256":"{entry.sha256}"')
    if entry.size:
        parts.append(f'"size":{entry.size}')
    if entry.sparse:
        parts.append('"sparse":true')
    if entry.state is not None:
        inner = ",".join([f"{quote(key)}:{quote(entry.state[key])}" for key in sorted(entry.state)])
        parts.append(f'"state":{{{inner}}}')
    if entry.target:
        parts.append(f'"target":{quote(entry.target)}')
    if entry.type != "file":
        parts.append(f'"type":"{entry.type}"')
    if entry.uid is not None:
        parts.append(f'"uid":{entry.uid}')
    return "{" + ",".join(parts) + "}\n"


def read_lines(blocks: Iterable[bytes], *, what: str) -> Iterator[FileEntry]:
    """The entries of a listing, as its bytes come in."""
    rest = b""
    for block in blocks:
        whole, newline, tail = block.rpartition(b"\n")
        if not newline:
            rest += block
            if len(rest) > LONGEST_LINE:
                raise Damaged(f"{what} is not readable: a line of it does not end", remedy=HEAL)
            continue
        yield from _entries(rest + whole, what)
        rest = tail
    if rest:
        yield from _entries(rest, what)


def _entries(text: bytes, what: str) -> Iterator[FileEntry]:
    """Of whole lines. Decoded together: one call of the decoder a line costs half as much again."""
    lines = text.split(b"\n")
    for start in range(0, len(lines), 512):
        some = lines[start : start + 512]
        try:
            loaded = json.loads(b"[" + b",".join(some) + b"]")
            if len(loaded) != len(some):
                raise ValueError("a line is not one entry")
            found = [entry_of(one) for one in loaded]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise Damaged(
                f"{what} is not readable: {str(error).splitlines()[0]}",
                remedy=HEAL,
            ) from error
        yield from found


_TYPES = frozenset({"file", "folder", "link", "hardlink"})
_NUMBER = (int, type(None))


def entry_of(data: dict[str, Any]) -> FileEntry:
    """Unknown keys are ignored (a later minor version may add some); missing or mistyped ones are damage."""
    get = data.get
    place, image, state, digests = get("place"), get("image"), get("state"), get("digests")
    entry = FileEntry(
        data["path"],
        get("type", "file"),
        get("size", 0),
        get("mode"),
        get("mtime_ns", 0),
        get("sha256", ""),
        None if place is None else Place(place["pack"], place["offset"]),
        None if image is None else canonical.decode(FileImage, canonical.encode(image), what="an image"),
        get("target", ""),
        get("uid"),
        get("gid"),
        state,
        get("sparse", False),
        get("media", ""),
        digests,
    )
    known = (state is None or _is_texts(state)) and (digests is None or _is_texts(digests))
    if not (_is_right(entry) and known and (image is None or place is None)):
        raise ValueError(f"the entry {str(entry.path)[:80]!r} has a field of the wrong type")
    return entry


def _is_right(entry: Any) -> bool:
    place = entry.place
    return (
        entry.path.__class__ is str
        and entry.size.__class__ is int
        and entry.size >= 0
        and entry.mtime_ns.__class__ is int
        and entry.sha256.__class__ is str
        and entry.target.__class__ is str
        and entry.media.__class__ is str
        and entry.type in _TYPES
        and entry.mode.__class__ in _NUMBER
        and entry.uid.__class__ in _NUMBER
        and entry.gid.__class__ in _NUMBER
        and entry.sparse.__class__ is bool
        and (place is None or _is_place(place))
    )


def _is_place(place: Any) -> bool:
    return (
        place.pack.__class__ is int
        and place.offset.__class__ is int
        and place.pack >= 0
        and place.offset >= 0
    )


def _is_texts(found: Any) -> bool:
    return found.__class__ is dict and all(value.__class__ is str for value in found.values())
