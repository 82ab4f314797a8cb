"""What is in a pack, by reading it: which content lies where, and is each of them what its name says?

What belongs here: facts about one pack's plain bytes, fed a block at a time. What does not: whether a listing says the
same (`file_trees`).
"""

from __future__ import annotations

import hashlib
from array import array
from dataclasses import dataclass

BLOCK = 512
_HEX = frozenset(b"0123456789abcdef")


@dataclass(frozen=True, slots=True)
class Contents:
    """The members of one pack, in their order: 48 bytes each, for there may be millions."""

    offsets: array[int]
    sizes: array[int]
    #: 32 bytes a member: what its content really is.
    digests: bytes
    #: Members whose content is not that of their name: the first few.
    altered: tuple[str, ...] = ()
    #: Why it is no pack; empty: it is one.
    broken: str = ""


class PackReader:
    """Feed it the plain bytes of a `.tar` pack, or of a blob (`whole`: one content and nothing else)."""

    def __init__(self, *, whole: bool) -> None:
        self._offsets, self._sizes, self._digests = array("Q"), array("Q"), bytearray()
        self._altered: list[str] = []
        self._broken = ""
        self._whole = whole
        #: In the plain bytes.
        self._at = 0
        self._header = b""
        self._name = ""
        self._left = 0
        self._padding = 0
        self._digest = hashlib.sha256()
        self._ended = False

    def feed(self, block: bytes) -> None:
        if self._whole:
            self._digest.update(block)
            self._at += len(block)
            return
        view, place = memoryview(block), 0
        while place < len(view) and not self._broken and not self._ended:
            if self._left:
                part = view[place : place + self._left]
                self._digest.update(part)
                self._left -= len(part)
                if not self._left:
                    self._member()
            elif self._padding:
                part = view[place : place + self._padding]
                self._padding -= len(part)
            else:
                part = view[place : place + BLOCK - len(self._header)]
                self._header += bytes(part)
            place += len(part)
            self._at += len(part)
            if len(self._header) == BLOCK:
                self._begin(self._header)
                self._header = b""

    def contents(self) -> Contents:
        if self._whole:
            self._offsets.append(0)
            self._sizes.append(self._at)
            self._digests += self._digest.digest()
        elif not self._broken and (self._left or self._padding or not self._ended):
            self._broken = "it ends in the middle of a content"
        return Contents(self._offsets, self._sizes, bytes(self._digests), tuple(self._altered), self._broken)

    def _begin(self, header: bytes) -> None:
        if not any(header):
            self._ended = True
            return
        name = header[:100].rstrip(b"\0")
        if len(name) != 64 or not _HEX.issuperset(name) or header[156:157] != b"0":
            self._broken = f"a member of it at {self._at - BLOCK} is not named by a digest"
            return
        try:
            size = int(header[124:136].rstrip(b" \0"), 8)
        except ValueError:
            self._broken = f"a member of it at {self._at - BLOCK} has no length"
            return
        self._name = name.decode()
        self._digest = hashlib.sha256()
        self._offsets.append(self._at)
        self._sizes.append(size)
        self._left, self._padding = size, -size % BLOCK
        if not size:
            self._member()

    def _member(self) -> None:
        self._digests += self._digest.digest()
        if self._digest.hexdigest() != self._name and len(self._altered) < 10:
            self._altered.append(self._name)
