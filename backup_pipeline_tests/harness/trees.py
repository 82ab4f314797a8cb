"""Trees on a disk for tests: backed up by the engine alone, and taken apart again to be compared byte by byte."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from backup_pipeline.files.sources.base import FileSource
from backup_pipeline.files.sources.local import LocalSource
from backup_pipeline.files.store import KnownTree, StoredTree, TreeOrder, store_tree
from backup_pipeline.model.files import FileEntry, read_lines
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.stores.local import LocalStore
from backup_pipeline.vault.journal import TreeNote
from backup_pipeline.vault.objects import ObjectWriter
from backup_pipeline.vault.packs import read_contents


@dataclass
class TreeBench:
    """A tree, a vault, and one backup of the tree after the other."""

    root: Path
    vault: Path
    last: FileTree | None = None
    notes: list[TreeNote] = field(default_factory=list)
    emptied: bool = False

    @property
    def writer(self) -> ObjectWriter:
        return ObjectWriter(LocalStore(self.vault))

    def put(self, path: str, data: bytes = b"x") -> Path:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return file

    def back_up(
        self,
        *,
        source: FileSource | None = None,
        full: bool = False,
        rehash_after: float | None = None,
        media: bool = False,
        now: datetime | None = None,
        listener: Listener = silent,
        noted: Callable[[TreeNote], None] | None = None,
        may_be_empty: bool = False,
        night: date | None = None,
    ) -> StoredTree:
        chosen = source or LocalSource(self.root)
        order = TreeOrder("media", chosen, full, rehash_after, media, may_be_empty, night=night)
        stored = store_tree(
            self.writer,
            order,
            KnownTree(self.last, self.notes, self.emptied),
            now=now or datetime.now(UTC),
            listener=listener,
            note=noted or self.notes.append,
        )
        self.last, self.notes = stored.tree, []
        self.emptied = any(finding.code == "tree-became-empty" for finding in stored.findings)
        return stored

    def entries(self, tree: FileTree | None = None) -> list[FileEntry]:
        return entries_of(self.writer, tree or self._last)

    def contents(self, tree: FileTree | None = None) -> dict[str, bytes]:
        tree = tree or self._last
        wanted = entries_of(self.writer, tree)
        return {
            entry.path: b"".join(blocks) for entry, blocks in read_contents(self.writer.objects, tree, wanted)
        }

    @property
    def _last(self) -> FileTree:
        assert self.last is not None
        return self.last

    def stored_bytes(self) -> int:
        return sum(stat.size for stat in LocalStore(self.vault).list())


def entries_of(writer: ObjectWriter, tree: FileTree) -> list[FileEntry]:
    from backup_pipeline.vault.objects import read_blocks

    return list(read_lines(read_blocks(writer.objects, tree.listing), what="the listing"))


def on_disk(root: Path) -> dict[str, bytes]:
    """Every regular file, read by the simplest means; of hard links one name is enough, but all are given."""
    found = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(root))] = path.read_bytes()
    return found
