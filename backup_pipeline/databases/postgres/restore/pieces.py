"""A table that cannot be made as it was is made without what stands in the way: rows need its columns, not its checks.

The pieces of CREATE TABLE and CREATE DOMAIN that can be left out: types (the column is text then), generated columns,
defaults, checks. Each that cannot be made is listed as the ALTER that would bring it back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg

from backup_pipeline.databases.postgres.restore.definitions import raw
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.statements import Statement, Token
from backup_pipeline.databases.postgres.restore.target import Connection
from backup_pipeline.databases.postgres.restore.terms import Terms

_CLAUSES = ("default", "generated", "constraint", "check", "not", "collate", "storage", "compression")
#: In this order they are tried: a check of a generated column needs the column.
_ORDER = ("type", "generated", "default", "check")

_Placed = Sequence[tuple[Token, slice]]


@dataclass(frozen=True, slots=True)
class Piece:
    kind: str
    #: Of the text; replaced by `instead` where the piece is left out.
    place: slice
    instead: str
    #: What would bring it back.
    sql: str


#: In the place of an item of the list; no SQL holds it.
_GONE = "\0"


class _Undone(Exception):
    """Leaves the savepoint of a trial."""


def make_in_pieces(connection: Connection, statement: Statement, terms: Terms) -> tuple[Left, ...] | None:
    """After it failed as a whole: as much of it as can be made, and what cannot; nothing where even the rest cannot."""
    pieces = sorted(_pieces(statement), key=lambda piece: _ORDER.index(piece.kind))
    if not pieces:
        return None
    out = list(pieces)
    reasons: dict[int, str] = {}
    if _try(connection, _without(statement.text, out), keep=False) is not None:
        return None
    for piece in pieces:
        fewer = [other for other in out if other is not piece]
        said = _try(connection, _without(statement.text, fewer), keep=False)
        if said is not None:
            reasons[id(piece)] = terms.reason(said, statement)
        else:
            out = fewer
    if _try(connection, _without(statement.text, out), keep=True) is not None:
        return None
    return tuple(Left(reasons[id(piece)], piece.sql) for piece in out)


def _try(connection: Connection, text: str, *, keep: bool) -> psycopg.Error | None:
    """What the server says against it."""
    try:
        with connection.transaction():
            connection.execute(raw(text))
            if not keep:
                raise _Undone
    except _Undone:
        return None
    except psycopg.Error as error:
        if connection.broken:
            raise
        return error
    return None


def _without(text: str, pieces: Sequence[Piece]) -> str:
    for piece in sorted(pieces, key=lambda piece: (-piece.place.start, piece.place.stop)):
        # A type inside of a column that is left out as a whole went with it.
        if not any(
            other is not piece
            and other.place.start <= piece.place.start
            and piece.place.stop <= other.place.stop
            for other in pieces
        ):
            text = text[: piece.place.start] + piece.instead + text[piece.place.stop :]
    # With one of its commas.
    return re.sub(rf",\s*{_GONE}", "", re.sub(rf"{_GONE}\s*,", "", text)).replace(_GONE, "")


def _pieces(statement: Statement) -> Iterator[Piece]:
    placed = list(statement.placed())
    words = [token.text if token.kind == "word" else "" for token, _ in placed]
    text = statement.text
    if words[:2] == ["create", "domain"] and "as" in words:
        at = words.index("as") + 1
        name = text[placed[2][1].start : placed[at - 2][1].stop]
        for clause in _clauses(placed[at:])[1:]:
            said = _text(text, clause)
            if clause[0][0].is_word("constraint", "check"):
                yield Piece("check", _span(clause), "", f"ALTER DOMAIN {name} ADD {said}")
            elif clause[0][0].is_word("default"):
                yield Piece("default", _span(clause), "", f"ALTER DOMAIN {name} SET {said}")
        return
    if words[0] != "create" or "table" not in words[1:3]:
        return
    opening = next((at for at, (token, _) in enumerate(placed) if token.text == "("), None)
    table = words.index("table") + 1
    if opening is None or "of" in words[table:opening]:
        return
    alter = f"ALTER TABLE {text[placed[table][1].start : placed[opening - 1][1].stop]}"
    for item, place in _items(placed, opening):
        yield from _of_item(text, item, place, alter)


def _of_item(text: str, item: _Placed, place: slice, alter: str) -> Iterator[Piece]:
    said = _text(text, item)
    if item[0][0].is_word("constraint", "check"):
        if any(token.is_word("check") for token, _ in item[:4]):
            yield Piece("check", place, _GONE, f"{alter} ADD {said}")
        return
    if len(item) < 2:
        return
    column = _text(text, item[:1])
    clauses = _clauses(item[1:])
    kind = _text(text, clauses[0])
    collation = next((clause for clause in clauses if clause[0][0].is_word("collate")), None)
    typed = slice(clauses[0][0][1].start, (collation or clauses[0])[-1][1].stop)
    if collation is None or collation is clauses[1]:
        back = f"{alter} ALTER COLUMN {column} TYPE {text[typed]} USING {column}::{kind}"
        yield Piece("type", typed, "text", back)
    for clause in clauses[1:]:
        if clause[0][0].is_word("default"):
            yield Piece(
                "default", _span(clause), "", f"{alter} ALTER COLUMN {column} SET {_text(text, clause)}"
            )
        elif clause[0][0].is_word("generated") and not any(
            token.is_word("identity") for token, _ in clause[:5]
        ):
            yield Piece("generated", place, _GONE, f"{alter} ADD COLUMN {said}")


def _items(placed: _Placed, opening: int) -> Iterator[tuple[_Placed, slice]]:
    """What stands between the commas of the list."""
    depth, begin = 0, opening + 1
    for at in range(opening, len(placed)):
        token = placed[at][0]
        mark = token.text if token.kind == "other" else ""
        depth += {"(": 1, ")": -1}.get(mark, 0)
        if depth == 0 or (depth == 1 and mark == ","):
            if at > begin:
                yield placed[begin:at], _span(placed[begin:at])
            begin = at + 1
        if depth == 0:
            return


def _clauses(placed: _Placed) -> list[_Placed]:
    """The type, then DEFAULT …, NOT NULL, CONSTRAINT … each for itself."""
    found: list[list[tuple[Token, slice]]] = [[]]
    depth = 0
    for token, place in placed:
        if depth == 0 and token.is_word(*_CLAUSES) and found[-1]:
            before = found[-1][-1][0]
            joined = before.is_word("not", "by") or (
                token.is_word("check", "not")
                and found[-1][0][0].is_word("constraint")
                and len(found[-1]) == 2
            )
            if not joined:
                found.append([])
        if token.kind == "other":
            depth += {"(": 1, ")": -1}.get(token.text, 0)
        found[-1].append((token, place))
    return list(found)


def _span(placed: _Placed) -> slice:
    return slice(placed[0][1].start, placed[-1][1].stop)


def _text(text: str, placed: _Placed) -> str:
    return text[_span(placed)]
