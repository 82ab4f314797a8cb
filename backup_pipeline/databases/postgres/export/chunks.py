"""Cuts tables into chunks: ranges of heap pages, about `chunk_bytes` each.

Boundaries lie at multiples of a table's own chunk size. The size is kept from backup to backup, so that a growing table
keeps its old chunks. Ranges need TID range scans (PostgreSQL 14); before, a table is one chunk.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backup_pipeline.databases.base import Baseline
from backup_pipeline.databases.postgres.export import connect
from backup_pipeline.model.manifest import Chunk, ObjectRef
from backup_pipeline.model.schema import Table, TableId

#: A table whose rows are mostly in TOAST is cut finer, down to this share of the wanted pages.
_FINEST = 64
#: pg_am's own oid of the access method `heap`: only of that one do we know what a ctid means.
HEAP = 2
#: From here on a server reads a range of ctids without reading the whole table.
RANGES_SINCE = 140000
#: The whole answer of such a table fits in a buffer.
SMALL = 256 * 1024


@dataclass(frozen=True, slots=True)
class Storage:
    """How much there is, in bytes, and what holds it."""

    filenode: int
    tablespace: int
    heap: int
    toast: int
    rows: int
    access_method: int = 0
    #: A statement that the server plans may name it, not only a COPY of the whole.
    ranges: bool = True


@dataclass(frozen=True, slots=True)
class Sizes:
    """In bytes: a page of the server, and the chunks that are asked for."""

    page: int
    chunk: int


@dataclass(frozen=True, slots=True)
class Task:
    """One chunk to read, with all that a worker process must know about it."""

    number: int
    table: TableId
    #: `"public"."orders"`
    name: str
    #: `"id", "total"`; empty when there is nothing to name.
    columns: str
    first_page: int
    end_page: int | None
    #: The only chunk of its table.
    whole: bool
    weight: int
    #: What an earlier backup has at this place, where the rule allows to trust it.
    baseline: Chunk | None = None
    baseline_id: str = ""
    #: The age that the oldest new row could have: `age(xmin)` of a row since then is at most this.
    baseline_xmin: int | None = None
    #: Read it even if it is unchanged, and compare.
    witness: bool = False
    #: A digest of its columns' types, as far as they are not built in.
    types: str = ""
    known: tuple[ObjectRef, ...] = field(default=())

    @property
    def small(self) -> bool:
        return self.whole and self.weight <= SMALL

    def __str__(self) -> str:
        return self.label

    @property
    def label(self) -> str:
        if self.whole:
            return str(self.table)
        return f"{self.table} (pages {self.first_page} to {self.end_page if self.end_page is not None else 'the end'})"

    @property
    def range(self) -> str:
        conditions = []
        if self.first_page:
            conditions.append(f"ctid >= '({self.first_page},0)'::pg_catalog.tid")
        if self.end_page is not None:
            conditions.append(f"ctid < '({self.end_page},0)'::pg_catalog.tid")
        return f" WHERE {' AND '.join(conditions)}" if conditions else ""

    @property
    def copy_statement(self) -> str:
        # COPY of a plain table reads that table alone, like ONLY, and is a little cheaper than a query.
        if not self.range:
            columns = f" ({self.columns})" if self.columns else ""
            return f"COPY {self.name}{columns} TO STDOUT"
        return f"COPY (SELECT {self.columns} FROM ONLY {self.name}{self.range}) TO STDOUT"

    @property
    def check_statement(self) -> str:
        # The driver takes a % of a name for a parameter.
        name = self.name.replace("%", "%%")
        return (
            "SELECT pg_catalog.count(*), pg_catalog.min(pg_catalog.age(xmin)), pg_catalog.age(%s::pg_catalog.xid)"
            f" FROM ONLY {name}{self.range}"
        )


def chunk_pages(storage: Storage, sizes: Sizes, earlier: Baseline | None) -> int:
    """How many pages a chunk of this table covers."""
    wanted = max(1, sizes.chunk // sizes.page)
    if storage.heap and storage.toast > storage.heap:
        finer = min(_FINEST, (storage.heap + storage.toast) // storage.heap)
        wanted = max(1, wanted >> (finer.bit_length() - 1))
    if earlier is not None:
        for chunk in earlier.entry.chunks:
            if chunk.first_page is not None and chunk.end_page is not None:
                kept = chunk.end_page - chunk.first_page
                if wanted <= kept * 4 and kept <= wanted * 4:
                    return kept
    return wanted


def ranges(pages: int, per_chunk: int) -> list[tuple[int, int | None]]:
    """Cuts `pages` into pieces; the last one is open, for the table may have grown since it was measured."""
    starts = range(0, max(pages, 1), per_chunk)
    return [(start, start + per_chunk if start + per_chunk < pages else None) for start in starts]


def table_tasks(
    table: Table,
    storage: Storage,
    connection: connect.Connection,
    *,
    sizes: Sizes,
    first_number: int,
    earlier: Baseline | None,
) -> list[Task]:
    pages = -(-storage.heap // sizes.page)
    cuts: list[tuple[int, int | None]] = [(0, None)]
    per_chunk = chunk_pages(storage, sizes, earlier)
    if connection.server_version >= RANGES_SINCE and storage.access_method == HEAP and storage.ranges:
        cuts = ranges(pages, per_chunk)
    columns = ", ".join(connect.quoted(connection, name) for name in table.exported_columns)
    known = _known(earlier)
    total = storage.heap + storage.toast
    return [
        Task(
            number=first_number + place,
            table=table.id,
            name=connect.quoted(connection, table.id.schema, table.id.name),
            columns=columns,
            first_page=first,
            end_page=end,
            whole=len(cuts) == 1,
            weight=total * min(per_chunk, pages - first) // pages if pages else 0,
            known=known.get(first, ()),
        )
        for place, (first, end) in enumerate(cuts)
    ]


def _known(earlier: Baseline | None) -> Mapping[int, tuple[ObjectRef, ...]]:
    if earlier is None:
        return {}
    return {chunk.first_page or 0: (chunk.object,) for chunk in earlier.entry.chunks}
