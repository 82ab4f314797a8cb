"""The rows of a table of a SQLite file: as Python values, and as lines of text that keep every storage class.

SQLite types values, not columns: a column declared INTEGER can hold 1, 1.0, '1' and x'31' in four rows, and these are
four different values. The lines are in the text format of COPY: one row one line, columns separated by tabs, `\\N` for
NULL, backslash escapes. They tell the storage class where the column's declared type implies another one:

    affinity   its own class, written plainly     examples
    TEXT       text                               Zoë, a\\tb
    INTEGER    integer                            42
    REAL       real                               1.0, 1e+16, Infinity
    NUMERIC    integer, real                      42, 1.0 (a real always has a point, an exponent or a name)
    BLOB       blob, as \\\\x and hexadecimal        \\\\x00ff (also: no declared type)

Any other class is announced by \\I \\R \\T or \\B in front of the value: \\T1 is the text '1', \\I1 the integer, \\R1.0 the
real and \\B31 the blob, wherever they turn up. No plain value can look like that, because a backslash in text is
always written twice.

Reals are written in Python's shortest form that reads back as the same number; SQLite's own conversion keeps 15 digits.
Text is UTF-8 as it is stored; bytes that are not UTF-8 are kept as they are. A NUL inside text is kept.
"""

from __future__ import annotations

import math
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model.affinity import affinity
from backup_pipeline.model.fingerprint import Fingerprint

#: Rows are fetched and formatted this many at a time, column by column: three times as fast as row by row.
BATCH = 1000
#: A batch of wide rows is cut so that it stays about this long.
BATCH_BYTES = 8 * 1024 * 1024

Value = int | float | str | bytes | None
#: Values of one storage class → their text.
Format = Callable[[Sequence[Any]], Iterable[str]]

#: The backslash first: the others bring new ones.
_ESCAPES = (
    ("\\", r"\\"),
    ("\t", r"\t"),
    ("\n", r"\n"),
    ("\r", r"\r"),
    ("\b", r"\b"),
    ("\f", r"\f"),
    ("\v", r"\v"),
)


@dataclass(frozen=True, slots=True)
class RowRange:
    """Rows whose rowid is from `first` to `last`, both included."""

    first: int
    last: int


