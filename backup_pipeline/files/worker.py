"""A worker process of a file tree (`processes.workers` starts and ends it): reads and hashes small files, and packs those
contents that the parent calls new.

Each batch of files is two tasks. `Read` keeps the contents in memory and gives back the digests and the lines of the
listing. `Pack` names those that are new, and frees the memory. So the parent alone knows which contents are in the vault,
and a content that two workers read is packed once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

from backup_pipeline.databases.sqlite.header import MAGIC
from backup_pipeline.files.digesting import Digester
from backup_pipeline.files.sources import media
from backup_pipeline.files.sources.aging import let_it_age
from backup_pipeline.files.sources.base import Found
from backup_pipeline.files.sources.local import LocalSource
from backup_pipeline.model.files import FileEntry, line_of
from backup_pipeline.model.manifest import ObjectRef
from backup_pipeline.processes.workers import Handle, Tell
from backup_pipeline.stores.staging import staging_name
from backup_pipeline.vault.crypto import Keys
from backup_pipeline.vault.objects import Staged
from backup_pipeline.vault.packs import PACK_SUFFIX, STORED_PACK_SUFFIX, Tar, shrinks

FACTORY = "backup_pipeline.files.worker:working"
#: The parent keeps the lines of a pack in mind until the pack is finished, 300 bytes for each.
MOST_CONTENTS = 25_000

#: What a worker is told of a file: the fields of `Found`, in their order.
fields_of = attrgetter(*Found.__dataclass_fields__)


@dataclass(frozen=True, slots=True)
class Setup:
    root: Path
    staging: Path
    address: str
    level: int
    keys: Keys | None
    media: bool
    digests: frozenset[str]
    #: A pack is finished when it holds this much.
    target: int


@dataclass(frozen=True, slots=True)
class Read:
    batch: int
    files: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Pack:
    worker: int
    batch: int
    #: Those files of the batch that have a new content.
    new: Sequence[int]
    #: No batch, and none comes after it: finish the open packs.
    last: bool = False


#: Of each file of a batch its digest and its line, without a place. None: the parent is to read that file.
Lines = list[tuple[bytes, bytes] | None]


@dataclass(frozen=True, slots=True)
class Packed:
    #: Of each new content: the pack, in this worker's count, and the offset.
    spots: list[tuple[int, int]]
    #: Finished packs that wait in the staging folder for their names.
    ended: list[tuple[int, str, ObjectRef]]


class _Pack:
    """An open pack of this worker."""

    def __init__(self, number: int, setup: Setup, suffix: str) -> None:
        self.number = number
        self._target = setup.target
        self.path = setup.staging / staging_name()
        what = f"cannot write an object in {setup.address}"
        self._made = Staged(self.path, suffix, setup.level, setup.keys, what=what)
        self.tar = Tar(self._made.write)

    def is_full(self, size: int) -> bool:
        return self.tar.size + size > self._target or self.tar.contents >= MOST_CONTENTS

    def end(self) -> tuple[int, str, ObjectRef]:
        self.tar.end()
        with self._made:
            return self.number, str(self.path), self._made.finish()

    def abort(self) -> None:
        with self._made:
            self.path.unlink(missing_ok=True)


class _Worker:
    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._source = LocalSource(setup.root)
        self._open: dict[str, _Pack] = {}
        self._packs = 0
        self._ended: list[tuple[int, str, ObjectRef]] = []
        #: Batch → its digests, and where each content lies in the memory of the batch.
        self._held: dict[int, tuple[bytearray, dict[int, tuple[str, int, int]]]] = {}
        #: Memory is used again: taking it anew costs the kernel as much as reading into it.
        self._free: list[bytearray] = []

    def handle(self, task: Read | Pack, _tell: Tell) -> Lines | Packed:
        if isinstance(task, Read):
            return self._read(task)
        spots = [] if task.last else self._pack(task)
        if task.last:
            for suffix in list(self._open):
                self._end(suffix)
        ended, self._ended = self._ended, []
        return Packed(spots, ended)

    def close(self) -> None:
        for pack in self._open.values():
            pack.abort()

    def _read(self, task: Read) -> Lines:
        files = [Found(*fields) for fields in task.files]
        size = sum(found.size for found in files)
        memory = self._free.pop() if self._free else bytearray()
        if len(memory) < size:
            memory = bytearray(size)
        view, at = memoryview(memory), 0
        lines: Lines = []
        where: dict[int, tuple[str, int, int]] = {}
        for index, found in enumerate(files):
            let_it_age(found)
            content = view[at : at + found.size]
            if not self._source.read_into(found, content) or content[: len(MAGIC)] == MAGIC:
                lines.append(None)
                continue
            digest = hashlib.sha256(content)
            where[index] = digest.hexdigest(), at, found.size
            lines.append((digest.digest(), self._line(found, content, digest.hexdigest())))
            at += found.size
        self._held[task.batch] = memory, where
        return lines

    def _line(self, found: Found, content: memoryview, sha256: str) -> bytes:
        kind = digests = None
        if self._setup.media:
            kind = media.detect(bytes(content[: media.HEAD]), bytes(content[-media.TAIL :]))
        if self._setup.digests:
            digester = Digester(self._setup.digests)
            digester.feed(content)
            digests = digester.found()
        return line_of(
            FileEntry(
                found.path,
                "file",
                found.size,
                found.mode,
                found.mtime_ns,
                sha256,
                uid=found.uid,
                gid=found.gid,
                state=found.state,
                sparse=found.sparse,
                media=kind or "",
                digests=digests,
            )
        )

    def _pack(self, task: Pack) -> list[tuple[int, int]]:
        memory, where = self._held.pop(task.batch)
        view, spots = memoryview(memory), []
        for index in task.new:
            sha256, at, size = where[index]
            content = view[at : at + size]
            pack = self._pack_for(PACK_SUFFIX if shrinks(content) else STORED_PACK_SUFFIX, size)
            spots.append((pack.number, pack.tar.add(sha256, content)))
        for pack in self._open.values():
            pack.tar.flush()
        self._free.append(memory)
        return spots

    def _pack_for(self, suffix: str, size: int) -> _Pack:
        if suffix in self._open and self._open[suffix].is_full(size):
            self._end(suffix)
        if suffix not in self._open:
            self._open[suffix] = _Pack(self._packs, self._setup, suffix)
            self._packs += 1
        return self._open[suffix]

    def _end(self, suffix: str) -> None:
        self._ended.append(self._open.pop(suffix).end())


@contextmanager
def working(setup: Setup) -> Iterator[Handle]:
    worker = _Worker(setup)
    try:
        yield worker.handle
    finally:
        worker.close()
