"""A big file kept as page-aligned blocks, so that a file of which 1 % changed does not cost 100 % again.

The file is cut into segments of 64 MiB. A segment whose bytes did not change is the previous backup's
segment; of one that did, only the changed blocks are written, as one pack.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from backup_pipeline.model.manifest import FileImage, Segment

if TYPE_CHECKING:
    from backup_pipeline.vault.objects import ObjectWriter

SEGMENT = 64 * 1024 * 1024
SUFFIX = ".blocks.zst"


def store_file(
    writer: ObjectWriter, path: Path, name: str, block_size: int, previous: FileImage | None
) -> FileImage:
    whole, segments, offset = hashlib.sha256(), [], 0
    with path.open("rb") as file:
        while True:
            pack = writer.write(_take(file, SEGMENT, whole), SUFFIX)
            if pack.plain_size == 0:
                break
            segments.append(Segment(offset, pack.plain_size, pack.plain_sha256, (pack,)))
            offset += pack.plain_size
    return FileImage(name, offset, whole.hexdigest(), block_size, tuple(segments))


def _take(file: BinaryIO, limit: int, whole: hashlib._Hash) -> Iterator[bytes]:
    while limit > 0 and (block := file.read(min(1 << 20, limit))):
        whole.update(block)
        limit -= len(block)
        yield block
