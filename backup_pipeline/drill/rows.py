"""Which rows differ between two streams of row text: for the tables whose fingerprints do.

Two passes over both sides, and never a table in memory: the first adds up the lines of each of many buckets, the second
keeps the lines of a few buckets that differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest

#: Reads one side again from the start.
Read = Callable[[], Iterable[bytes]]

_BUCKETS = 1 << 14
#: So many differing buckets are looked into …
_LOOKED_AT = 8
#: … and so many lines of them kept, at most.
_KEPT = 200_000
_WIDTH = 300


@dataclass(frozen=True, slots=True)
class Difference:
    """Examples only: there may be more."""

    only_in_backup: tuple[str, ...]
    only_in_restored: tuple[str, ...]

    def examples(self) -> tuple[str, ...]:
        return tuple(f"only in the backup: {line}" for line in self.only_in_backup) + tuple(
            f"only in the restored database: {line}" for line in self.only_in_restored
        )


def differing_rows(backup: Read, restored: Read, *, limit: int = 3) -> Difference:
    ours, theirs = _sums(backup()), _sums(restored())
    chosen = frozenset([bucket for bucket in range(_BUCKETS) if ours[bucket] != theirs[bucket]][:_LOOKED_AT])
    mine, other = _kept(backup(), chosen), _kept(restored(), chosen)
    return Difference(_some(mine - other, limit), _some(other - mine, limit))


def _some(lines: Counter[bytes], limit: int) -> tuple[str, ...]:
    return tuple(_shown(line) for line in sorted(lines)[:limit])


def _shown(line: bytes) -> str:
    text = line.decode("utf-8", "backslashreplace")
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}… ({len(line)} bytes)"


def _sums(blocks: Iterable[bytes]) -> list[int]:
    found = [0] * _BUCKETS
    for line in lines_of(blocks):
        digest = xxh3_64_intdigest(line)
        found[digest % _BUCKETS] += digest
    return found


def _kept(blocks: Iterable[bytes], buckets: frozenset[int]) -> Counter[bytes]:
    found: Counter[bytes] = Counter()
    for line in lines_of(blocks):
        if xxh3_64_intdigest(line) % _BUCKETS in buckets:
            found[line] += 1
            if len(found) >= _KEPT:
                break
    return found


def lines_of(blocks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest
