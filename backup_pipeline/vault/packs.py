"""Packs: the contents of many files in one object, and out of it again.

A pack is a tar of about 128 MiB (`.tar` where its contents do not shrink, else `.tar.zst`). A member's name is the
SHA-256 of its content and nothing else: the names of files stand in the listing only. So a content is stored once for
any number of files, and no hostile name is ever in a pack. `zstd -dc pack | tar x` gives contents by digest.

A big content is an object of its own (`.blob`, `.blob.zst`): it can then be stored during the first reading, before its
digest is known. For a reader it is a pack that holds one content, at offset 0.
"""

from __future__ import annotations

import hashlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import cast

import zstandard

from backup_pipeline.errors import Damaged
from backup_pipeline.model.files import (
    BLOB_SUFFIX,
    PACK_SUFFIX,
    STORED_BLOB_SUFFIX,
    STORED_PACK_SUFFIX,
    FileEntry,
    Place,
)
from backup_pipeline.model.findings import HEAL
from backup_pipeline.model.manifest import FileTree, ObjectRef
from backup_pipeline.vault.images import read_image
from backup_pipeline.vault.objects import Objects, ObjectWriter, damaged, read_blocks

#: A pack is closed when it holds this much.
TARGET = 128 * 1024 * 1024
#: A content longer than this is an object of its own. Up to here a content is held in memory.
LARGEST = 16 * 1024 * 1024
#: Small contents are written together, in pieces of about this size; a content of `LARGE` bytes is a piece of its own.
PIECE = 1024 * 1024
LARGE = 256 * 1024
#: So many pieces may wait for the writing thread.
WAITING = 8
#: What is tried before a content is called incompressible.
SAMPLE = 4 * 1024

BLOCK = 512
_END = bytes(2 * BLOCK)
EMPTY_SHA256 = hashlib.sha256().hexdigest()


def _template() -> tuple[bytes, int]:
    """A ustar header but for name, size and checksum; and the sum of its bytes with blanks for the checksum."""
    header = bytearray(BLOCK)
    header[100:108] = b"0000444\0"
    header[108:116] = header[116:124] = b"0000000\0"
    header[136:148] = b"00000000000\0"
    header[148:156] = b" " * 8
    header[156:157] = b"0"
    header[257:265] = b"ustar\x0000"
    return bytes(header), sum(header)


_HEADER, _SUM = _template()


def header_of(sha256: str, size: int) -> bytes:
    """Of a regular file, mode 0444, without an owner and with time 0: the same content, the same bytes."""
    name, length = sha256.encode(), b"%011o\0" % size
    if len(name) != 64 or len(length) != 12:
        raise ValueError(
            f"a member of a pack is named by its digest and shorter than 8 GiB, not {sha256!r}, {size}"
        )
    checksum = b"%06o\0 " % (_SUM + sum(name) + sum(length))
    return b"".join(
        (name, _HEADER[64:124], length, _HEADER[136:148], checksum, _HEADER[156:BLOCK]),
    )


_trial = threading.local()


