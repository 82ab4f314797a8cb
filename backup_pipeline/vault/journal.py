"""What a run has finished before it has a manifest: so that the next run need not read it again.

While a backup runs, the chunks that are safely in the vault are noted under `<system>/<id>/journal/`, a
few seconds at a time. The manifest makes the notes superfluous and they are removed; a run that was killed leaves
them, and the next run takes them as one more baseline for the unchanged-chunk rule.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import TableEntry
from backup_pipeline.model.schema import TableId
from backup_pipeline.stores.base import Store, read_all
from backup_pipeline.vault import layout

EVERY_SECONDS = 3.0
EVERY_CHUNKS = 64


@dataclass(frozen=True, slots=True)
class Page:
    """One note: chunks that were finished since the note before."""

    state: dict[str, str]
    tables: tuple[TableEntry, ...]


@dataclass
class Journal:
    store: Store
    system: str
    id: str
    state: dict[str, str]
    clock: Callable[[], float] = time.monotonic
    _pending: list[TableEntry] = field(default_factory=list)
    _number: int = 0
    _written_at: float | None = None

    def note(self, entry: TableEntry) -> None:
        self._pending.append(entry)
        if self._written_at is None:
            self._written_at = self.clock()
        due = self.clock() - self._written_at >= EVERY_SECONDS
        if due or len(self._pending) >= EVERY_CHUNKS:
            self.flush()

    def flush(self) -> None:
        if self._pending:
            self._number += 1
            page = Page(self.state, tuple(self._pending))
            self.store.put(layout.journal_key(self.system, self.id, self._number), canonical.encode(page))
        self._pending.clear()
        self._written_at = self.clock()


def read(store: Store, system: str, identifier: str) -> tuple[dict[str, str], dict[TableId, TableEntry]]:
    """The state of an interrupted run's snapshot and, for each table, the chunks that it had finished."""
    state: dict[str, str] = {}
    tables: dict[TableId, TableEntry] = {}
    for stat in store.list(layout.journal_prefix(system, identifier)):
        page = canonical.decode(Page, read_all(store, stat.key), what=stat.key)
        state = page.state
        for entry in page.tables:
            known = tables.get(entry.id)
            tables[entry.id] = entry if known is None else _joined(known, entry)
    return state, tables


def _joined(one: TableEntry, other: TableEntry) -> TableEntry:
    chunks = sorted((*one.chunks, *other.chunks), key=lambda chunk: chunk.first_page or 0)
    return replace(one, chunks=tuple(chunks), rows=one.rows + other.rows, bytes=one.bytes + other.bytes)


def remove(store: Store, system: str, identifier: str) -> None:
    for stat in list(store.list(layout.journal_prefix(system, identifier))):
        store.delete(stat.key)
