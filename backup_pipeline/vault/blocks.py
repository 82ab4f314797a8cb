"""A big file kept as blocks, so that a file of which 1 % changed does not cost 100 % again.

The file is cut into segments of 64 MiB, a segment into blocks of one page each. Fixed blocks and not
content-defined chunks: rows that change at random touch 6 % of a database's pages, but 35 % to 100 % of any chunks.

- The first backup stores a segment as one pack, the segment itself: `zstd -dc pack1 pack2 … > file`.
- A segment whose bytes did not change is the previous backup's segment.
- Of a changed segment, the changed blocks are stored as one more pack. A map names the pack and the place of each run
of blocks. The digests of the blocks, kept beside the packs, tell the changed blocks.
- When too much changed, the segment is stored whole again.

By hand, a line of a map is one `tail -c | head -c`, about a millisecond; a segment has 16,384 blocks at most, so
even the longest map is put together in 20 seconds. Rebuilding is in `images.py`. The same file and the same previous image always give the same objects.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged
from backup_pipeline.model.manifest import EarlierImage, FileImage, ObjectRef, Segment

if TYPE_CHECKING:
    from backup_pipeline.vault.objects import ObjectWriter

SEGMENT = 64 * 1024 * 1024
READ_SIZE = 1024 * 1024
SUFFIX = ".blocks.zst"
MAP_SUFFIX = ".map.zst"
DIGESTS_SUFFIX = ".digests.zst"
DIGEST_SIZE = 32

#: A segment shorter than this is always stored whole: three small objects instead of one save nothing.
WORTH_SPLITTING = 1024 * 1024
#: Above this share of changed blocks the segment is stored whole again.
MOST_CHANGED = 0.25
#: More packs than this are folded into two: the largest, and one with the rest. So reading a segment takes a few
#: objects.
MOST_PACKS = 16
#: Segments that are packed side by side: compressing is half of the work and leaves the interpreter's lock.
AT_ONCE = 2


def nothing(_: int) -> None:
    """For callers that do not count bytes."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A line of the map: this many bytes, from there on, of the plain content of that pack."""

    pack: str
    offset: int
    size: int

    def line(self) -> bytes:
        return f"{self.pack}\t{self.offset}\t{self.size}\n".encode()