def shrinks(data: bytes | memoryview) -> bool:
    """Whether compressing is worth it, by a piece from the middle (pictures begin with text). A wrong guess costs
    little either way."""
    view = memoryview(data)
    begin = max(0, (len(view) - SAMPLE) // 2)
    sample = view[begin : begin + SAMPLE]
    # One in each thread: making one costs more than the trial.
    packer = getattr(_trial, "packer", None)
    if packer is None:
        packer = _trial.packer = zstandard.ZstdCompressor(level=1)
    return len(packer.compress(sample)) < 0.9 * len(sample)


class Tar:
    """The plain bytes of a pack, given to `put` in pieces of about `PIECE` bytes."""

    def __init__(self, put: Callable[[bytes | memoryview], None]) -> None:
        self.size = 0
        self.contents = 0
        self._put = put
        self._gathered: list[bytes | memoryview] = []
        self._gathered_size = 0

    def add(self, sha256: str, data: bytes | memoryview) -> int:
        """Returns where the content lies in the tar."""
        size = len(data)
        offset = self.size + BLOCK
        self._gather(header_of(sha256, size), BLOCK)
        self._gather(data, size)
        if padding := -size % BLOCK:
            self._gather(bytes(padding), padding)
        self.contents += 1
        return offset

    def end(self) -> None:
        self._gather(_END, len(_END))
        self.flush()

    def flush(self) -> None:
        """What was added so far leaves the memory that the caller lent."""
        if self._gathered:
            piece = b"".join(self._gathered)
            self._gathered.clear()
            self._gathered_size = 0
            self._put(piece)

    def _gather(self, data: bytes | memoryview, length: int) -> None:
        self.size += length
        if length >= LARGE:
            # A large content goes as it is: joining it with its header would copy it.
            self.flush()
            self._put(data)
            return
        self._gathered.append(data)
        self._gathered_size += length
        if self._gathered_size >= PIECE:
            self.flush()


class PackBuilder:
    """A pack that is being filled. A thread of its own compresses, hashes and writes what is added; who adds waits
    only when that thread is far behind. End it with `close` or `abort`."""

    def __init__(self, writer: ObjectWriter, suffix: str) -> None:
        self._tar = Tar(self._put)
        self._pieces: queue.Queue[bytes | memoryview | None] = queue.Queue(WAITING)
        self._result: ObjectRef | None = None
        self._error: BaseException | None = None
        self._aborted = False
        self._thread = threading.Thread(target=self._run, args=(writer, suffix), name="pack", daemon=True)
        self._thread.start()

    @property
    def size(self) -> int:
        return self._tar.size

    @property
    def contents(self) -> int:
        return self._tar.contents

    def add(self, sha256: str, data: bytes) -> int:
        return self._tar.add(sha256, data)

    def close(self) -> ObjectRef:
        """The pack, durable in the vault."""
        self.end()
        return self.result()

    def end(self) -> None:
        """Nothing more comes; the thread finishes it."""
        self._tar.end()
        self._put(None)

    def result(self) -> ObjectRef:
        """After `end`: the pack, when it is durable in the vault."""
        while self._thread.is_alive():
            self._thread.join(1)
        self._raise()
        assert self._result is not None
        return self._result

    def abort(self) -> None:
        """Nothing of it is kept. Does nothing after `close`."""
        self._aborted = True
        while self._thread.is_alive():
            try:
                self._pieces.put(None, timeout=0.1)
            except queue.Full:
                continue
            self._thread.join(0.1)

    def _put(self, piece: bytes | memoryview | None) -> None:
        while True:
            self._raise()
            try:
                self._pieces.put(piece, timeout=1)
                return
            except queue.Full:
                continue

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _run(self, writer: ObjectWriter, suffix: str) -> None:
        try:
            self._result = writer.write(self._blocks(), suffix)
        except _Aborted:
            pass
        except BaseException as error:  # noqa: BLE001 - raised where the pack is filled
            self._error = error
            # A thread that waits for room must see it.
            while not self._pieces.empty():
                self._pieces.get_nowait()

    def _blocks(self) -> Iterator[bytes | memoryview]:
        while (piece := self._pieces.get()) is not None:
            if self._aborted:
                break
            yield piece
        if self._aborted:
            raise _Aborted


class _Aborted(Exception):
    """Inside the thread: what was written so far is thrown away."""


def write_pack(
    writer: ObjectWriter, contents: Iterable[bytes], suffix: str = PACK_SUFFIX, number: int = 0
) -> tuple[ObjectRef, tuple[FileEntry, ...]]:
    """A whole pack of few contents at once; each as an entry without a path, in the order in which they were given."""
    builder = PackBuilder(writer, suffix)
    entries = []
    try:
        for content in contents:
            digest = hashlib.sha256(content).hexdigest()
            offset = builder.add(digest, content)
            entries.append(FileEntry("", size=len(content), sha256=digest, place=Place(number, offset)))
        return builder.close(), tuple(entries)
    finally:
        builder.abort()


# ── out again


def read_contents(
    objects: Objects, tree: FileTree, wanted: Iterable[FileEntry]
) -> Iterator[tuple[FileEntry, Iterator[bytes]]]:
    """Each wanted file with its content, pack by pack and in the order of the pack. So each pack is read once and
    never further than needed. Folders and links among the wanted are passed over.

    What a content's blocks give is only known to be right when they are exhausted: then Damaged is raised where length
    or SHA-256 is another. Contents up to `LARGEST` are proven before the first block is out. Blocks that are
    not read before the next entry is asked for are skipped. Memory: one content of at most `LARGEST`, and the
    wanted entries. A restore of millions asks for the files of some packs at a time.
    """
    by_pack: dict[int, list[FileEntry]] = {}
    images: list[FileEntry] = []
    for entry in wanted:
        if entry.type != "file":
            continue
        if entry.image is not None:
            images.append(entry)
        elif entry.place is not None:
            by_pack.setdefault(entry.place.pack, []).append(entry)
        elif entry.size or (entry.sha256 and entry.sha256 != EMPTY_SHA256):
            raise _nowhere(tree, entry, "the listing does not say where its content is")
        else:
            yield entry, iter(())
    for number in sorted(by_pack):
        if number >= len(tree.packs):
            raise _nowhere(tree, by_pack[number][0], f"the tree has no pack {number}")
        yield from read_pack(objects, tree.packs[number], by_pack[number])
    for entry in images:
        yield entry, image_blocks(objects, entry)


def read_pack(
    objects: Objects, pack: ObjectRef, wanted: Iterable[FileEntry]
) -> Iterator[tuple[FileEntry, Iterator[bytes]]]:
    """The wanted contents of one pack; see `read_contents`."""
    ordered = sorted(wanted, key=_offset)
    again: list[FileEntry] = []
    reading = _Reading(objects, pack)
    try:
        index = 0
        while index < len(ordered):
            same = index + 1
            while same < len(ordered) and ordered[same].place == ordered[index].place:
                same += 1
            group = ordered[index:same]
            index = same
            if all(entry.size <= LARGEST and entry.size == group[0].size for entry in group):
                yield from _small(reading, pack, group)
            else:
                again += group[1:]
                yield group[0], reading.content(group[0])
    finally:
        reading.close()
    for entry in again:  # big, and more than one file has it: once more from the beginning
        fresh = _Reading(objects, pack)
        try:
            yield entry, fresh.content(entry)
        finally:
            fresh.close()


def _small(
    reading: _Reading, pack: ObjectRef, group: Sequence[FileEntry]
) -> Iterator[tuple[FileEntry, Iterator[bytes]]]:
    content = b"".join(reading.content(group[0]))
    for entry in group:
        if entry.sha256 != group[0].sha256:
            raise damaged(pack, f"two files claim the content at {_offset(entry)}, with different digests")
        yield entry, iter((content,))


class _Reading:
    """A pack's plain bytes, read forwards."""

    def __init__(self, objects: Objects, pack: ObjectRef) -> None:
        self._pack = pack
        # A generator: closing it early closes the store's stream, and ends a program that decrypts.
        self._blocks = cast("Generator[bytes]", read_blocks(objects, pack))
        self._block = memoryview(b"")
        #: Of the first byte of `_block`.
        self._at = 0

    def close(self) -> None:
        self._blocks.close()

    def content(self, entry: FileEntry) -> Iterator[bytes]:
        offset, left = _offset(entry), entry.size
        if offset < self._at:
            raise damaged(self._pack, f"contents overlap at {offset}")
        digest = hashlib.sha256()
        self._skip(offset)
        while left:
            part = self._take(left)
            digest.update(part)
            left -= len(part)
            yield part
        if digest.hexdigest() != entry.sha256:
            raise damaged(
                self._pack, f"the content at {offset} is not that of {entry.path!r} ({entry.sha256[:12]}…)"
            )

    def _skip(self, offset: int) -> None:
        while self._at + len(self._block) < offset:
            self._at += len(self._block)
            self._block = self._next(offset)
        self._block = self._block[offset - self._at :]
        self._at = offset

    def _take(self, most: int) -> bytes:
        if not self._block:
            self._block = self._next(self._at + most)
        part = bytes(self._block[:most])
        self._block = self._block[len(part) :]
        self._at += len(part)
        return part

    def _next(self, wanted: int) -> memoryview:
        block = next(self._blocks, None)
        if block is None:
            raise damaged(self._pack, f"it ends before byte {wanted}, where a content should be")
        return memoryview(block)


def image_blocks(objects: Objects, entry: FileEntry) -> Iterator[bytes]:
    """A big file that is kept as blocks. Its own digest is proven by the image, and here that it is the entry's."""
    assert entry.image is not None
    if entry.image.sha256 != entry.sha256 or entry.image.size != entry.size:
        raise Damaged(
            f"{entry.path!r}: the listing names one content and keeps the blocks of another",
            remedy=HEAL,
        )
    yield from read_image(objects, replace(entry.image, name=entry.path))


def _offset(entry: FileEntry) -> int:
    assert entry.place is not None
    return entry.place.offset


def _nowhere(tree: FileTree, entry: FileEntry, why: str) -> Damaged:
    return Damaged(
        f"{entry.path!r} of {tree.name}: {why}",
        remedy=HEAL,
    )


__all__ = [
    "BLOB_SUFFIX",
    "EMPTY_SHA256",
    "LARGEST",
    "PACK_SUFFIX",
    "STORED_BLOB_SUFFIX",
    "STORED_PACK_SUFFIX",
    "TARGET",
    "PackBuilder",
    "header_of",
    "image_blocks",
    "read_contents",
    "read_pack",
    "shrinks",
    "write_pack",
]