def quoted(name: str) -> str:
    """An identifier, for SQL that cannot take it as a parameter."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def reading_file(path: Path) -> Iterator[sqlite3.Connection]:
    """A private file without a writer (a copy, a restored backup): no lock, no -wal or -shm beside it."""
    uri = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as connection:
        yield connection


@dataclass(frozen=True, slots=True)
class RowColumn:
    name: str
    declared: str

    @property
    def affinity(self) -> str:
        return affinity(self.declared)


def columns_of(connection: sqlite3.Connection, table: str) -> tuple[RowColumn, ...]:
    """The columns of the row text: not the generated ones, not the hidden ones of virtual tables."""
    found = connection.execute("SELECT name, type, hidden FROM pragma_table_xinfo(?)", (table,)).fetchall()
    if not found:
        raise NotFound(f"there is no table {table!r} in this SQLite file")
    return tuple(RowColumn(name, declared or "") for name, declared, hidden in found if hidden == 0)


def rowid_name(connection: sqlite3.Connection, table: str) -> str | None:
    """What the rowid can be called: a column that is named `rowid` hides it. None: every one of its names is taken."""
    taken = connection.execute("SELECT lower(name) FROM pragma_table_xinfo(?) WHERE pk <> 1", (table,))
    names = {name for (name,) in taken.fetchall()}
    return next((name for name in ("rowid", "_rowid_", "oid") if name not in names), None)


def read_rows(path: Path, table: str, columns: Sequence[str] | None = None) -> Iterator[tuple[Value, ...]]:
    """Every row of a table, as SQLite stores it. Text that is not UTF-8 comes with surrogate escapes."""
    with reading_file(path) as connection:
        names = (
            tuple(columns) if columns is not None else tuple(c.name for c in columns_of(connection, table))
        )
        for batch in _batches(connection, table, names, None):
            yield from batch


def read_lines(connection: sqlite3.Connection, table: str, rows: RowRange | None = None) -> Iterator[bytes]:
    """The lines of a table, many in a block. Every line ends with a newline."""
    columns = columns_of(connection, table)
    formats = [_formats(column.affinity) for column in columns]
    for batch in _batches(connection, table, tuple(column.name for column in columns), rows):
        yield _text(batch, formats).encode("utf-8", "surrogateescape")


def as_lines(rows: Sequence[tuple[Value, ...]], declared: Sequence[str]) -> bytes:
    """Rows of any query in the same text; `declared` has the type of each column."""
    formats = [_formats(affinity(kind)) for kind in declared]
    return _text(rows, formats).encode("utf-8", "surrogateescape")


def from_lines(blocks: Iterable[bytes], declared: Sequence[str]) -> Iterator[tuple[Value, ...]]:
    """The rows of such text; `declared` has the type of each column, as when it was written. Raises Damaged."""
    affinities = [affinity(kind) for kind in declared]
    rest = b""
    for block in chain(blocks, [b""]):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            fields = line.decode("utf-8", "surrogateescape").split("\t") if affinities else []
            try:
                yield tuple(_read(*pair) for pair in zip(fields, affinities, strict=True))
            except ValueError:
                raise Damaged(
                    "row text has a line that is no row of its columns",
                    remedy="`verify` says whether the backup is whole; restore another one",
                ) from None


def _read(field: str, implied: str) -> Value:
    if field == r"\N":
        return None
    letter = field[1:2] if field.startswith("\\") else ""
    if letter and letter in "IRTB":
        field = field[2:]
        return bytes.fromhex(field) if letter == "B" else _PLAIN[letter](field)
    if implied == "BLOB":
        return bytes.fromhex(field[3:])
    if implied == "NUMERIC":
        return int(field) if field.lstrip("-").isdecimal() else float(field)
    return _PLAIN[implied[0]](field)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: _MEANT[found[1]], text) if "\\" in text else text


#: By the first letter of the affinity, too.
_PLAIN: Mapping[str, Callable[[str], Value]] = {"I": int, "R": float, "T": _unescaped}
_MEANT = {written[1]: meant for meant, written in _ESCAPES}
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def fingerprint_table(path: Path, table: str, rows: RowRange | None = None) -> Fingerprint:
    with reading_file(path) as connection:
        found = Fingerprint()
        for block in read_lines(connection, table, rows):
            found.add_lines(block)
        return found


def _batches(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], rows: RowRange | None
) -> Iterator[list[tuple[Value, ...]]]:
    done = 0
    try:
        connection.text_factory = str
        for batch in _fetched(connection, table, columns, rows):
            yield batch
            done += len(batch)
    except sqlite3.OperationalError as error:
        if "Could not decode" not in str(error):
            raise
    else:
        return
    # Some text is not UTF-8. Reading all text in the careful way takes twice as long, so it is done from here on only.
    connection.text_factory = _careful_text
    for batch in _fetched(connection, table, columns, rows):
        if done < len(batch):
            yield batch[done:]
        done = max(0, done - len(batch))


def _fetched(
    connection: sqlite3.Connection, table: str, columns: Sequence[str], rows: RowRange | None
) -> Iterator[list[tuple[Value, ...]]]:
    listed = ", ".join(quoted(name) for name in columns) or "NULL"
    sql = f"SELECT {listed} FROM main.{quoted(table)}"
    if rows is None:
        cursor = connection.execute(sql)
    else:
        where = f"WHERE {rowid_name(connection, table)} BETWEEN ? AND ?"
        cursor = connection.execute(f"{sql} {where}", (rows.first, rows.last))
    size = 1
    while batch := cursor.fetchmany(size):
        yield batch
        # Begin with one: rows may be a gigabyte each.
        width = max(1, sum(_width(value) for value in batch[-1]))
        size = max(1, min(BATCH, 4 * size, BATCH_BYTES // width))


def _careful_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _width(value: Value) -> int:
    return len(value) if isinstance(value, (str, bytes)) else 8


def _text(batch: Sequence[tuple[Value, ...]], formats: Sequence[dict[type, Format]]) -> str:
    if not formats:
        return "\n" * len(batch)
    columns = [
        _column(values, known) for values, known in zip(zip(*batch, strict=True), formats, strict=True)
    ]
    return "\n".join(map("\t".join, zip(*columns, strict=True))) + "\n"


def _column(values: Sequence[Value], formats: dict[type, Format]) -> Iterable[str]:
    """One column of a batch. Nearly always all of its values are of one class, or of one class and NULL."""
    kinds = set(map(type, values))
    if len(kinds) == 1:
        return formats[kinds.pop()](values)
    parts = {kind: iter(formats[kind]([v for v in values if type(v) is kind])) for kind in kinds}
    return [next(parts[type(value)]) for value in values]


def _formats(affinity: str) -> dict[type, Format]:
    found: dict[type, Format] = {type(None): _nulls}
    for kind, letter, implied_by, plain in (
        (int, "I", ("INTEGER", "NUMERIC"), _integers),
        (float, "R", ("REAL", "NUMERIC"), _reals),
        (str, "T", ("TEXT",), _texts),
    ):
        found[kind] = plain if affinity in implied_by else _announced(letter, plain)
    found[bytes] = _blobs if affinity == "BLOB" else _announced("B", _hexadecimal)
    return found


def _announced(letter: str, plain: Format) -> Format:
    return lambda values: [f"\\{letter}{text}" for text in plain(values)]


def _nulls(values: Sequence[None]) -> Iterable[str]:
    return [r"\N"] * len(values)


def _integers(values: Sequence[int]) -> Iterable[str]:
    return map(str, values)


def _reals(values: Sequence[float]) -> Iterable[str]:
    return [repr(v) if math.isfinite(v) else "Infinity" if v > 0 else "-Infinity" for v in values]


def _hexadecimal(values: Sequence[bytes]) -> Iterable[str]:
    return map(bytes.hex, values)


def _blobs(values: Sequence[bytes]) -> Iterable[str]:
    return ["\\\\x" + value.hex() for value in values]


def _texts(values: Sequence[str]) -> Iterable[str]:
    """All texts of a batch in one go: a NUL, which hardly any text holds, keeps them apart."""
    together = "\0".join(values)
    if not any(character in together for character, _ in _ESCAPES):
        return values
    if together.count("\0") != len(values) - 1:
        return [_escaped(value) for value in values]
    return _escaped(together).split("\0")


def _escaped(text: str) -> str:
    for character, escape in _ESCAPES:
        if character in text:
            text = text.replace(character, escape)
    return text
