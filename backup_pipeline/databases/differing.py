"""Which rows differ between two streams of row text: for the tables whose fingerprints do.

Two passes over both sides, and never a table in memory: the first adds up the lines of each of many buckets, the second
keeps the lines of a few buckets that differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

#: Reads one side again from the start.
Read = Callable[[], Iterable[bytes]]

_BUCKETS = 1 << 14
#: So many differing buckets are looked into …
_LOOKED_AT = 8
#: … and so many lines of them kept, at most, and so many bytes: of a long line only its beginning, its length and its
#: digest.
_KEPT = 200_000
_KEPT_BYTES = 64 * 1024 * 1024
_WIDTH = 300
#: A character may take four bytes.
_BEGINNING = 4 * _WIDTH

#: The beginning of a line, its length, and the digest of all of it.
_Line = tuple[bytes, int, int]


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


def _some(lines: Counter[_Line], limit: int) -> tuple[str, ...]:
    return tuple(_shown(line) for line in sorted(lines)[:limit])


def _shown(line: _Line) -> str:
    beginning, length, _ = line
    text = beginning.decode("utf-8", "backslashreplace")
    whole = length == len(beginning) and len(text) <= _WIDTH
    return text if whole else f"{text[:_WIDTH]}… ({length} bytes)"


def _sums(blocks: Iterable[bytes]) -> list[int]:
    found = [0] * _BUCKETS
    for line in lines_of(blocks):
        digest = xxh3_64_intdigest(line)
        found[digest % _BUCKETS] += digest
    return found


def _kept(blocks: Iterable[bytes], buckets: frozenset[int]) -> Counter[_Line]:
    found: Counter[_Line] = Counter()
    size = 0
    for line in lines_of(blocks):
        if xxh3_64_intdigest(line) % _BUCKETS in buckets:
            found[line[:_BEGINNING], len(line), xxh3_128_intdigest(line)] += 1
            size += min(len(line), _BEGINNING)
            if len(found) >= _KEPT or size >= _KEPT_BYTES:
                break
    return found


def lines_of(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """A long line comes in many blocks; its pieces are joined once, when it ends."""
    rest: list[bytes] = []
    for block in blocks:
        first, *others = block.split(b"\n")
        rest.append(first)
        if others:
            yield b"".join(rest)
            yield from others[:-1]
            rest = others[-1:]
    if last := b"".join(rest):
        yield last
