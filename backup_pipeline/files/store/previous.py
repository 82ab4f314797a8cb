"""What earlier runs left of a tree: its last listing, the notes of runs that were killed, and where the contents lie.

Nothing of it is needed: a listing that cannot be read, or is encrypted and not remembered here, costs one run that reads
everything. A pack that is gone, or of which hardly anything is needed any more, is not built on. Its files are read
again and stored in a new pack. The old pack goes with the backups that still name it.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from typing import Any

from backup_pipeline.errors import Damaged, KeyMissing, NotFound
from backup_pipeline.files.sources.base import Found
from backup_pipeline.files.store.contents import Contents, Spot
from backup_pipeline.model.files import FileEntry, entry_of
from backup_pipeline.model.manifest import FileImage, FileTree, ObjectRef
from backup_pipeline.vault.blocks import image_objects
from backup_pipeline.vault.journal import TreeNote
from backup_pipeline.vault.objects import ObjectWriter, read_blocks
from backup_pipeline.vault.packs import BLOCK, LARGEST, TARGET
from backup_pipeline.vault.presence import missing

#: A pack of which less than this share is still needed is written anew.
LIVE_SHARE = 0.5
#: So many packs may be small (each run of a quiet tree leaves one); then the smallest are written anew, as one.
SMALL, MOST_SMALL = TARGET // 4, 32
#: No run rewrites more than this for the sake of order.
BUDGET = 1024 * 1024 * 1024

_PLACED = re.compile(rb'"place":\{"offset":(\d+),"pack":(\d+)\},"sha256":"([0-9a-f]{64})","size":(\d+)')
_LINES = 512


@dataclass(frozen=True, slots=True)
class Known:
    """A line of an earlier listing."""

    key: bytes
    data: dict[str, Any]
    line: bytes
    #: What is added to its pack numbers to give the engine's own.
    base: int

    @property
    def entry(self) -> FileEntry:
        return entry_of(self.data)


class Previous:
    """`packs` are numbered as the engine does: those of the last listing first, then those of the notes."""

    def __init__(
        self, writer: ObjectWriter, tree: FileTree | None = None, notes: Sequence[TreeNote] = ()
    ) -> None:
        self._writer = writer
        self.tree = tree
        self._listings: list[tuple[ObjectRef, int]] = []
        self.packs: list[ObjectRef] = []
        #: Packs of the engine's count that are not built on.
        self.given_up: set[int] = set()
        self.contents = Contents()
        #: Of big contents: only one of the same length can be the same.
        self.big_sizes: set[int] = set()
        #: Blocks of which the last listing's images are made.
        self.blocks = frozenset(one.sha256 for one in tree.blocks) if tree else frozenset()
        self._gone: set[str] = set()
        for listing, packs, first in (
            *(((tree.listing, tree.packs, 0),) if tree else ()),
            *((note.listing, note.packs, note.first) for note in notes),
        ):
            if self._look(listing, packs, first):
                self._listings.append((listing, len(self.packs) - first))
                self.packs += packs
            elif tree and listing is tree.listing:
                self.tree = None
        self._find_gone()
        self._give_up()

    @property
    def last(self) -> ObjectRef | None:
        """The last backup's listing: an unchanged tree has the same again."""
        return self.tree.listing if self.tree else None

    def find(self, sha256: bytes) -> Spot | None:
        spot = self.contents.find(sha256)
        return None if spot is None or spot.pack in self.given_up else spot

    def entries(self) -> Iterator[Known]:
        """In the order of the paths. What a killed run has noted comes behind the last backup's word."""
        return merge(*(self._entries(listing, base) for listing, base in self._listings), key=_key)

    def recognises(self, found: Found, known: Known) -> bool:
        """Whether the content of what was found is known without reading it."""
        data = known.data
        state = data.get("state")
        if not found.state or not state or data.get("type", "file") != "file":
            return False
        size = data.get("size", 0)
        if "file_size" in state:  # a database: what was stored is a copy of it, of another length
            size = int(state["file_size"])
            state = {name: value for name, value in state.items() if name != "file_size"}
        if size != found.size or data.get("mtime_ns", 0) != found.mtime_ns or state != found.state:
            return False
        place, image = data.get("place"), data.get("image")
        if place is not None:
            return known.base + place["pack"] not in self.given_up
        return image is None or self.holds_image(known.entry.image)

    def holds_image(self, image: FileImage | None) -> bool:
        if image is None:
            return False
        return not self._gone or not any(one.sha256 in self._gone for one in image_objects(image))

    # ── looking at what there is

    def _look(self, listing: ObjectRef, packs: Sequence[ObjectRef], first: int) -> bool:
        """Where its contents are. False: it cannot be read."""
        base, rest = len(self.packs) - first, b""
        found = []
        try:
            for block in read_blocks(self._writer.objects, listing):
                whole, newline, tail = (rest + block).rpartition(b"\n")
                rest = tail
                found += _PLACED.findall(whole + newline)
                for offset, pack, digest, size in found:
                    if first <= int(pack) < first + len(packs):
                        spot = Spot(base + int(pack), int(offset), int(size))
                        self.contents.add(bytes.fromhex(digest.decode()), spot)
                        if spot.size > LARGEST:
                            self.big_sizes.add(spot.size)
                found.clear()
        except (Damaged, KeyMissing, NotFound):
            return False
        return True

    def _find_gone(self) -> None:
        wanted: Collection[ObjectRef] = (*self.packs, *(self.tree.blocks if self.tree else ()))
        self._gone = {one.sha256 for one in missing(self._writer.store, wanted)}
        self.given_up |= {number for number, pack in enumerate(self.packs) if pack.sha256 in self._gone}

    def _give_up(self) -> None:
        """Which packs are written anew for the sake of order: those of which hardly anything is alive, and small ones
        when there are many of them. By what the last listing names: this run's is not known before its end."""
        live: Counter[int] = Counter()
        for spot in self.contents.spots():
            # A big content is an object of its own: it is needed, or it is not.
            live[spot.pack] += BLOCK + spot.size + -spot.size % BLOCK if spot.offset else 0
        packs = [n for n in live if live[n] and n not in self.given_up]
        dying = sorted(
            (n for n in packs if live[n] < LIVE_SHARE * self.packs[n].plain_size), key=live.__getitem__
        )
        small = sorted((n for n in packs if live[n] < SMALL and n not in dying), key=live.__getitem__)
        budget = BUDGET
        for number in (*dying, *(small if len(small) > MOST_SMALL else ())):
            budget -= live[number]
            if budget < 0:
                break
            self.given_up.add(number)

    def _entries(self, listing: ObjectRef, base: int) -> Iterator[Known]:
        for lines in _lines(read_blocks(self._writer.objects, listing)):
            try:
                loaded = json.loads(b"[" + b",".join(lines) + b"]")
                found = [
                    Known(os.fsencode(data["path"]), data, line, base)
                    for line, data in zip(lines, loaded, strict=True)
                ]
            except (ValueError, KeyError, TypeError, RecursionError):
                return  # no listing of ours: what it would have told is read anew
            yield from found


def _lines(blocks: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Some whole lines at a time, without their newlines."""
    rest = b""
    for block in blocks:
        lines = (rest + block).split(b"\n")
        rest = lines.pop()
        for start in range(0, len(lines), _LINES):
            yield lines[start : start + _LINES]


def _key(known: Known) -> bytes:
    return known.key


def merge_join(found: Iterable[Any], known: Iterable[Known]) -> Iterator[tuple[Any, Known | None]]:
    """What there is, each with what was known of it; and last, as (None, known), nothing: what is gone needs no word."""
    ours = iter(known)
    one = next(ours, None)
    for item in found:
        key = os.fsencode(item.path)
        while one is not None and one.key < key:
            one = next(ours, None)
        match = None
        while one is not None and one.key == key:
            match, one = one, next(ours, None)
        yield item, match
