"""Other digests of a content beside its SHA-256, while it passes: rows know their files by MD5 or SHA-1 (`refs:`)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

BLOCK = 1024 * 1024


class Digester:
    def __init__(self, names: Iterable[str]) -> None:
        self._hashes: dict[str, Any] = {name: hashlib.new(name, usedforsecurity=False) for name in names}

    def feed(self, block: bytes | memoryview) -> None:
        for one in self._hashes.values():
            one.update(block)

    def passing(self, blocks: Iterable[bytes]) -> Iterator[bytes]:
        for block in blocks:
            self.feed(block)
            yield block

    def of_file(self, path: Path) -> Digester:
        """Where the content is stored by other hands: it is read once more, if anything is asked of it."""
        if self._hashes:
            with path.open("rb") as file:
                while block := file.read(BLOCK):
                    self.feed(block)
        return self

    def found(self) -> dict[str, str] | None:
        return {name: one.hexdigest() for name, one in self._hashes.items()} or None