def store_file(
    writer: ObjectWriter,
    path: Path,
    name: str,
    block_size: int,
    previous: EarlierImage | None,
    advanced: Callable[[int], None] = nothing,
) -> FileImage:
    """Store the file at `path`, building on `previous`.

    The file should not change meanwhile. Of one that does, the image is of what was read, as far as the file
    went when it was opened: every digest fits its bytes all the same. Memory: AT_ONCE segments.
    """
    usable = previous is not None and previous.image.block_size == block_size
    earlier = {one.offset: one for one in previous.image.segments} if previous and usable else {}
    previous_id = previous.backup_id if previous else None
    whole, offset = hashlib.sha256(), 0
    segments: list[Segment] = []
    pending: deque[Future[Segment]] = deque()

    def finish() -> None:
        segments.append(pending.popleft().result())
        advanced(segments[-1].size)

    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(AT_ONCE) as pool:
        length = os.fstat(file.fileno()).st_size
        buffers = [bytearray(min(SEGMENT, length)) for _ in range(min(AT_ONCE, -(-length // SEGMENT)))]
        while offset < length:
            if len(pending) == len(buffers):
                finish()
            buffer = buffers[offset // SEGMENT % len(buffers)]
            size = _fill(file, buffer, length - offset)
            if not size:
                break
            view = memoryview(buffer)[:size]
            cut = _Cut(writer, view, block_size)
            pending.append(pool.submit(_store_segment, cut, offset, earlier.get(offset), previous_id))
            whole.update(view)
            offset += size
        while pending:
            finish()
    return FileImage(name, offset, whole.hexdigest(), block_size, tuple(segments))


def _fill(file: FileIO, buffer: bytearray, limit: int) -> int:
    """Read until the buffer is full or the file ends; an unbuffered read may bring less than it was asked for."""
    filled = 0
    with memoryview(buffer)[:limit] as view:
        while filled < len(view):
            count = file.readinto(view[filled:])
            if not count:
                break
            filled += count
    return filled


@dataclass(frozen=True, slots=True)
class _Cut:
    """The bytes of one segment, and where they are to go."""

    writer: ObjectWriter
    view: memoryview
    block_size: int

    @property
    def size(self) -> int:
        return len(self.view)

    @property
    def count(self) -> int:
        return -(-self.size // self.block_size)

    def all(self) -> Iterator[bytes]:
        for start in range(0, self.size, READ_SIZE):
            yield bytes(self.view[start : start + READ_SIZE])

    def block(self, index: int) -> bytes:
        return bytes(self.view[index * self.block_size : (index + 1) * self.block_size])

    def block_length(self, index: int) -> int:
        return min(self.block_size, self.size - index * self.block_size)

    def digests(self) -> list[bytes]:
        sha256, view, step = hashlib.sha256, self.view, self.block_size
        return [sha256(view[start : start + step]).digest() for start in range(0, self.size, step)]


def _store_segment(cut: _Cut, offset: int, before: Segment | None, previous_id: str | None) -> Segment:
    digest = hashlib.sha256(cut.view).hexdigest()
    if before and not all(cut.writer.holds(reference) for reference in segment_objects(before)):
        before = None  # what is gone, or has another length, cannot be built on
    if before and (before.sha256, before.size) == (digest, cut.size):
        return replace(before, reused_from=before.reused_from or previous_id)
    if cut.size < WORTH_SPLITTING:
        return Segment(offset, cut.size, digest, (cut.writer.write(cut.all(), SUFFIX),))
    digests = cut.digests()
    kept = cut.writer.write((b"".join(digests),), DIGESTS_SUFFIX)
    delta = _store_delta(cut, digests, before) if before else None
    if delta is None:
        return Segment(offset, cut.size, digest, (cut.writer.write(cut.all(), SUFFIX),), digests=kept)
    packs, lines = delta
    mapped = cut.writer.write((b"".join(piece.line() for piece in lines),), MAP_SUFFIX)
    return Segment(offset, cut.size, digest, packs, map=mapped, digests=kept)


def _store_delta(
    cut: _Cut, digests: list[bytes], before: Segment
) -> tuple[tuple[ObjectRef, ...], list[Piece]] | None:
    """One pack of the changed blocks, and the map over it and the packs of before. None: store it whole."""
    try:
        old_digests = _old_digests(cut, before)
        places = _places(before, pieces_of(before, cut.writer.read), cut.block_size)
    except Damaged:
        return None
    shared = min(len(digests), len(old_digests), len(places))
    changed = {i for i in range(shared) if digests[i] != old_digests[i]} | set(range(shared, len(digests)))
    packs = {pack.sha256: pack for pack in before.packs}
    used = [packs[places[i].pack] for i in range(shared) if i not in changed]
    plain = sum(pack.plain_size for pack in set(used))
    if len(set(used)) >= MOST_PACKS or plain + len(changed) * cut.block_size > 2 * cut.size:
        base = max(before.packs, key=lambda pack: pack.plain_size).sha256
        changed |= {i for i in range(shared) if places[i].pack != base}
    if not changed or len(changed) > MOST_CHANGED * cut.count:
        return None
    order = sorted(changed)
    new = cut.writer.write((cut.block(index) for index in order), SUFFIX)
    packs[new.sha256] = new
    pieces = _pieces(cut, places, order, new.sha256)
    names = dict.fromkeys(piece.pack for piece in pieces)
    return tuple(packs[name] for name in names), pieces


def _old_digests(cut: _Cut, before: Segment) -> list[bytes]:
    if before.digests is None:
        raise Damaged("a segment without digests cannot be compared with")
    raw = cut.writer.read(before.digests)
    return [raw[start : start + DIGEST_SIZE] for start in range(0, len(raw), DIGEST_SIZE)]


def pieces_of(segment: Segment, read: Callable[[ObjectRef], bytes]) -> list[Piece]:
    """The map of a segment; of one without a map, the one piece that it is."""
    if segment.map is None:
        if len(segment.packs) != 1 or segment.packs[0].plain_size != segment.size:
            raise Damaged(f"the segment at {segment.offset} has no map and is not one pack of its own size")
        return [Piece(segment.packs[0].sha256, 0, segment.size)]
    pieces = []
    sizes = {pack.sha256: pack.plain_size for pack in segment.packs}
    for line in read(segment.map).decode("ascii", "replace").splitlines():
        pack, _, rest = line.partition("\t")
        start, _, length = rest.partition("\t")
        if not (start.isdecimal() and length.isdecimal() and pack in sizes):
            raise Damaged(
                f"the map {segment.map.sha256[:12]}… of the segment at {segment.offset} is not a map"
            )
        piece = Piece(pack, int(start), int(length))
        if piece.offset + piece.size > sizes[pack]:
            raise Damaged(f"the map {segment.map.sha256[:12]}… points behind the end of pack {pack[:12]}…")
        pieces.append(piece)
    if sum(piece.size for piece in pieces) != segment.size:
        raise Damaged(
            f"the map {segment.map.sha256[:12]}… does not give the {segment.size} bytes of its segment"
        )
    return pieces


def _places(before: Segment, pieces: Sequence[Piece], block_size: int) -> list[Piece]:
    """Where each block of the previous segment lies: the map again, one line a block."""
    places: list[Piece] = []
    for piece in pieces:
        start = piece.offset
        while start < piece.offset + piece.size:
            length = min(block_size, piece.offset + piece.size - start)
            places.append(Piece(piece.pack, start, length))
            start += length
    if len(places) != -(-before.size // block_size):
        raise Damaged(f"the map of the segment at {before.offset} does not lie on blocks")
    return places


def _pieces(cut: _Cut, places: Sequence[Piece], order: Sequence[int], pack: str) -> list[Piece]:
    """The new map: changed blocks from the new `pack`, in order; all others from where they are already."""
    new = {index: number * cut.block_size for number, index in enumerate(order)}
    found: list[Piece] = []
    for index in range(cut.count):
        if index in new:
            piece = Piece(pack, new[index], cut.block_length(index))
        else:
            piece = places[index]
        last = found[-1] if found else None
        if last and last.pack == piece.pack and last.offset + last.size == piece.offset:
            found[-1] = Piece(last.pack, last.offset, last.size + piece.size)
        else:
            found.append(piece)
    return found


def segment_objects(segment: Segment) -> Iterator[ObjectRef]:
    yield from segment.packs
    if segment.map is not None:
        yield segment.map
    if segment.digests is not None:
        yield segment.digests


def image_objects(image: FileImage) -> tuple[ObjectRef, ...]:
    """Every object that the image needs, each once, in the order of the file."""
    found = {
        reference.sha256 + reference.suffix: reference
        for segment in image.segments
        for reference in segment_objects(segment)
    }
    return tuple(found.values())
