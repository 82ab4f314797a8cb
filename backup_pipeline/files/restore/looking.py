"""The listing held against the target: what is there already, what would be made, and what is in the way."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

from backup_pipeline.errors import Damaged, InTheWay
from backup_pipeline.files.restore.anchored import Folders, kind_of
from backup_pipeline.files.restore.files_plan import EXAMPLES, FilesOrder, TreePlan
from backup_pipeline.files.restore.names import leads_out, too_long
from backup_pipeline.files.restore.spool import Item, Spool
from backup_pipeline.files.sources.matching import Patterns
from backup_pipeline.model.files import FileEntry
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.vault.packs import EMPTY_SHA256

#: Files that are there and as long as they should be are hashed so many at a time.
_AT_ONCE = 256
_THREADS = 2


@dataclass
class Kept:
    """How many there are, and the first few."""

    count: int = 0
    bytes: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, path: str, size: int = 0) -> None:
        self.count += 1
        self.bytes += size
        if len(self.examples) < EXAMPLES:
            self.examples.append(path)


@dataclass
class Work:
    """One tree: what the plan says, and what is to be done for it."""

    tree: FileTree
    #: Below the target; empty: the target itself.
    below: str
    files: Spool
    links: Spool
    hardlinks: Spool
    folders: list[Item] = field(default_factory=list)
    images: list[tuple[FileEntry, Item]] = field(default_factory=list)
    create: Kept = field(default_factory=Kept)
    equal: Kept = field(default_factory=Kept)
    differs: Kept = field(default_factory=Kept)
    blocked: list[Finding] = field(default_factory=list)
    outside: Kept = field(default_factory=Kept)
    long_names: Kept = field(default_factory=Kept)
    odd_bits: int = 0
    chosen: int = 0
    left_out: int = 0
    #: What will surely be taken of the disk: all that is written but for files with holes.
    sure_bytes: int = 0

    def place(self, path: str) -> str:
        return f"{self.below}/{path}" if self.below else path

    def plan(self, folder: str) -> TreePlan:
        shown = {"create": self.create, "equal": self.equal, "differs": self.differs}
        return TreePlan(
            self.tree.name,
            folder,
            create=self.create.count,
            create_bytes=self.create.bytes,
            equal=self.equal.count,
            differs=self.differs.count,
            differs_bytes=self.differs.bytes,
            folders=len(self.folders),
            left_out=self.left_out,
            examples={name: tuple(kept.examples) for name, kept in shown.items() if kept.count},
        )


class Chosen:
    """Which paths of a tree are wanted."""

    def __init__(self, order: FilesOrder, named: Iterable[str] | None) -> None:
        self._patterns = Patterns(tuple(order.globs))
        #: Sorted as the listing is, so that both stream by.
        self._named = iter(named) if named is not None else None
        self._next = next(self._named, None) if self._named is not None else None

    @property
    def everything(self) -> bool:
        return not self._patterns.include and self._named is None

    def __call__(self, entry: FileEntry) -> bool:
        by_row = self._is_named(entry)
        return by_row and self._patterns.includes(entry.path, folder=entry.type == "folder")

    def _is_named(self, entry: FileEntry) -> bool:
        if self._named is None:
            return True
        key = entry.sort_key
        while self._next is not None and os.fsencode(self._next) < key:
            self._next = next(self._named, None)
        return self._next == entry.path


def _content_of(entry: FileEntry) -> dict[str, Any]:
    return {
        "size": entry.size,
        "sha256": entry.sha256,
        "place": entry.place,
        "image": entry.image,
        "sparse": entry.sparse,
    }


def _alone(entry: FileEntry, first: FileEntry) -> FileEntry:
    """A hard link as a file of its own."""
    return replace(entry, type="file", target="", **_content_of(first))


class Look:
    """Goes through one tree's entries, in order."""

    def __init__(self, root: int | None, work: Work, order: FilesOrder) -> None:
        self._root = root
        self._work = work
        self._order = order
        self._folders = Folders(root) if root is not None else None
        self._absent = ""
        self._waiting: list[FileEntry] = []
        #: Hard links by the path whose content they share, where that content has to be known: in a part of a tree, in
        #: which that path may not be, and where one of the names is in the target already.
        self._shared: dict[str, list[FileEntry]] = {}
        self._part = False

    def look_at(self, entries: Iterable[FileEntry], chosen: Chosen) -> None:
        #: Folders above what is chosen: they are made if something lies in them.
        above: list[FileEntry] = []
        self._part = not chosen.everything
        try:
            for entry in entries:
                while above and not entry.path.startswith(above[-1].path + "/"):
                    above.pop()
                if entry.type == "folder" and not chosen.everything and not chosen(entry):
                    above.append(entry)
                    continue
                if entry.type != "folder" and not chosen(entry):
                    self._work.left_out += 1
                    continue
                self._work.chosen += 1
                for folder in above:
                    self._folder(folder)
                above.clear()
                if entry.type == "hardlink" and self._part:
                    self._shared.setdefault(entry.target, []).append(entry)
                else:
                    self._entry(entry)
                if len(self._waiting) >= _AT_ONCE:
                    self._compare()
            self._compare()
        finally:
            self.close()

    def close(self) -> None:
        if self._folders is not None:
            self._folders.__exit__(None, None, None)

    @property
    def needs_contents(self) -> bool:
        return bool(self._shared)

    def look_at_shared(self, entries: Iterable[FileEntry]) -> None:
        """Here come the contents."""
        for entry in entries:
            others = self._shared.pop(entry.path, ())
            known: dict[tuple[int, int], bool] = {}
            for other in others:
                if self._part:
                    self._entry(_alone(other, entry))
                else:
                    self._share(other, entry, known)
        self._compare()
        self.close()
        for target, others in self._shared.items():
            raise Damaged(
                f"{others[0].path} shares the content of {target}, which is not in the listing",
                remedy="restore another backup, and look at who can write to the vault",
            )

    def _share(self, entry: FileEntry, first: FileEntry, known: dict[tuple[int, int], bool]) -> None:
        """The state of one name says nothing of the other's: a write into the file changed all of its names,
        and a replacement parted them."""
        found = self._status(entry.path)
        if found is None:
            there = self._status(first.path)
            shared = self._order.overwrite or there is None or self._holds(first.path, there, first, known)
            self._make(entry if shared else _alone(entry, first))
        elif not stat.S_ISREG(found.st_mode):
            self._block_file(entry.path, found)
        elif self._holds(entry.path, found, first, known):
            self._work.equal.add(entry.path)
        else:
            self._differs(entry)

    def _holds(
        self, path: str, found: os.stat_result, first: FileEntry, known: dict[tuple[int, int], bool]
    ) -> bool:
        """Whether the file there has the content of `first`; `known`: what was found out of it under another name."""
        if not stat.S_ISREG(found.st_mode) or found.st_size != first.size:
            return False
        inode = found.st_dev, found.st_ino
        if inode not in known:
            known[inode] = self._digest(path) == (first.sha256 or EMPTY_SHA256)
        return known[inode]

    def _entry(self, entry: FileEntry) -> None:
        if too_long(entry.path):
            self._work.long_names.add(entry.path)
            return
        if entry.type == "folder":
            self._folder(entry)
            return
        if entry.type == "link" and leads_out(entry.path, entry.target) and not self._order.outside_links:
            self._work.outside.add(f"{entry.path} → {entry.target}")
            return
        if entry.mode is not None and entry.mode & 0o6000 and not self._order.owner:
            self._work.odd_bits += 1
        found = self._status(entry.path)
        if entry.type == "hardlink" and (found is not None or self._status(entry.target) is not None):
            self._shared.setdefault(entry.target, []).append(entry)
        elif found is None:
            self._make(entry)
        elif entry.type == "link":
            self._compare_link(entry, found)
        elif not stat.S_ISREG(found.st_mode):
            self._block_file(entry.path, found)
        elif found.st_size != entry.size:
            self._differs(entry)
        else:
            self._waiting.append(entry)

    def _folder(self, entry: FileEntry) -> None:
        found = self._status(entry.path)
        if found is not None and not stat.S_ISDIR(found.st_mode):
            self._block(
                entry.path, f"{entry.path} is {kind_of(found.st_mode)} in the target, and should be a folder"
            )
            return
        place = self._work.place(entry.path)
        self._work.folders.append(
            Item(
                place, 0, entry.mode, entry.mtime_ns, uid=entry.uid, gid=entry.gid, replaces=found is not None
            )
        )

    def _status(self, path: str) -> os.stat_result | None:
        if self._folders is None:
            return None
        place = self._work.place(path)
        if self._absent and place.startswith(self._absent):
            return None
        try:
            folder = self._folders.folder(place.rpartition("/")[0])
        except FileNotFoundError:
            self._absent = place.rpartition("/")[0] + "/"
            return None
        except InTheWay as error:
            self._block(path, error.message)
            return None
        try:
            return os.stat(place.rpartition("/")[2], dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _block(self, path: str, message: str) -> None:
        if len(self._work.blocked) < EXAMPLES:
            self._work.blocked.append(
                Finding.of("in-the-way", tree=self._work.tree.name, message=message, examples=(path,))
            )

    def _block_file(self, path: str, found: os.stat_result) -> None:
        self._block(path, f"{path} is {kind_of(found.st_mode)} in the target, and should be a file")

    def _compare_link(self, entry: FileEntry, found: os.stat_result) -> None:
        if not stat.S_ISLNK(found.st_mode):
            self._block(
                entry.path, f"{entry.path} is {kind_of(found.st_mode)} in the target, and should be a link"
            )
            return
        assert self._folders is not None
        folder, name = self._folders.parent(self._work.place(entry.path))
        if os.readlink(name, dir_fd=folder) == entry.target:
            self._work.equal.add(entry.path)
        else:
            self._differs(entry)

    def _compare(self) -> None:
        """Files of the right length: is it the right content, too?"""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="compare") as pool:
            for entry, equal in zip(waiting, pool.map(self._is_equal, waiting), strict=True):
                if equal:
                    self._work.equal.add(entry.path)
                else:
                    self._differs(entry)

    def _is_equal(self, entry: FileEntry) -> bool:
        return self._digest(entry.path) == (entry.sha256 or EMPTY_SHA256)

    def _digest(self, path: str) -> str:
        assert self._root is not None
        digest = hashlib.sha256()
        with Folders(self._root) as folders, folders.reading(self._work.place(path)) as descriptor:
            while block := os.read(descriptor, 1 << 20):
                digest.update(block)
        return digest.hexdigest()

    def _differs(self, entry: FileEntry) -> None:
        self._work.differs.add(entry.path, entry.size)
        if self._order.overwrite:
            self._queue(entry, replaces=True)

    def _make(self, entry: FileEntry) -> None:
        self._work.create.add(entry.path, entry.size if entry.type == "file" else 0)
        self._queue(entry, replaces=False)

    def _queue(self, entry: FileEntry, *, replaces: bool) -> None:
        work = self._work
        item = Item(
            work.place(entry.path),
            entry.size,
            entry.mode,
            entry.mtime_ns,
            entry.sha256,
            entry.uid,
            entry.gid,
            work.place(entry.target) if entry.type == "hardlink" else entry.target,
            replaces,
            entry.sparse,
        )
        if not entry.sparse:
            work.sure_bytes += entry.size
        if entry.type == "link":
            work.links.add(item)
        elif entry.type == "hardlink":
            work.hardlinks.add(item)
        elif entry.image is not None:
            work.images.append((entry, item))
        elif entry.place is not None:
            work.files.add(item, entry.place.pack, entry.place.offset)
        else:
            work.files.add(item, len(work.tree.packs), 0)  # empty: after the last pack


