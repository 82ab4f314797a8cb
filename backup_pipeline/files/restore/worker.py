"""Brings back the files of one pack after the other: in a worker process (`processes.workers` starts and ends it), or in a
thread of the restore itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.files.restore.anchored import open_target
from backup_pipeline.files.restore.spool import Item, item_of
from backup_pipeline.files.restore.writing import Manners, Writer
from backup_pipeline.model.files import FileEntry, Place
from backup_pipeline.model.manifest import ObjectRef
from backup_pipeline.processes.workers import Handle, Tell
from backup_pipeline.vault.objects import Objects
from backup_pipeline.vault.packs import read_pack

FACTORY = "backup_pipeline.files.restore.worker:bringing"
#: So many damaged contents of one pack are passed over; then the pack is given up.
_TRIES = 20
#: A worker tells of its progress after so many files, or bytes.
_TELL_FILES, _TELL_BYTES = 200, 8 * 1024 * 1024

#: Told of each file that is written, or of some together: the last path, and the bytes.
Wrote = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Setup:
    objects: Objects
    target: Path
    manners: Manners
    #: Pass over what is damaged.
    salvage: bool


@dataclass(frozen=True, slots=True)
class Task:
    #: None: files without a content.
    pack: ObjectRef | None
    #: Offsets in the pack, rising, each with its packed item.
    wanted: Sequence[tuple[int, bytes]]


@dataclass(slots=True)
class Done:
    files: int = 0
    bytes: int = 0
    #: Old files that were kept beside new ones.
    kept: int = 0
    lost: tuple[str, ...] = ()
    why: str = ""


class Bringer:
    def __init__(self, setup: Setup, root: int, wrote: Wrote) -> None:
        self._setup = setup
        self._root = root
        self._wrote = wrote

    def bring(self, task: Task) -> Done:
        items = [(offset, item_of(packed)) for offset, packed in task.wanted]
        done = Done()
        with Writer(self._root, self._setup.manners) as writer:
            if task.pack is None:
                for _, item in items:
                    self.write(writer, item, (), done)
            else:
                self._pack(writer, task.pack, items, done)
            writer.settle()
            done.kept = writer.kept
        return done

    def write(self, writer: Writer, item: Item, blocks: Iterable[bytes], done: Done) -> None:
        writer.write(item, blocks)
        done.files += 1
        done.bytes += item.size
        self._wrote(item.path, item.size)

    def _pack(self, writer: Writer, pack: ObjectRef, items: list[tuple[int, Item]], done: Done) -> None:
        left = [
            (FileEntry(item.path, size=item.size, sha256=item.sha256, place=Place(0, offset)), item)
            for offset, item in items
        ]
        lost: list[str] = []
        while left:
            left, error = self._some_of(writer, pack, left, done)
            if error is None:
                break
            if not self._setup.salvage:
                raise error
            # What is damaged is passed over; what lies behind it may be whole.
            many = len(lost) >= _TRIES
            lost += [item.path for _, item in (left if many else left[:1])]
            left, done.why = [] if many else left[1:], error.message
        done.lost = tuple(lost)

    def _some_of(
        self, writer: Writer, pack: ObjectRef, wanted: list[tuple[FileEntry, Item]], done: Done
    ) -> tuple[list[tuple[FileEntry, Item]], Damaged | None]:
        """What was not written, and what was in the way: the first of them is damaged."""
        items = {entry.path: item for entry, item in wanted}
        try:
            for entry, blocks in read_pack(self._setup.objects, pack, (entry for entry, _ in wanted)):
                self.write(writer, items[entry.path], blocks, done)
                del items[entry.path]
        except Damaged as error:
            return [one for one in wanted if one[0].path in items], error
        return [], None


class _Telling:
    def __init__(self) -> None:
        self.tell: Tell | None = None
        self._files = self._bytes = 0
        self._path = ""

    def wrote(self, path: str, size: int) -> None:
        self._files += 1
        self._bytes += size
        self._path = path
        if self._files >= _TELL_FILES or self._bytes >= _TELL_BYTES:
            self.flush()

    def flush(self) -> None:
        if self._files and self.tell is not None:
            self.tell((self._path, self._bytes))
        self._files = self._bytes = 0


@contextmanager
def bringing(setup: Setup) -> Iterator[Handle]:
    root = open_target(setup.target, make=False)
    if root is None:
        raise NotFound(f"{setup.target} is gone", remedy="run it again")
    telling = _Telling()
    bringer = Bringer(setup, root, telling.wrote)

    def handle(task: Task, tell: Tell) -> Done:
        telling.tell = tell
        done = bringer.bring(task)
        telling.flush()
        return done

    try:
        yield handle
    finally:
        os.close(root)
