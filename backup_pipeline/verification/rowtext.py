"""Row text, looked at a block at a time: how many rows, how many columns in each, is every escape a known one.

What belongs here: facts about bytes. What does not: whether they are what a manifest says. A line may be
longer than any block (a 500 MB value), so nothing here ever holds a line; all work is vectorised, because a
loop over bytes would be slower than the disk.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

import numpy as np

TAB, NEWLINE, RETURN, BACKSLASH = 9, 10, 13, 92
#: What may stand behind a backslash; `\N` only as a whole field.
_ESCAPES = np.zeros(256, dtype=bool)
_ESCAPES[list(b"bfnrtv\\")] = True
_N = ord("N")


@dataclass(frozen=True, slots=True)
class RowFacts:
    """What a stream of row text turned out to be."""

    rows: int = 0
    #: Of the row with the fewest and of the one with the most columns; 0 and 0 when there is no row.
    fewest_columns: int = 0
    most_columns: int = 0
    bad_escapes: int = 0
    #: Bytes that row text never holds as they are: a carriage return, a NUL.
    raw_controls: int = 0
    #: Where the first byte lies that is no UTF-8; None when there is none.
    not_utf8_at: int | None = None
    #: False: the last line has no line feed, something was cut off.
    ended: bool = True


class RowReader:
    """Feed it blocks of any size; `facts()` at the end."""

    def __init__(self) -> None:
        self._held = b""  # the beginning of an escape at the end of the last block
        self._before = NEWLINE  # the last byte
        self._left = NEWLINE  # the byte before what is held
        self._tabs = 0  # tabs of the line that has not ended yet
        self._rows = 0
        self._fewest: int | None = None
        self._most = 0
        self._bad_escapes = 0
        self._raw_controls = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._decoded = 0
        self._not_utf8_at: int | None = None

    def feed(self, block: bytes) -> None:
        if not block:
            return
        self._check_utf8(block)
        self._raw_controls += block.count(b"\r") + block.count(b"\0")
        self._count(np.frombuffer(block, dtype=np.uint8))
        self._check_escapes(block)
        self._before = block[-1]

    def facts(self) -> RowFacts:
        return RowFacts(
            rows=self._rows,
            fewest_columns=0 if self._fewest is None else self._fewest + 1,
            most_columns=0 if self._fewest is None else self._most + 1,
            bad_escapes=self._bad_escapes + (1 if self._held else 0),
            raw_controls=self._raw_controls,
            not_utf8_at=self._utf8_at_the_end(),
            ended=self._before == NEWLINE,
        )

    def _count(self, data: np.ndarray[tuple[int], np.dtype[np.uint8]]) -> None:
        ends = np.flatnonzero(data == NEWLINE)
        tabs = np.flatnonzero(data == TAB)
        if not len(ends):
            self._tabs += len(tabs)
            return
        # How many tabs lie before each line's end; the differences are the tabs of each line.
        until = np.searchsorted(tabs, ends)
        inside = np.diff(until, prepend=0)
        inside[0] += self._tabs
        fewest = int(inside.min())
        self._fewest = fewest if self._fewest is None else min(self._fewest, fewest)
        self._most = max(self._most, int(inside.max()))
        self._rows += len(ends)
        self._tabs = len(tabs) - int(until[-1])

    def _check_escapes(self, block: bytes) -> None:
        if not self._held and b"\\" not in block:
            self._left = block[-1]
            return
        # Pairs go first, from the left: what is then left of a run of backslashes begins an escape.
        text = (self._held + block).replace(b"\\\\", b"..")
        self._held = next((end for end in (b"\\", b"\\N") if text.endswith(end)), b"")
        data = np.frombuffer(text + b".", dtype=np.uint8)
        done = len(text) - len(self._held)
        places = np.flatnonzero(data[:done] == BACKSLASH)
        behind = data[places + 1]
        bad = ~_ESCAPES[behind]
        nulls = places[behind == _N]
        if len(nulls):
            left = np.where(nulls > 0, data[nulls - 1], self._left)
            right = data[nulls + 2]
            whole = ((left == TAB) | (left == NEWLINE)) & ((right == TAB) | (right == NEWLINE))
            bad[behind == _N] = ~whole
        self._bad_escapes += int(bad.sum())
        self._left = text[done - 1] if done else self._left

    def _check_utf8(self, block: bytes) -> None:
        if self._not_utf8_at is not None:
            return
        begun = len(self._decoder.getstate()[0])
        try:
            if begun or not block.isascii():
                self._decoder.decode(block)
        except UnicodeDecodeError as error:
            self._not_utf8_at = self._decoded - begun + error.start
        self._decoded += len(block)

    def _utf8_at_the_end(self) -> int | None:
        begun = len(self._decoder.getstate()[0])
        if self._not_utf8_at is None and begun:
            return self._decoded - begun
        return self._not_utf8_at
