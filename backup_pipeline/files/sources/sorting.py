"""A listing in the order of the bytes of its paths, of a source that lists in another one.

Some thousand entries at a time are sorted in memory and laid aside in a temporary file; the sorted runs are merged as
they are read. So a tree of millions of files takes the memory of one run.
"""

from __future__ import annotations

import heapq
import os
import pickle
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO

from backup_pipeline.files.sources.base import Found, Trouble

RUN = 20_000

Item = Found | Trouble
#: The path, when it was added, and what was added: None where it went away again while the tree was listed.
_Row = tuple[bytes, int, Item | None]


class Sorter:
    """Add in any order, read in that of the paths. The last word about a path is the one that counts."""

    def __init__(self, scratch: Path | None = None, run: int = RUN) -> None:
        self._scratch, self._length = scratch, run
        self._rows: list[_Row] = []
        self._runs: list[IO[bytes]] = []
        self._added = 0
        self._open = ExitStack()

    def add(self, path: str, item: Item | None) -> None:
        self._rows.append((os.fsencode(path), self._added, item))
        self._added += 1
        if len(self._rows) >= self._length:
            self._lay_aside()

    def _lay_aside(self) -> None:
        self._rows.sort(key=_order)
        file: IO[bytes] = tempfile.TemporaryFile(dir=self._scratch)  # noqa: SIM115 - closed when we are
        self._open.callback(file.close)
        self._runs.append(file)
        for row in self._rows:
            pickle.dump(row, file, pickle.HIGHEST_PROTOCOL)
        file.seek(0)
        self._rows = []

    def __iter__(self) -> Iterator[Item]:
        self._rows.sort(key=_order)
        rows = heapq.merge(self._rows, *(_read(run) for run in self._runs), key=_order)
        last: _Row | None = None
        for row in rows:
            if last is not None and last[0] != row[0] and last[2] is not None:
                yield last[2]
            last = row
        if last is not None and last[2] is not None:
            yield last[2]

    def __enter__(self) -> Sorter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()


def _order(row: _Row) -> tuple[bytes, int]:
    return row[0], row[1]


def _read(run: IO[bytes]) -> Iterator[_Row]:
    while True:
        try:
            yield pickle.load(run)
        except EOFError:
            return
