"""Rows of a backup into a staging table, and rows of the target out: both as COPY's text.

A chunk goes in by one COPY. Where a row does not fit the types of the target, the chunk is undone and goes in again in
parts; a part that is refused is halved until the refused rows are alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain

import psycopg
import sqlalchemy as sa
from psycopg import sql

from backup_pipeline.databases.merge.plan import Rejected
from backup_pipeline.databases.merge.references import root_of
from backup_pipeline.databases.merge.session import Filled, Staged
from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.export.session import row_encoding
from backup_pipeline.databases.postgres.merging.failing import OF_ROWS, explained, failure
from backup_pipeline.databases.postgres.merging.held import Held
from backup_pipeline.databases.postgres.restore.rows import copy_in, encoded, table_name
from backup_pipeline.databases.postgres.restore.target import speaking
from backup_pipeline.errors import Damaged, RestoreError
from backup_pipeline.model import row_text
from backup_pipeline.model.manifest import Chunk, TableEntry
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import TableId
from backup_pipeline.vault.backup import Backup

STAGING = "pg_temp"
#: So many unfit rows are no accident: the type of a column is another one.
MOST_REJECTED = 10_000
#: Bytes that are tried at once when a chunk holds a row that does not fit.
_PART = 4 * 1024 * 1024
#: Beside the data errors: a value of type regclass and the like names something that the target does not have.
_UNFIT = (*OF_ROWS, "42P01", "42883", "42704", "3F000")
#: Rows with more or fewer fields than columns: that is no matter of a row.
_BAD_TEXT = "22P04"


def stage(held: Held, backup: Backup, staged: Staged, listener: Listener) -> Filled:
    """The rows of a table that is divided are those of its partitions."""
    parts = [entry for entry in backup.manifest.tables if root_of(backup.schema, entry.id) == staged.table]
    _make(held, staged)
    rows, rejected = 0, list[Rejected]()
    for entry in parts:
        if sorted(entry.columns) != sorted(staged.columns):
            raise RestoreError(
                f"{entry.id}: the backup has the columns {', '.join(entry.columns)}, and not those of the plan",
                remedy="make a new plan",
            )
        filling = _Filling(held, backup, staged, entry, rejected)
        for chunk in entry.chunks:
            filling.fill(chunk)
            listener(Advance("load", str(staged.table), rows=chunk.rows, bytes=chunk.object.plain_size))
        rows += entry.rows
    analyze(held, staged.name)
    return Filled(rows - len(rejected), tuple(rejected))


def fill(held: Held, staged: Staged, blocks: Iterable[bytes]) -> int:
    """Row text that `out` gave."""
    _make(held, staged)
    names = [f"c{place}" for place in range(len(staged.columns))]
    text = copy_in(TableId(STAGING, staged.name), names).as_string(held.raw)
    with explained(f"staging {staged.table}"), speaking(held.raw, held.encoding):
        statement = encoded(text, held.raw, held.encoding)
        with held.raw.cursor() as cursor:
            with cursor.copy(statement) as copy:
                for block in blocks:
                    copy.write(block)
            rows = cursor.rowcount
    analyze(held, staged.name)
    return rows


def analyze(held: Held, name: str) -> None:
    held.run(f"analyzing {name}", sql.SQL("ANALYZE {}").format(table_name(TableId(STAGING, name))))


def _make(held: Held, staged: Staged) -> None:
    types = [kind or "text" for kind in staged.types]
    # A type is text of a schema, and the statement below cannot quote it: the server says first that it is one type.
    with explained(f"staging {staged.table}: looking up its types"):
        known = held.raw.execute(
            "SELECT t FROM pg_catalog.unnest(%s::text[]) t WHERE pg_catalog.to_regtype(t) IS NULL", (types,)
        ).fetchall()
    if known:
        raise RestoreError(
            f"{staged.table}: the target has no type {known[0][0]}",
            remedy="make the type in the target, or leave the table out with --skip",
        )
    columns = [
        sql.SQL("{} {}{}").format(sql.Identifier(f"c{place}"), sql.SQL(kind), sql.SQL(collation))
        for place, (kind, collation) in enumerate(zip(types, _collations(held, staged, types), strict=True))
    ]
    number = sql.SQL("n bigint GENERATED ALWAYS AS IDENTITY (CACHE 1000)")
    held.run(
        f"staging {staged.table}",
        sql.SQL("CREATE TEMPORARY TABLE {} ({}) ON COMMIT DROP").format(
            table_name(TableId(STAGING, staged.name)), sql.SQL(", ").join([number, *columns])
        ),
    )


def _collations(held: Held, staged: Staged, types: Sequence[str]) -> Iterator[str]:
    """Staged rows are compared with one another as the target compares its own: a collation may take Ann and ANN for equal."""
    table = held.inspection.schema.table(staged.table)
    known = {column.name: column for column in table.columns} if table else {}
    for name, kind in zip(staged.columns, types, strict=True):
        column = known.get(name)
        same = column is not None and column.collation and column.type == kind
        yield f" COLLATE {column.collation}" if column and same else ""


class _Filling:
    def __init__(
        self, held: Held, backup: Backup, staged: Staged, entry: TableEntry, rejected: list[Rejected]
    ) -> None:
        self.held, self.backup, self.staged, self.entry = held, backup, staged, entry
        self.encoding = row_encoding(backup.schema.settings.get("encoding", "UTF8"))
        self.rejected = rejected
        # A partition has its columns in an order of its own.
        names = [f"c{staged.columns.index(name)}" for name in entry.columns]
        text = copy_in(TableId(STAGING, staged.name), names).as_string(held.raw)
        self.statement = encoded(text, held.raw, self.encoding)

    def fill(self, chunk: Chunk) -> None:
        if not self.staged.columns:
            self._number(chunk)
            return
        loaded, refused = self._try(self._blocks(chunk))
        if refused is not None:
            loaded = sum(self._part(part) for part in _parts(self._blocks(chunk)))
        if loaded != chunk.rows:
            raise RestoreError(
                f"{self.staged.table}: a chunk gave {loaded} rows, and the manifest says {chunk.rows}",
                remedy="`verify` says whether the backup is whole; restore another one",
            )

    def _blocks(self, chunk: Chunk) -> Iterator[bytes]:
        try:
            yield from self.backup.door.rows(self.entry.id, self.entry.columns, chunk.object)
        except Damaged as error:
            raise Damaged(f"{self.staged.table}: {error.message}", remedy=error.remedy) from error

    def _try(self, blocks: Iterable[bytes]) -> tuple[int, psycopg.Error | None]:
        """How many rows went in; or why none did. What is not about rows is raised."""
        try:
            with self.held.raw.transaction(), speaking(self.held.raw, self.encoding):
                with self.held.raw.cursor() as cursor:
                    with cursor.copy(self.statement) as copy:
                        for block in blocks:
                            copy.write(block)
                    return cursor.rowcount, None
        except psycopg.Error as error:
            state = error.sqlstate or ""
            if not state.startswith(_UNFIT) or state == _BAD_TEXT:
                raise failure(error, f"staging {self.staged.table}") from error
            return 0, error

    def _part(self, lines: list[bytes]) -> int:
        """The number of rows that were looked at. Halves go in their order, so that `n` follows the backup's order."""
        waiting = [lines]
        while waiting:
            part = waiting.pop()
            _, refused = self._try([b"".join(part)])
            if refused is None:
                continue
            if len(part) > 1:
                half = len(part) // 2
                waiting += [part[half:], part[:half]]
            else:
                self._reject(part[0], refused)
        return len(lines)

    def _reject(self, line: bytes, error: psycopg.Error) -> None:
        if len(self.rejected) >= MOST_REJECTED:
            raise failure(
                error, f"{self.staged.table}: more than {MOST_REJECTED:,} rows do not fit the target"
            )
        # The row's values stand beside it. What is said is told in findings, and must hold none.
        said = told(error)[0].partition("\n")[0]
        self.rejected.append(
            Rejected(self.staged.table, said, error.sqlstate or "", self.entry.columns, row_text.values(line))
        )

    def _number(self, chunk: Chunk) -> None:
        """A table without columns has rows all the same: empty lines."""
        loaded = sum(block.count(b"\n") for block in self._blocks(chunk))
        self.held.run(
            f"staging {self.staged.table}",
            sql.SQL("INSERT INTO {} SELECT FROM pg_catalog.generate_series(1, {})").format(
                table_name(TableId(STAGING, self.staged.name)), sql.Literal(loaded)
            ),
        )


def _parts(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Whole lines, some megabytes of them at a time."""
    begun: list[bytes] = []
    size = 0
    for block in chain(blocks, [b""]):
        begun.append(block)
        size += len(block)
        if size >= _PART or not block:
            *lines, rest = b"".join(begun).split(b"\n")
            if lines:
                yield [line + b"\n" for line in lines]
            begun, size = [rest], len(rest)


def out(held: Held, connection: sa.Connection, query: sa.Select[tuple[object, ...]]) -> Iterator[bytes]:
    compiled = query.compile(connection, compile_kwargs={"render_postcompile": True})
    # The driver puts values into the text itself: COPY takes no parameters. With none it would leave %% as it is.
    values = {"": None, **compiled.params}
    with explained("reading rows of the target"), speaking(held.raw, held.encoding):
        statement = encoded(f"COPY ({compiled}) TO STDOUT", held.raw, held.encoding)
        with held.raw.cursor() as cursor, cursor.copy(statement, values) as copy:
            for block in copy:
                yield bytes(block)
