"""Row text: rows as PostgreSQL's COPY writes them, one a line. Backups of PostgreSQL keep rows in this form."""

from __future__ import annotations

import re

#: NULL.
NULL = rb"\N"

_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_ESCAPED = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def unescape(field: bytes) -> bytes:
    """Undo the escapes of row text. `\\N` is not asked for here: the splitter of rows knows it first."""
    if b"\\" not in field:
        return field
    return _ESCAPE.sub(lambda found: _ESCAPED.get(found[1], found[1]), field)


def values(line: bytes) -> tuple[str | None, ...]:
    """The values of a row, for people: a byte that is not UTF-8 is replaced."""
    fields = line.removesuffix(b"\n").split(b"\t")
    return tuple(None if f == NULL else unescape(f).decode("utf-8", "replace") for f in fields)
