"""Putting a file that is kept as blocks (`blocks.py`) together again, and proving that it is the same file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from backup_pipeline.errors import Damaged, RestoreError
from backup_pipeline.model.findings import HEAL
from backup_pipeline.model.manifest import FileImage, Segment
from backup_pipeline.vault.blocks import SEGMENT, nothing, pieces_of
from backup_pipeline.vault.objects import READ_SIZE, Readable, read_blocks, read_bytes


def read_image(source: Readable, image: FileImage) -> Iterator[bytes]:
    """The file, a block at a time. What was read is only known to be right when the last block is out: a
    difference in an object, a segment or the whole raises Damaged then. Memory: one segment."""
    whole, offset = hashlib.sha256(), 0
    for segment in image.segments:
        if segment.offset != offset:
            raise _damaged(image, segment, f"it should begin at {offset}: the list of segments has a hole")
        digest, size = hashlib.sha256(), 0
        for block in _segment_blocks(source, segment):
            digest.update(block)
            whole.update(block)
            size += len(block)
            yield block
        if size != segment.size or digest.hexdigest() != segment.sha256:
            raise _damaged(
                image, segment, "its packs and its map do not give the bytes that the manifest names"
            )
        offset += size
    if offset != image.size or whole.hexdigest() != image.sha256:
        raise Damaged(
            f"{image.name}: its {len(image.segments)} segments do not give the file that the manifest names",
            remedy=HEAL,
        )


def _segment_blocks(source: Readable, segment: Segment) -> Iterator[bytes]:
    if segment.map is None:
        pieces_of(segment, lambda _: b"")
        yield from read_blocks(source, segment.packs[0])
    else:
        with memoryview(_assembled(source, segment)) as view:
            for start in range(0, len(view), READ_SIZE):
                yield bytes(view[start : start + READ_SIZE])


def _assembled(source: Readable, segment: Segment) -> bytearray:
    """Each pack is read once, from its start to its end, and what the map wants of it goes to its place."""
    if segment.size > SEGMENT:
        raise Damaged(f"a segment of {segment.size:,} bytes is none: the longest has 64 MiB", remedy=HEAL)
    out = bytearray(segment.size)
    wanted: dict[str, list[tuple[int, int, int]]] = {pack.sha256: [] for pack in segment.packs}
    at = 0
    for piece in pieces_of(segment, lambda reference: read_bytes(source, reference)):
        wanted[piece.pack].append((piece.offset, piece.offset + piece.size, at))
        at += piece.size
    for pack in segment.packs:
        begin = 0
        # A map of ours never goes backwards in a pack; one that does is read all the same.
        pieces = sorted(wanted[pack.sha256])
        for block in read_blocks(source, pack):
            end = begin + len(block)
            while pieces and pieces[0][1] <= begin:
                pieces.pop(0)
            for first, last, target in pieces:
                if first >= end:
                    break
                low, high = max(first, begin), min(last, end)
                if low < high:
                    out[target + low - first : target + high - first] = block[low - begin : high - begin]
            begin = end
    return out


def write_image(
    source: Readable, image: FileImage, path: Path, advanced: Callable[[int], None] = nothing
) -> None:
    """Make the file at `path` (which must not exist), durable and readable by its owner only. When anything
    is not as the manifest says, Damaged is raised and no file is left."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise RestoreError(
            f"{path} exists already", remedy="name a file that does not exist yet, or move this one away"
        ) from None
    except OSError as error:
        raise RestoreError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for block in read_image(source, image):
                _write_all(file.fileno(), block)
                advanced(len(block))
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink(missing_ok=True)
        raise RestoreError(
            f"cannot write {path}: {error.strerror}", remedy=f"it needs {image.size:,} bytes of free space"
        ) from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_all(descriptor: int, block: bytes) -> None:
    with memoryview(block) as view:
        done = 0
        while done < len(view):
            done += os.write(descriptor, view[done:])


def _damaged(image: FileImage, segment: Segment, why: str) -> Damaged:
    names = ", ".join(f"{pack.sha256[:12]}…{pack.suffix}" for pack in segment.packs[:4])
    return Damaged(
        f"the segment of {image.name} at byte {segment.offset} (objects {names}): {why}",
        remedy=HEAL,
    )
