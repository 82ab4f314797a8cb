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
from typing import Any, BinaryIO, Protocol, Self, cast

import zstandard

from backup_pipeline.errors import (
    AlreadyExists,
    BackupError,
    Damaged,
    KeyMissing,
    NotFound,
    NotThawed,
    StoreUnavailable,
)
from backup_pipeline.model.findings import HEAL
from backup_pipeline.model.manifest import EarlierImage, FileImage, ObjectRef
from backup_pipeline.stores.base import Store
from backup_pipeline.stores.staging import explained, is_bad_medium, staging_name
from backup_pipeline.vault import blocks, layout
from backup_pipeline.vault.crypto import Keys, decrypted, encryptor
from backup_pipeline.vault.known import REMEMBERED, Known
from backup_pipeline.vault.presence import missing

#: Measured: level 1 keeps up with a server's COPY on one core, level 3 does not, and saves a quarter more.
LEVEL = 1
READ_SIZE = 1 << 20
ZST = ".zst"
#: Behind everything else that was done to the content: first packed, then encrypted.
AGE = ".age"
#: What a frame may ask of the reader's memory: twice what any level of ours asks for.
WINDOW = 1 << 23
#: Of an object that is taken into memory as a whole: a schema, definitions, a map.
IN_MEMORY = 256 << 20
#: For a reader of an encrypted object without any configuration of keys.
NO_KEYS = Keys(())


@dataclass(frozen=True)
class Objects:
    """Where objects lie, and what is needed to open them. It can be pickled into a worker process."""

    store: Store
    #: None: nothing here is encrypted.
    keys: Keys | None = None
    #: What this host remembers of an encrypted vault that it cannot open.
    known: Known | None = None


#: A plain vault's objects need nothing but the store that they lie in.
Readable = Store | Objects


def objects_of(source: Readable) -> Objects:
    return source if isinstance(source, Objects) else Objects(source)


@dataclass(frozen=True)
class ObjectWriter:
    """A `Sink`: plain bytes in, an object in the store out. It can be pickled into a worker process."""

    store: Store
    level: int = LEVEL
    #: Encrypt to these; the suffix then gets `.age`.
    keys: Keys | None = None
    known: Known | None = None

    def write(
        self, blocks: Iterable[bytes | memoryview], suffix: str, known: Sequence[ObjectRef] = ()
    ) -> ObjectRef:
        staged = self.store.staging() / staging_name()
        try:
            reference = self._stage(blocks, suffix, staged)
            for other in known:
                if self._same_content(reference, other):
                    if self.known is not None:
                        self.known.rename(reference.sha256, other.sha256)
                    return other
            self.publish(reference, staged)
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
        previous: EarlierImage | None,
        advanced: Callable[[int], None] = blocks.nothing,
    ) -> FileImage:
        return blocks.store_file(self, path, name, block_size, previous, advanced)

    @property
    def objects(self) -> Objects:
        """What was stored earlier, for reading it."""
        return Objects(self.store, self.keys, self.known)

    def read(self, reference: ObjectRef) -> bytes:
        """A small object that was stored earlier: what new content is compared with. Raises Damaged where it cannot
        be had, for want of a key as well, or because it lies in an archive: what cannot be compared with is stored
        anew."""
        try:
            return read_bytes(self.objects, reference)
        except (KeyMissing, NotThawed) as error:
            raise Damaged(error.message, remedy=error.remedy) from error

    def holds(self, reference: ObjectRef) -> bool:
        """Whether an object can be relied on without writing it again: there, and as long as it should be."""
        return not missing(self.store, [reference])

    def _stage(self, blocks: Iterable[bytes | memoryview], suffix: str, staged: Path) -> ObjectRef:
        what = f"cannot write an object in {self.store.address}"
        with Staged(staged, suffix, self.level, self.keys, self.known, what) as made:
            for block in blocks:
                made.write(block)
            return made.finish()

    def _same_content(self, new: ObjectRef, other: ObjectRef) -> bool:
        return (
            new.plain_sha256 == other.plain_sha256
            and new.plain_size == other.plain_size
            and new.suffix == other.suffix
            and self.holds(other)
        )

    def publish(self, reference: ObjectRef, staged: Path) -> None:
        """A finished staged file under its name, durable."""
        key = layout.object_key(reference)
        try:
            self.store.put(key, staged)
        except AlreadyExists as error:
            # The same bytes are there already, or something damaged bears their name: then heal it.
            if error.differs or (error.differs is None and not self._intact(reference)):
                self.store.put(key, staged, overwrite=True)

    def _intact(self, reference: ObjectRef) -> bool:
        try:
            return stored_digest(self.store, reference) == (reference.sha256, reference.size)
        except NotFound:
            return False
        except StoreUnavailable as error:
            if not is_bad_medium(error):
                raise
            return False


