"""The trees that the media benchmark is about: made from a seed, so that every run has the same ones."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

#: One file in five is another one's content, as uploads and thumbnails are.
DUPLICATES = 0.2


@dataclass(frozen=True, slots=True)
class Shape:
    """What a tree is made of."""

    name: str
    files: int
    #: Of a file, in bytes; real ones lie between half of it and one and a half.
    size: int
    #: How many of the files are text, which shrinks.
    text: float

    @property
    def what(self) -> str:
        return f"{self.files:,} files of about {self.size // 1024} KiB"


def small(scale: float) -> Shape:
    return Shape("small files", max(100, int(50_000 * scale)), 22 * 1024, 0.4)


def large(scale: float) -> Shape:
    return Shape("photographs", max(10, int(3_000 * scale)), 1024 * 1024, 0.0)


def make(root: Path, shape: Shape, seed: int = 1) -> int:
    """Write the tree; says how many bytes it holds."""
    return sum(
        _write(root, shape, number, random.Random(f"{seed}/{number}")) for number in range(shape.files)
    )


def grow(root: Path, shape: Shape, day: int) -> int:
    """One more day: 1 % new files in a folder of their own."""
    count = max(1, shape.files // 100)
    return sum(
        _write(root / f"day-{day:03d}", shape, number, random.Random(f"{day}/{number}/new"), fresh=True)
        for number in range(count)
    )


def _write(root: Path, shape: Shape, number: int, chance: random.Random, *, fresh: bool = False) -> int:
    folder = root / f"{number % 97:02d}" / f"{number % 13:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    text = chance.random() < shape.text
    if not fresh and number > 100 and chance.random() < DUPLICATES:
        chance = random.Random(f"same/{number % 100}")
        text = False
    size = int(shape.size * chance.uniform(0.5, 1.5))
    content = _text(chance, size) if text else chance.randbytes(size)
    (folder / f"{number:06d}{'.dxf' if text else '.jpg'}").write_bytes(content)
    return len(content)


def _text(chance: random.Random, size: int) -> bytes:
    """Lines such as a drawing has: they shrink to a third."""
    lines = [
        b"%d\n%.6f\n" % (chance.randrange(64), chance.uniform(-1000, 1000)) for _ in range(size // 40 + 1)
    ]
    return (b"  0\nLINE\n  8\nLAYER_1\n" + b"".join(lines) * 3)[:size]
