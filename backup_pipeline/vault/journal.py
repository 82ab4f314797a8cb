"""What a run has finished before it has a manifest: so that the next run need not read it again.

While a backup runs, the chunks that are safely in the vault are noted under `<system>/<id>/journal/`, a
few seconds at a time. The manifest makes the notes superfluous and they are removed; a run that was killed leaves
them, and the next run takes them as one more baseline for the unchanged-chunk rule. Of a file tree each finished pack is
noted, with a small listing of what is in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace

from backup_pipeline.errors import AlreadyExists
from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import ObjectRef, TableEntry
from backup_pipeline.model.schema import TableId
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import layout
from backup_pipeline.vault.backup import Backup

EVERY_SECONDS = 3.0
EVERY_CHUNKS = 64
#: Numbers that are tried for one note; notes are a convenience, and one that finds no place is let go.
MOST_TAKEN = 1000


@dataclass(frozen=True, slots=True)
class TreeNote:
    """Contents of a file tree that are in the vault."""

    tree: str
    #: Lines as in any listing, of what was read; sorted.
    listing: ObjectRef
    #: What they name …
    packs: tuple[ObjectRef, ...]
    #: … by numbers that begin with this one.
    first: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """One note: what was finished since the note before."""

    state: dict[str, str]
    tables: tuple[TableEntry, ...] = ()
    trees: tuple[TreeNote, ...] = ()


@dataclass
class Journal:
    backup: Backup
    state: dict[str, str]
    clock: Callable[[], float] = time.monotonic
    _pending: list[TableEntry] = field(default_factory=list)
    _trees: list[TreeNote] = field(default_factory=list)
    _number: int = 0
    _written_at: float | None = None

    @classmethod
    def continued(cls, backup: Backup, state: dict[str, str]) -> Journal:
        """Another step of the same backup goes on writing."""
        names = [key.rpartition("/")[2].removesuffix(".json") for key in _keys(backup)]
        numbers = [int(name) for name in names if name.isdecimal()]
        return cls(backup, state, _number=max(numbers, default=0))

    def note(self, entry: TableEntry) -> None:
        self._pending.append(entry)
        self._noted()

    def note_tree(self, note: TreeNote) -> None:
        self._trees.append(note)
        self._noted()

    def _noted(self) -> None:
        if self._written_at is None:
            self._written_at = self.clock()
        due = self.clock() - self._written_at >= EVERY_SECONDS
        if due or len(self._pending) + len(self._trees) >= EVERY_CHUNKS:
            self.flush()

    def flush(self) -> None:
        if self._pending or self._trees:
            self._write(canonical.encode(Page(self.state, tuple(self._pending), tuple(self._trees))))
        self._pending.clear()
        self._trees.clear()
        self._written_at = self.clock()

    def _write(self, page: bytes) -> None:
        """Other steps of the same backup write notes at the same time: a step whose number is taken takes the next."""
        for _ in range(MOST_TAKEN):
            self._number += 1
            with suppress(AlreadyExists):
                key = layout.journal_key(self.backup.system, self.backup.id, self._number)
                self.backup.vault.notes.put(key, page)
                return


def read(backup: Backup) -> tuple[dict[str, str], dict[TableId, TableEntry]]:
    """The state of an interrupted run's snapshot and, for each table, the chunks that it had finished."""
    state: dict[str, str] = {}
    tables: dict[TableId, TableEntry] = {}
    for page in _pages(backup):
        state = page.state
        for entry in page.tables:
            known = tables.get(entry.id)
            tables[entry.id] = entry if known is None else _joined(known, entry)
    return state, tables


def read_trees(backup: Backup) -> tuple[TreeNote, ...]:
    """What an interrupted run had stored of its file trees, in the order in which it was stored."""
    return tuple(note for page in _pages(backup) for note in page.trees)


def _keys(backup: Backup) -> list[str]:
    prefix = layout.journal_prefix(backup.system, backup.id)
    return sorted(stat.key for stat in backup.vault.notes.list(prefix))


def _pages(backup: Backup) -> Iterator[Page]:
    for key in _keys(backup):
        yield canonical.decode(Page, read_all(backup.vault.notes, key), what=key)


def _joined(one: TableEntry, other: TableEntry) -> TableEntry:
    chunks = sorted((*one.chunks, *other.chunks), key=lambda chunk: chunk.first_page or 0)
    return replace(one, chunks=tuple(chunks), rows=one.rows + other.rows, bytes=one.bytes + other.bytes)


def remove(backup: Backup) -> None:
    for key in _keys(backup):
        backup.vault.notes.delete(key)