class Staged:
    """An object in the making: plain bytes in, packed and encrypted bytes in a staged file. Use it with `with`."""

    def __init__(
        self,
        path: Path,
        suffix: str,
        level: int,
        keys: Keys | None,
        known: Known | None = None,
        what: str = "",
    ) -> None:
        self._suffix, self._keys = suffix, keys
        self._pack = _packer(suffix, level)
        # Content that is stored as it is has one digest: hashing it twice costs a sixth of a large file's time.
        self._as_is = isinstance(self._pack, _AsIs) and keys is None
        self._plain, self._size = hashlib.sha256(), 0
        with contextlib.ExitStack() as stack:
            self._out = stack.enter_context(_Out(path, what or f"cannot write {path}"))
            self._lock = encryptor(keys, self._out.write) if keys else None
            remembers = known is not None and keys is not None and suffix in REMEMBERED
            self._kept = stack.enter_context(known.keeping()) if known and remembers else None
            self._sink = self._lock.write if self._lock else self._out.write
            self._stack = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *about: Any) -> None:
        self._stack.__exit__(*about)

    def write(self, block: bytes | memoryview) -> None:
        if not self._as_is:
            self._plain.update(block)
        self._size += len(block)
        self._put(self._pack.compress(block))

    def _put(self, packed: bytes | memoryview) -> None:
        if packed:
            self._sink(packed)
            if self._kept is not None:
                self._kept.file.write(packed)

    def finish(self) -> ObjectRef:
        self._put(self._pack.flush())
        if self._lock is not None:
            self._lock.finish()
        out = self._out
        if self._kept is not None:
            self._kept.name = out.sha256
        return ObjectRef(
            out.sha256,
            out.size,
            self._suffix + (AGE if self._keys else ""),
            out.sha256 if self._as_is else self._plain.hexdigest(),
            self._size,
            recipients=self._keys.fingerprint if self._keys else "",
        )