def findings_of(works: Iterable[Work], order: FilesOrder) -> Iterator[Finding]:
    """What will not be as it was."""
    for work in works:
        name = work.tree.name
        if work.odd_bits:
            yield Finding.of("mode-bits-dropped", tree=name, odd_bits=work.odd_bits)
        if work.differs.count and order.leave:
            yield Finding.of("file-left", tree=name, count=work.differs.count, examples=work.differs.examples)
        if work.long_names.count and order.salvage:
            yield _too_long(work)


def refusals_of(works: Iterable[Work], order: FilesOrder) -> Iterator[Finding]:
    for work in works:
        name = work.tree.name
        yield from work.blocked
        if work.outside.count:
            yield Finding.of(
                "link-leads-out",
                tree=name,
                count=work.outside.count,
                said=work.outside.examples[0],
                examples=work.outside.examples,
            )
        if work.long_names.count and not order.salvage:
            yield _too_long(work)
        if work.differs.count and not (order.overwrite or order.leave):
            yield Finding.of(
                "target-not-empty/files",
                tree=name,
                count=work.differs.count,
                said=work.differs.examples[0],
                examples=work.differs.examples,
            )


def _too_long(work: Work) -> Finding:
    return Finding.of(
        "name-too-long",
        tree=work.tree.name,
        count=work.long_names.count,
        examples=(path[:200] for path in work.long_names.examples),
    )
