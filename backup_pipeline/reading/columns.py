"""Row text → Arrow: the columns that are asked for, as they are written, in bounded memory.

Arrow splits lines and fields and knows `\\N`; escapes inside values are left alone (`values` undoes them). It is handed
whole lines only, because it gives up on a line that is longer than its own block. A table may hold a value of 500 MB in
an unwanted column.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc

from backup_pipeline.model.manifest import Chunk, TableEntry
from backup_pipeline.vault.backup import Backup

#: Lines are gathered until there are about this many bytes of them.
BLOCK = 1 << 20
#: A line longer than this is taken apart while it passes.
LONG = 8 << 20
#: Arrow's own limit of a block; ours are cut long before.
_NO_LIMIT = (1 << 31) - 1


def open_columns(backup: Backup, entry: TableEntry, chunk: Chunk, wanted: Mapping[int, Any]) -> Iterator[Any]:
    """Record batches of the `wanted` columns (position → Arrow type), named "0", "1" … by position."""
    width, blocks = len(entry.columns), backup.door.rows(entry.id, entry.columns, chunk.object)
    lines = whole_lines(blocks, width, frozenset(wanted))
    first = next(lines, None)
    if first is None:
        return
    reader = pc.open_csv(
        _Lines(first, lines),
        read_options=pc.ReadOptions(
            column_names=[str(position) for position in range(width)],
            block_size=_NO_LIMIT,
        ),
        parse_options=pc.ParseOptions(
            delimiter="\t",
            quote_char=False,
            escape_char=False,
            newlines_in_values=False,
            # The one row of a one-column table that holds an empty text is an empty line.
            ignore_empty_lines=False,
        ),
        convert_options=pc.ConvertOptions(
            check_utf8=False,
            column_types={str(position): kind for position, kind in wanted.items()},
            include_columns=[str(position) for position in wanted],
            null_values=[r"\N"],
            strings_can_be_null=True,
            true_values=["t"],
            false_values=["f"],
        ),
    )
    yield from reader


def schema_of(wanted: Mapping[int, Any]) -> Any:
    return pa.schema([(str(position), kind) for position, kind in wanted.items()])


class _Lines(io.RawIOBase):
    """Blocks of whole lines as the file that Arrow reads; each read brings one of them, however long."""

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._next: bytes | None = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._next
        self._next = None if block is None else next(self._rest, None)
        return b"" if block is None else block


def whole_lines(blocks: Iterable[bytes], width: int, wanted: frozenset[int]) -> Iterator[bytes]:
    """The same lines, cut between lines. In a line that is longer than LONG, what is not wanted is empty."""
    parts: list[bytes] = []
    held = 0
    source = iter(blocks)
    for block in source:
        end = block.rfind(b"\n") + 1
        if end and (held + end >= BLOCK or held > LONG):
            yield b"".join((*parts, block[:end]))
            parts, held = [], 0
            block = block[end:]
        if block:
            parts.append(block)
            held += len(block)
        if held > LONG and len(wanted) < width and b"\n" not in block:
            begun, parts = b"".join(parts), []
            yield from _long_line(begun, source, wanted, left=parts)
            held = sum(map(len, parts))
    if parts:
        yield b"".join(parts)


def _long_line(
    begun: bytes, source: Iterator[bytes], wanted: frozenset[int], left: list[bytes]
) -> Iterator[bytes]:
    """What came before the line, as it is; then the line itself, shortened. What came behind it is `left`."""
    start = begun.rfind(b"\n") + 1
    if start:
        yield begun[:start]
    shortened, position, block = bytearray(), 0, begun[start:]
    while True:
        end = block.find(b"\n")
        here = block if end < 0 else block[:end]
        for number, field in enumerate(here.split(b"\t")):
            if number:
                position += 1
                shortened += b"\t"
            if position in wanted:
                shortened += field
        if end >= 0:
            break
        following = next(source, None)
        if following is None:
            break  # the last line was cut off; `verify` says so
        block = following
    yield bytes(shortened) + b"\n"
    if end >= 0 and block[end + 1 :]:
        left.append(block[end + 1 :])


def field_lines(backup: Backup, entry: TableEntry, chunk: Chunk) -> Iterator[Sequence[bytes]]:
    """The fields of one row after the other, as they are written. For what Arrow cannot take."""
    width, blocks = max(1, len(entry.columns)), backup.door.rows(entry.id, entry.columns, chunk.object)
    for block in whole_lines(blocks, width, frozenset(range(width))):
        for line in block.removesuffix(b"\n").split(b"\n"):
            yield line.split(b"\t")
