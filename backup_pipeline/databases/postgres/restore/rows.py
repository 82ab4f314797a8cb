"""The rows of the vault, into tables: `COPY … FROM STDIN` with the stored text as it is.

A chunk's digest is known to be right only when its last block is out: what is Damaged raises then, inside the
transaction, and nothing of the chunk is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.restore.failure import failure
from backup_pipeline.databases.postgres.restore.target import Connection, speaking
from backup_pipeline.errors import Damaged, RestoreError
from backup_pipeline.model.manifest import Manifest, ObjectRef, TableEntry
from backup_pipeline.model.schema import TableId
from backup_pipeline.vault.door import Door

#: Told of rows and bytes as they go in.
Progress = Callable[[TableId, int, int], None]
#: Small pieces go to a worker together, so that a thousand small tables are not a thousand round trips.
BATCH = 8 * 1024 * 1024
_BATCH_PIECES = 200


@dataclass(frozen=True, slots=True)
class Piece:
    """One chunk of one table."""

    table: TableId
    columns: tuple[str, ...]
    object: ObjectRef
    rows: int
    #: The whole table is in this piece: no other session writes to it.
    alone: bool


@dataclass(frozen=True, slots=True)
class Load:
    pieces: tuple[Piece, ...]
    #: Of one schema, whose functions do not find their names with the empty one.
    search_path: str = ""

    @property
    def bytes(self) -> int:
        return sum(piece.object.plain_size for piece in self.pieces)


def pieces_of(manifest: Manifest) -> list[Piece]:
    return [piece for entry in manifest.tables for piece in _pieces(entry)]


def _pieces(entry: TableEntry) -> list[Piece]:
    chunks = [chunk for chunk in entry.chunks if chunk.rows]
    return [Piece(entry.id, entry.columns, chunk.object, chunk.rows, len(chunks) == 1) for chunk in chunks]


def loads(pieces: Iterable[Piece]) -> list[Load]:
    """The largest first, so that no worker is left alone with one at the end; the small ones in batches."""
    found: list[Load] = []
    batch: list[Piece] = []
    size = 0
    for piece in sorted(pieces, key=lambda piece: (-piece.object.plain_size, piece.table)):
        if piece.object.plain_size >= BATCH // 2:
            found.append(Load((piece,)))
            continue
        if batch and (size + piece.object.plain_size > BATCH or len(batch) >= _BATCH_PIECES):
            found.append(Load(tuple(batch)))
            batch, size = [], 0
        batch.append(piece)
        size += piece.object.plain_size
    if batch:
        found.append(Load(tuple(batch)))
    return found


def table_name(table: TableId) -> sql.Identifier:
    return sql.Identifier(table.schema, table.name)


def copy_in(table: TableId, columns: Sequence[str]) -> sql.Composed:
    """A table without columns, or with none that is stored, has rows all the same."""
    listed = sql.SQL(" ({})").format(sql.SQL(", ").join(map(sql.Identifier, columns)))
    return sql.SQL("COPY {}{} FROM STDIN").format(table_name(table), listed if columns else sql.SQL(""))


def encoded(statement: str, connection: Connection, encoding: str) -> bytes:
    return statement.encode("utf-8" if encoding in ("UTF8", "SQL_ASCII") else connection.info.encoding)


def load(connection: Connection, door: Door, piece: Piece, encoding: str, progress: Progress) -> None:
    """Inside a transaction of the caller's."""
    text = copy_in(piece.table, piece.columns).as_string(connection)
    try:
        with speaking(connection, encoding), connection.cursor() as cursor:
            with cursor.copy(encoded(text, connection, encoding)) as copy:
                for block in door.rows(piece.table, piece.columns, piece.object):
                    copy.write(block)
                    progress(piece.table, 0, len(block))
            loaded = cursor.rowcount
    except Damaged as error:
        raise Damaged(f"{piece.table}: {error.message}", remedy=error.remedy) from error
    except psycopg.Error as error:
        raise failure(error, f"loading {piece.table}") from error
    if loaded != piece.rows:
        raise RestoreError(
            f"{piece.table}: a chunk gave {loaded} rows, and the manifest says {piece.rows}",
            remedy="`verify` says whether the backup is whole; restore another one",
        )
    progress(piece.table, loaded, 0)