def _write_all(file: RawIOBase, data: bytes | memoryview) -> None:
    """A raw write may take less than it is given, as on a disk that is nearly full."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) or 0 :]


class _Out:
    """The staged file, and what was written to it. Unbuffered: what a full disk refuses is refused by the write, not by
    the close."""

    def __init__(self, path: Path, what: str) -> None:
        self._what = what
        self._digest = hashlib.sha256()
        self.size = 0
        with explained(what):
            self._file = path.open("xb", buffering=0)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def write(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        with explained(self._what):
            _write_all(self._file, data)
        self.size += len(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class _Packer(Protocol):
    def compress(self, data: bytes | memoryview, /) -> bytes | memoryview: ...
    def flush(self) -> bytes: ...


class _AsIs:
    """For what does not shrink: its suffix does not end in `.zst`."""

    def compress(self, data: bytes | memoryview, /) -> bytes | memoryview:
        return data

    def flush(self) -> bytes:
        return b""


def _packer(suffix: str, level: int) -> _Packer:
    if suffix.endswith(ZST):
        return zstandard.ZstdCompressor(level=level, write_checksum=True).compressobj()
    return _AsIs()


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


class Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


@contextlib.contextmanager
def opened(objects: Objects, reference: ObjectRef, stored: Measured) -> Iterator[Stream]:
    """The stored bytes, decrypted where they are encrypted."""
    if not reference.suffix.endswith(AGE):
        yield stored
        return
    with decrypted(objects.keys or NO_KEYS, stored) as stream:
        yield stream


def unpacked(stream: Stream, suffix: str = ZST, size: int = READ_SIZE) -> Iterator[bytes]:
    """What is packed in a stream, in blocks of at most `size`: 15 KB can hold a value of 500 MB, so the
    memory that this takes must not depend on what it finds. Reads the stream to its end; bytes behind the packed ones
    are taken for more of them, and so cannot hide."""
    if suffix.removesuffix(AGE).endswith(ZST):
        stream = zstandard.ZstdDecompressor(max_window_size=WINDOW).stream_reader(
            cast(BinaryIO, stream), read_size=READ_SIZE, read_across_frames=True, closefd=False
        )
    while block := stream.read(size):
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
    objects = objects_of(source)
    if reference.suffix.endswith(AGE) and objects.keys and not objects.keys.can_open and objects.known:
        yield from _known_blocks(objects.keys, objects.known, reference, size)
        return
    # Content that is stored as it is has one digest, and `stored` takes it.
    as_is = not reference.suffix.endswith((ZST, AGE))
    plain, plain_size = hashlib.sha256(), 0
    try:
        with objects.store.get(layout.object_key(reference)) as stream:
            stored = Measured(stream)
            try:
                with opened(objects, reference, stored) as packed:
                    for block in unpacked(packed, reference.suffix, size):
                        if not as_is:
                            plain.update(block)
                        plain_size += len(block)
                        _not_longer(reference, plain_size)
                        yield block
            except (zstandard.ZstdError, Damaged, KeyMissing) as error:
                unopened = _unopened(reference, stored, error)
                if not (isinstance(unopened, KeyMissing) and _is_known(objects, reference)):
                    raise unopened from error
                # After the keys changed: it is for the old one, which is not here, and is remembered.
                assert objects.keys is not None
                assert objects.known is not None
                yield from _known_blocks(objects.keys, objects.known, reference, size)
                return
    except NotFound as error:
        raise damaged(reference, "it is missing") from error
    except StoreUnavailable as error:
        if not is_bad_medium(error):
            raise
        raise damaged(reference, f"it cannot be read ({error.message})") from error
    _check_stored(reference, stored)
    digest = stored.sha256 if as_is else plain.hexdigest()
    if plain_size != reference.plain_size or digest != reference.plain_sha256:
        raise damaged(reference, "its content is not what the manifest says")


def _unopened(reference: ObjectRef, stored: Measured, error: Exception) -> BackupError:
    """Of what cannot be opened: bytes that are not those of its name explain more than the wrong key that they look like."""
    if not isinstance(error, zstandard.ZstdError):
        stored.drain()
        try:
            _check_stored(reference, stored)
        except Damaged as better:
            return better
    if isinstance(error, KeyMissing):
        return error
    if isinstance(error, Damaged):
        return damaged(reference, error.message)
    return damaged(reference, f"it does not decompress ({error})")


def _is_known(objects: Objects, reference: ObjectRef) -> bool:
    return objects.keys is not None and objects.known is not None and objects.known.has(reference.sha256)


def _check_stored(reference: ObjectRef, stored: Measured) -> None:
    if stored.size != reference.size:
        raise damaged(reference, f"it is {stored.size} bytes long and not {reference.size}")
    if stored.sha256 != reference.sha256:
        raise damaged(reference, "its bytes are not those of its name")


def _known_blocks(keys: Keys, known: Known, reference: ObjectRef, size: int) -> Iterator[bytes]:
    """From what this host remembers, where it cannot open the vault."""
    file = known.open(reference.sha256)
    if file is None:
        keys.secret()
        raise damaged(reference, "it is encrypted, and this host does not remember it")
    plain, plain_size, broken = hashlib.sha256(), 0, ""
    with file:
        try:
            for block in unpacked(file, reference.suffix, size):
                plain.update(block)
                plain_size += len(block)
                _not_longer(reference, plain_size)
                yield block
        except (zstandard.ZstdError, Damaged) as error:
            broken = str(error)
    if broken or plain_size != reference.plain_size or plain.hexdigest() != reference.plain_sha256:
        known.drop(reference.sha256)
        raise Damaged(
            f"what {known.folder} holds of object {reference.sha256[:12]}…{reference.suffix} was altered",
            remedy="it was thrown away, and nothing was built on it: run it again",
        )


def _not_longer(reference: ObjectRef, plain_size: int) -> None:
    """Told at the first byte too many: 96 KB can hold gigabytes."""
    if plain_size > reference.plain_size:
        raise Damaged(f"its content is longer than the {reference.plain_size:,} bytes that the manifest says")


def read_bytes(source: Readable, reference: ObjectRef) -> bytes:
    if reference.plain_size > IN_MEMORY:
        raise damaged(reference, f"{reference.plain_size:,} bytes are more than any object of its kind has")
    return b"".join(read_blocks(source, reference))


def damaged(reference: ObjectRef, why: str) -> Damaged:
    return Damaged(f"object {reference.sha256[:12]}…{reference.suffix}: {why}", remedy=HEAL)
