"""One file as it is: read, hashed, and looked at again. What changed meanwhile is read once more, a few times.

Runs in threads: reading, hashing and compressing leave the interpreter's lock. Small contents are handed back, and the
run puts them into packs; big ones are written from here, while they are read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from backup_pipeline.errors import SourceChanged, SourceError, SourceUnavailable
from backup_pipeline.files.digesting import Digester
from backup_pipeline.files.sources import media
from backup_pipeline.files.sources.aging import let_it_age
from backup_pipeline.files.sources.base import Found, Unreadable, Vanished
from backup_pipeline.files.store import database
from backup_pipeline.files.store.contents import Spot
from backup_pipeline.files.store.order import TreeOrder
from backup_pipeline.files.store.previous import Known, Previous
from backup_pipeline.model.files import BLOB_SUFFIX, STORED_BLOB_SUFFIX
from backup_pipeline.model.manifest import EarlierImage, FileImage, ObjectRef
from backup_pipeline.vault.objects import ObjectWriter
from backup_pipeline.vault.packs import LARGEST, shrinks

ATTEMPTS = 3
PAUSE = 0.05
BLOCK = 1024 * 1024
#: A mutable file longer than this is kept as blocks, so that a small change costs little.
IMAGE_FROM = 64 * 1024 * 1024
PAGE = 4096
#: What a file says that cannot be read although it may be: a bad sector, a file server that lost it.
BROKEN = (errno.EIO, errno.ESTALE, errno.EBADMSG, errno.EACCES, errno.EPERM)
#: Files that are changed in place by those who own them: databases, indexes, images of disks, mailboxes.
MUTABLE = frozenset(
    """sqlite sqlite3 db db3 mdb accdb fdb index faiss usearch hnsw ann bin lance duckdb rdb aof mbox pst ost img qcow2 vmdk
    vdi raw vhd vhdx h5 hdf5 dat idx ibd ldb""".split()  # noqa: SIM905 — read as words
)


@dataclass(frozen=True, slots=True)
class Content:
    #: As it was when it was read.
    found: Found
    size: int
    sha256: str
    #: A small content; None where it is stored already.
    data: bytes | None = None
    shrinks: bool = True
    spot: Spot | None = None
    blob: ObjectRef | None = None
    image: FileImage | None = None
    media: str = ""
    digests: dict[str, str] | None = None
    database: bool = False
    #: It kept changing: what was read is of no single moment.
    torn: bool = False
    #: A database that SQLite could not copy, and why: it was copied like any file.
    plain_copy: str = ""
    #: … because another process held its lock all the time, and may have been writing.
    locked: bool = False


@dataclass(frozen=True, slots=True)
class Gone:
    found: Found


@dataclass(frozen=True, slots=True)
class Missed:
    found: Found
    code: str
    message: str


Reading = Content | Gone | Missed


@runtime_checkable
class HasDescriptors(Protocol):
    def descriptor(self, found: Found) -> int: ...


class Stopped(Exception):
    """The run ended while a file was being read."""


class _Again(Exception):
    """It is another file by now."""


class Reader:
    def __init__(
        self,
        order: TreeOrder,
        writer: ObjectWriter,
        previous: Previous,
        advanced: Callable[[str, int], None],
    ) -> None:
        self.order = order
        self.source = order.source
        self.writer = writer
        self.previous = previous
        self.advanced = advanced
        self.stop = threading.Event()
        self._digests = order.digests

    def read(self, found: Found, known: Known | None) -> Reading:
        current, trouble = found, ""
        for attempt in range(ATTEMPTS):
            if self.stop.is_set():
                raise Stopped
            if attempt:
                time.sleep(PAUSE * attempt)
            last = attempt == ATTEMPTS - 1
            let_it_age(current)
            try:
                taken = self._take(current, known, last)
                again = self._settled(current)
            except Vanished:
                taken, again = None, self._settled(current)
            except Unreadable as error:
                trouble = error.message
                continue
            except SourceUnavailable as error:
                # It is about this file alone where the source still answers; where it does not, this raises.
                taken, again, trouble = None, self._settled(current), error.message
            except _Again:
                taken, again = None, self._settled(current)
            if again is None or again.type != "file":
                return Gone(current)
            if taken is None:
                current = again
                continue
            # A database was copied by SQLite: the copy is of one moment, also beside writers.
            if taken.database or _same(current, again) or self._only_grew(taken, current, again):
                return taken
            if last:
                return replace(taken, torn=True)
            current = again
        if trouble:
            return Missed(current, "file-unreadable", trouble)
        return Missed(current, "file-changed", f"{current.path} is replaced again and again")

    def _settled(self, found: Found) -> Found | None:
        try:
            return self.source.settled(found)
        except Unreadable:
            return found  # what was read is all that can be known

    def _only_grew(self, taken: Content, current: Found, again: Found) -> bool:
        """What is only ever appended to (a log) is whole up to where it went when we looked, if that part is still the
        same."""
        if again.size <= current.size or taken.size != current.size:
            return False
        digest, left = hashlib.sha256(), current.size
        try:
            with self.source.open(again) as stream:
                while left and (block := stream.read(min(BLOCK, left))):
                    digest.update(block)
                    left -= len(block)
        except (Vanished, Unreadable):
            return False
        return not left and digest.hexdigest() == taken.sha256

    # ── taking the content

    def _take(self, found: Found, known: Known | None, last: bool) -> Content:
        with self.source.open(found) as stream:
            head = _exactly(stream, min(found.size, LARGEST))
            is_database = database.is_database(head) and isinstance(self.source, database.HasPaths)
            if not is_database and found.size > LARGEST:
                return self._big(found, known, stream, head, last)
        if is_database:
            return self._database(found, known, head, last)
        return self._small(found, head)

    def _small(self, found: Found, data: bytes) -> Content:
        kind = media.detect(data[: media.HEAD], data[-media.TAIL :]) if self.order.media else ""
        digester = self._digester()
        digester.feed(data)
        return Content(
            found,
            len(data),
            hashlib.sha256(data).hexdigest(),
            data,
            shrinks(data),
            media=kind,
            digests=digester.found(),
        )

    def _digester(self) -> Digester:
        return Digester(self._digests)

    def _big(self, found: Found, known: Known | None, stream: BinaryIO, head: bytes, last: bool) -> Content:
        kind = self._kind(head, b"")
        if found.size in self.previous.big_sizes:
            digester = self._digester()
            spot, digest = self._known_content(found, digester)
            if spot is not None:
                return Content(found, found.size, digest, spot=spot, media=kind, digests=digester.found())
        if self._is_mutable(found, known) and isinstance(self.source, HasDescriptors):
            descriptor = self.source.descriptor(found)
            try:
                place = Path(f"/dev/fd/{descriptor}")
                image = self._image(found, known, place, PAGE)
                digests = self._digester().of_file(place).found()
            except OSError as error:
                if error.errno not in BROKEN:
                    raise
                raise Unreadable(f"{found.path}: {error.strerror}") from error
            finally:
                os.close(descriptor)
            return Content(found, image.size, image.sha256, image=image, media=kind, digests=digests)
        digester = self._digester()
        suffix, tail = BLOB_SUFFIX if shrinks(head) else STORED_BLOB_SUFFIX, bytearray()
        blocks = self._blocks(found, stream, head, tail, last)
        blob = self.writer.write(digester.passing(blocks), suffix)
        kind = self._kind(head, bytes(tail[-media.TAIL :]))
        return Content(
            found, blob.plain_size, blob.plain_sha256, blob=blob, media=kind, digests=digester.found()
        )

    def _blocks(
        self, found: Found, stream: BinaryIO, head: bytes, tail: bytearray, last: bool
    ) -> Iterator[bytes]:
        """`tail` gets the end of it."""
        left = found.size - len(head)
        for start in range(0, len(head), BLOCK):
            yield head[start : start + BLOCK]
        self.advanced(found.path, len(head))
        while left and (block := stream.read(min(BLOCK, left))):
            if self.stop.is_set():
                raise Stopped
            left -= len(block)
            if left < media.TAIL:
                tail += block[-media.TAIL :]
            yield block
            self.advanced(found.path, len(block))
        if not last:
            again = self._settled(found)
            # What was staged is thrown away rather than stored: it is of no use.
            if again is None or left or (not _same(found, again) and again.size <= found.size):
                raise _Again

    def _known_content(self, found: Found, digester: Digester) -> tuple[Spot | None, str]:
        """A big file that was moved or touched: reading it once more is cheaper than writing it."""
        digest, left = hashlib.sha256(), found.size
        with self.source.open(found) as stream:
            # As far as it went when it was listed: of one that grows meanwhile, that is what the entry will say.
            while left and (block := stream.read(min(BLOCK, left))):
                if self.stop.is_set():
                    raise Stopped
                digest.update(block)
                digester.feed(block)
                left -= len(block)
        return None if left else self.previous.find(digest.digest()), digest.hexdigest()

    def _is_mutable(self, found: Found, known: Known | None) -> bool:
        if found.size <= IMAGE_FROM:
            return False
        if known is not None and known.data.get("type", "file") == "file":
            return True  # it is not what it was: then it will change again
        return found.sparse or found.path.rpartition("/")[2].rpartition(".")[2].lower() in MUTABLE

    def _image(self, found: Found, known: Known | None, path: Path, block_size: int) -> FileImage:
        image = known.entry.image if known is not None and "image" in known.data else None
        before = EarlierImage(image) if image and self.previous.holds_image(image) else None

        def advanced(size: int) -> None:
            if self.stop.is_set():
                raise Stopped
            self.advanced(found.path, size)

        return self.writer.write_file(path, "content", block_size, before, advanced)

    def _database(self, found: Found, known: Known | None, head: bytes, last: bool) -> Content:
        assert isinstance(self.source, database.HasPaths)
        kind = database.MEDIA
        try:
            with database.copied(self.source.real_path(found)) as copy:
                size = copy.path.stat().st_size
                if size <= LARGEST:
                    return replace(self._small(found, copy.path.read_bytes()), media=kind, database=True)
                digests = self._digester().of_file(copy.path).found()
                if size > IMAGE_FROM:
                    image = self._image(found, known, copy.path, max(copy.page_size, PAGE))
                    taken = Content(found, image.size, image.sha256, image=image)
                else:
                    with copy.path.open("rb") as stream:
                        blob = self.writer.write(iter(lambda: stream.read(BLOCK), b""), BLOB_SUFFIX)
                    taken = Content(found, size, blob.plain_sha256, blob=blob)
                return replace(taken, media=kind, digests=digests, database=True)
        except SourceUnavailable as error:
            # One application that keeps its lock for ever (locking_mode=EXCLUSIVE) must not cost all the rest.
            if not last:
                raise _Again from error
            return replace(self._plainly(found, known, last), plain_copy=error.message, locked=True)
        except SourceChanged as error:
            if last:
                raise Unreadable(error.message) from error
            raise _Again from error
        except SourceError as error:
            # Damaged, encrypted: what lies there is kept as it lies there, and said.
            return replace(self._plainly(found, known, last), plain_copy=error.message)

    def _plainly(self, found: Found, known: Known | None, last: bool) -> Content:
        with self.source.open(found) as stream:
            head = _exactly(stream, min(found.size, LARGEST))
            if found.size > LARGEST:
                return self._big(found, known, stream, head, last)
            return self._small(found, head)

    def _kind(self, head: bytes, tail: bytes) -> str:
        """Where the end is not at hand (blocks, a content that is known) it is told by the beginning alone."""
        return media.detect(head[: media.HEAD], tail) if self.order.media else ""


def _exactly(stream: BinaryIO, size: int) -> bytes:
    """As much as there is, up to `size`."""
    data = stream.read(size)
    if len(data) == size:
        return data
    parts = [data]
    size -= len(data)
    while size and data and (data := stream.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _same(one: Found, other: Found) -> bool:
    return (one.type, one.size, one.mtime_ns, one.state) == (
        other.type,
        other.size,
        other.mtime_ns,
        other.state,
    )
