"""Which contents are in the vault already, and where: by SHA-256, for millions of them in little memory.

A dictionary would take 250 bytes for each. Here a content is 56 bytes of a sorted run, and what is new since the last
run a dictionary of bounded size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import merge
from struct import Struct

#: The digest, the number of the pack, the offset in it and the length.
_DIGEST = 32
_SPOT = Struct("!QQQ")
_RECORD = _DIGEST + _SPOT.size
#: So many are gathered before they become a run.
RUN = 1 << 17


@dataclass(frozen=True, slots=True)
class Spot:
    #: Of the pack in the engine's own count, not the listing's.
    pack: int
    offset: int
    size: int


class Contents:
    def __init__(self, run: int = RUN) -> None:
        self._run = run
        self._runs: list[bytes] = []
        self._new: dict[bytes, bytes] = {}

    def add(self, sha256: bytes, spot: Spot) -> None:
        """`sha256` as 32 bytes. What is known already stays where it is."""
        self._new.setdefault(sha256, _packed(spot))
        self._lay_aside()

    def move(self, sha256: bytes, spot: Spot) -> None:
        """It is there now, wherever it was: stored anew because that place is given up."""
        self._new[sha256] = _packed(spot)
        self._lay_aside()

    def _lay_aside(self) -> None:
        if len(self._new) >= self._run:
            self._runs.append(b"".join(key + self._new[key] for key in sorted(self._new)))
            self._new = {}

    def find(self, sha256: bytes) -> Spot | None:
        found = self._new.get(sha256)
        if found is not None:
            return _spot(found)
        # The last word first.
        for run in reversed(self._runs):
            low, high = 0, len(run) // _RECORD
            while low < high:
                middle = (low + high) // 2
                at = middle * _RECORD
                here = run[at : at + _DIGEST]
                if here == sha256:
                    return _spot(run[at + _DIGEST : at + _RECORD])
                if here < sha256:
                    low = middle + 1
                else:
                    high = middle
        return None

    def spots(self) -> Iterator[Spot]:
        """Of each content once."""
        last = b""
        for record in merge(*(_records(run) for run in self._runs), self._sorted()):
            if record[:_DIGEST] != last:
                last = record[:_DIGEST]
                yield _spot(record[_DIGEST:])

    def _sorted(self) -> Iterator[bytes]:
        for key in sorted(self._new):
            yield key + self._new[key]


def _records(run: bytes) -> Iterator[bytes]:
    for at in range(0, len(run), _RECORD):
        yield run[at : at + _RECORD]


def _packed(spot: Spot) -> bytes:
    return _SPOT.pack(spot.pack, spot.offset, spot.size)


def _spot(data: bytes) -> Spot:
    return Spot(*_SPOT.unpack(data))
