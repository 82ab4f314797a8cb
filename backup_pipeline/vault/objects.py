"""Content-addressed objects: streams in, references out, and back again.

An object is written once and never changed. Its name is the SHA-256 of the bytes as they lie in the
store, so anyone can scrub a vault with `sha256sum`; the digest of the plain content is kept beside it in
the manifest, so content that is already there is recognised and not stored again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import BinaryIO, cast

import zstandard

from backup_pipeline.errors import AlreadyExists, Damaged, NotFound
from backup_pipeline.model.manifest import FileImage, ObjectRef
from backup_pipeline.stores.base import Store
from backup_pipeline.stores.staging import explained, staging_name
from backup_pipeline.vault import blocks, layout

#: Measured: level 1 keeps up with a server's COPY on one core, level 3 does not, and saves a quarter more.
LEVEL = 1
READ_SIZE = 1 << 20


@dataclass(frozen=True)
class Objects:
    """Where objects lie, and what is needed to open them. It can be pickled into a worker process."""

    store: Store


#: A plain vault's objects need nothing but the store that they lie in.
Readable = Store | Objects


def objects_of(source: Readable) -> Objects:
    return source if isinstance(source, Objects) else Objects(source)


@dataclass(frozen=True)
class ObjectWriter:
    """A `Sink`: plain bytes in, an object in the store out. It can be pickled into a worker process."""

    store: Store
    level: int = LEVEL

    def write(self, blocks: Iterable[bytes], suffix: str, known: Sequence[ObjectRef] = ()) -> ObjectRef:
        staged = self.store.staging() / staging_name()
        try:
            reference = self._stage(blocks, suffix, staged)
            for other in known:
                if self._same_content(reference, other):
                    return other
            self._put(reference, staged)
            return reference
        finally:
            staged.unlink(missing_ok=True)

    def write_bytes(self, data: bytes, suffix: str, known: Sequence[ObjectRef] = ()) -> ObjectRef:
        return self.write((data,), suffix, known)

    def write_file(
        self,
        path: Path,
        name: str,
        block_size: int,
        previous: FileImage | None,
        previous_id: str | None = None,
        advanced: Callable[[int], None] = blocks.nothing,
    ) -> FileImage:
        return blocks.store_file(self, path, name, block_size, previous, previous_id, advanced)

    def read(self, reference: ObjectRef) -> bytes:
        """A small object that was stored earlier: what new content is compared with."""
        return read_bytes(self.store, reference)

    def holds(self, reference: ObjectRef) -> bool:
        """Whether an object can be relied on without writing it again: there, and as long as it should be."""
        stat = self.store.stat(layout.object_key(reference))
        return stat is not None and stat.size == reference.size

    def _stage(self, blocks: Iterable[bytes], suffix: str, staged: Path) -> ObjectRef:
        plain, stored = hashlib.sha256(), hashlib.sha256()
        plain_size = stored_size = 0
        packer = zstandard.ZstdCompressor(level=self.level, write_checksum=True).compressobj()
        what = f"cannot write an object in {self.store.address}"
        with contextlib.ExitStack() as stack:
            with explained(what):
                # Unbuffered: what a full disk refuses is refused by the write, not by the close.
                file = stack.enter_context(staged.open("xb", buffering=0))

            def out(packed: bytes) -> int:
                stored.update(packed)
                with explained(what):
                    _write_all(file, packed)
                return len(packed)

            for block in blocks:
                plain.update(block)
                plain_size += len(block)
                if packed := packer.compress(block):
                    stored_size += out(packed)
            stored_size += out(packer.flush())
        return ObjectRef(stored.hexdigest(), stored_size, suffix, plain.hexdigest(), plain_size)

    def _same_content(self, new: ObjectRef, other: ObjectRef) -> bool:
        return (
            new.plain_sha256 == other.plain_sha256
            and new.plain_size == other.plain_size
            and new.suffix == other.suffix
            and self.holds(other)
        )

    def _put(self, reference: ObjectRef, staged: Path) -> None:
        key = layout.object_key(reference)
        try:
            self.store.put(key, staged)
        except AlreadyExists:
            # The same bytes are there already, or something damaged bears their name: then heal it.
            if self.store.features.moves_staged_files and not self._intact(reference):
                self.store.put(key, staged, overwrite=True)

    def _intact(self, reference: ObjectRef) -> bool:
        try:
            return stored_digest(self.store, reference) == (reference.sha256, reference.size)
        except NotFound:
            return False


def _write_all(file: RawIOBase, data: bytes) -> None:
    """A raw write may take less than it is given, as on a disk that is nearly full."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


class Measured:
    """A stream that knows the length and the digest of what was read from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        while self.read(READ_SIZE):
            pass


def unpacked(stored: Measured, size: int = READ_SIZE) -> Iterator[bytes]:
    """What is packed in a stream, in blocks of at most `size`: 15 KB can hold a value of 500 MB, so the
    memory that this takes must not depend on what it finds. Reads the stream to its end; bytes behind the packed ones
    are taken for more of them, and so cannot hide."""
    reader = zstandard.ZstdDecompressor().stream_reader(
        cast(BinaryIO, stored), read_size=READ_SIZE, read_across_frames=True, closefd=False
    )
    while block := reader.read(size):
        yield block


def stored_digest(store: Store, reference: ObjectRef) -> tuple[str, int]:
    """SHA-256 and length of an object as it lies in the store."""
    with store.get(layout.object_key(reference)) as stream:
        stored = Measured(stream)
        stored.drain()
    return stored.sha256, stored.size


def read_blocks(source: Readable, reference: ObjectRef, size: int = READ_SIZE) -> Iterator[bytes]:
    """The plain content, a block at a time. What was read is only known to be right when the last block
    is out: a difference in length or digest, of the stored or of the plain bytes, raises Damaged then."""
    plain, plain_size = hashlib.sha256(), 0
    store = objects_of(source).store
    try:
        with store.get(layout.object_key(reference)) as stream:
            stored = Measured(stream)
            for block in unpacked(stored, size):
                plain.update(block)
                plain_size += len(block)
                yield block
    except zstandard.ZstdError as error:
        raise damaged(reference, f"it does not decompress ({error})") from error
    except NotFound as error:
        raise damaged(reference, "it is missing") from error
    if stored.size != reference.size:
        raise damaged(reference, f"it is {stored.size} bytes long and not {reference.size}")
    if stored.sha256 != reference.sha256:
        raise damaged(reference, "its bytes are not those of its name")
    if plain_size != reference.plain_size or plain.hexdigest() != reference.plain_sha256:
        raise damaged(reference, "its content is not what the manifest says")


def read_bytes(source: Readable, reference: ObjectRef) -> bytes:
    return b"".join(read_blocks(source, reference))


def damaged(reference: ObjectRef, why: str) -> Damaged:
    return Damaged(
        f"object {reference.sha256[:12]}…{reference.suffix}: {why}",
        remedy="run `verify` to see which tables it belongs to, and restore from another backup or a copy",
    )
