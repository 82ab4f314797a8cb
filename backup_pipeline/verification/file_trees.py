"""A file tree of a backup: does its listing name the contents of its packs, and no path that must not be restored?

`integrity` has read the packs already, each once. Here their contents are compared with one listing: every file of it
has its content, at its place, with the right length and SHA-256.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from xxhash import xxh3_64_intdigest

from backup_pipeline.errors import Damaged
from backup_pipeline.files.restore.names import checked
from backup_pipeline.model.files import FileEntry
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree, ObjectRef
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.vault.packs import EMPTY_SHA256, image_blocks
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification.integrity import StoredContent

_SHOWN = 10
_REMEDY = "restore another backup; `verify all` says which are whole"

#: What was found of an object; None: it was not looked at.
Look = Callable[[ObjectRef], StoredContent | None]


@dataclass
class Examined:
    findings: list[Finding] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)


def examine(vault: Vault, tree: FileTree, seen: Look, listener: Listener) -> Examined:
    """Of a tree whose objects were looked at; what is wrong with an object itself was said already."""
    found = Examined()
    listing = seen(tree.listing)
    if listing is None or not is_sound(tree.listing, listing):
        return found
    listener(Advance("verify", tree.name, note="the listing of its files"))
    reading = _Reading(tree)
    what = f"the listing of {tree.name}"
    try:
        for entry in checked(vault.listing(tree), what=what):
            reading.add(entry)
    except Damaged as error:
        found.findings.append(Finding.of("listing-unreadable", tree=tree.name, why=error.message))
        return found
    found.counted.update(reading.counted)
    found.findings += reading.findings()
    lost = _misplaced(tree, reading, seen)
    if lost or reading.targets:
        found.findings += _named(vault, tree, lost, reading.targets)
    for entry in reading.images:
        found.findings += _image(vault, tree, entry, seen)
    return found


def is_sound(reference: ObjectRef, seen: StoredContent) -> bool:
    """Its bytes and its content are what the manifest says."""
    return (
        not (seen.unreadable or seen.frozen or seen.broken or seen.key_missing)
        and (seen.sha256, seen.size) == (reference.sha256, reference.size)
        and (
            not seen.unpacked
            or (seen.plain_sha256, seen.plain_size) == (reference.plain_sha256, reference.plain_size)
        )
    )


class _Reading:
    """What passed of a listing: 52 bytes a file and 8 a hard link, however long its name is."""

    def __init__(self, tree: FileTree) -> None:
        self.tree = tree
        self.counted: Counter[str] = Counter()
        self.images: list[FileEntry] = []
        #: What hard links share: it has to be a file of the listing. Its digest only: trees of links have millions.
        self.targets: array[int] = array("Q")
        self._numbers: list[tuple[int, int, int, int]] = []
        self._digests = bytearray()
        self._arrays: list[np.ndarray[tuple[int, ...], np.dtype[np.uint64]]] = []
        self._nowhere: list[str] = []
        self._sums: Counter[str] = Counter()
        self._entries = 0
        self._fingerprint = hashlib.sha256()

    def add(self, entry: FileEntry) -> None:
        number, self._entries = self._entries, self._entries + 1
        mode = "" if entry.mode is None else entry.mode
        text = f"{entry.path}\0{entry.type}\0{mode}\0{entry.sha256 or entry.target}\0"
        self._fingerprint.update(os.fsencode(text))
        self._sums[entry.type] += 1
        if entry.type == "hardlink":
            self.targets.append(_digest(entry.target))
        if entry.type != "file":
            return
        self.counted["files"] += 1
        self._sums["bytes"] += entry.size
        if entry.image is not None:
            self.images.append(entry)
        elif entry.place is not None:
            if len(entry.sha256) != 64 or entry.place.pack >= len(self.tree.packs):
                self._nowhere.append(entry.path)
                return
            self._numbers.append((number, entry.place.pack, entry.place.offset, entry.size))
            self._digests += bytes.fromhex(entry.sha256)
            if len(self._numbers) >= 65536:
                self._flush()
        elif entry.size or entry.sha256 not in ("", EMPTY_SHA256):
            self._nowhere.append(entry.path)

    def _flush(self) -> None:
        if self._numbers:
            self._arrays.append(np.array(self._numbers, dtype=np.uint64))
            self._numbers = []

    def placed(
        self,
    ) -> tuple[
        np.ndarray[tuple[int, ...], np.dtype[np.uint64]], np.ndarray[tuple[int, ...], np.dtype[np.uint8]]
    ]:
        """(entry, pack, offset, size) of every file that lies in a pack, and its digest."""
        self._flush()
        numbers = np.concatenate(self._arrays) if self._arrays else np.zeros((0, 4), dtype=np.uint64)
        return numbers, np.frombuffer(bytes(self._digests), dtype=np.uint8).reshape(-1, 32)

    def findings(self) -> Iterator[Finding]:
        tree = self.tree
        if self._nowhere:
            yield Finding.of(
                "file-without-content",
                tree=tree.name,
                count=len(self._nowhere),
                examples=self._nowhere[:_SHOWN],
            )
        for word, said, found in (
            ("files", tree.files, self._sums["file"]),
            ("bytes", tree.bytes, self._sums["bytes"]),
            ("folders", tree.folders, self._sums["folder"]),
            ("links", tree.links, self._sums["link"]),
        ):
            if said != found:
                yield Finding.of("tree-totals", tree=tree.name, said=said, word=word, found=found)
        if tree.fingerprint and tree.fingerprint != self._fingerprint.hexdigest():
            yield Finding.of("tree-fingerprint", tree=tree.name)


def _misplaced(tree: FileTree, reading: _Reading, seen: Look) -> dict[int, str]:
    """The entries (by number) whose content is not where the listing says, and why."""
    numbers, digests = reading.placed()
    wrong: dict[int, str] = {}
    packs = numbers[:, 1]
    for pack in np.unique(packs):
        reference = tree.packs[int(pack)]
        look = seen(reference)
        if look is None or look.contents is None or look.contents.broken or not is_sound(reference, look):
            continue
        contents = look.contents
        mine = np.flatnonzero(packs == pack)
        offsets = np.frombuffer(contents.offsets, dtype=np.uint64)
        sizes = np.frombuffer(contents.sizes, dtype=np.uint64)
        held = np.frombuffer(contents.digests, dtype=np.uint8).reshape(-1, 32)
        if not len(held):
            wrong |= {int(numbers[one, 0]): "its pack is empty" for one in mine[:1000]}
            continue
        place = np.minimum(np.searchsorted(offsets, numbers[mine, 2]), len(offsets) - 1)
        bad = (
            (offsets[place] != numbers[mine, 2])
            | (sizes[place] != numbers[mine, 3])
            | np.any(held[place] != digests[mine], axis=1)
        )
        for one in mine[bad][:1000]:
            wrong[int(numbers[one, 0])] = f"it is not in pack {int(pack)} at {int(numbers[one, 2])}"
    return wrong


def _named(vault: Vault, tree: FileTree, lost: dict[int, str], targets: array[int]) -> Iterator[Finding]:
    """The listing once more, to call by name what was found by number or by digest."""
    names: list[str] = []
    left = _Targets(targets)
    for number, entry in enumerate(vault.listing(tree)):
        if number in lost and len(names) < _SHOWN:
            names.append(f"{entry.path}: {lost[number]}")
        if entry.type == "file":
            left.found(entry.path)
    if lost:
        yield Finding.of("file-misplaced", tree=tree.name, count=len(lost), examples=names)
    if missing := left.missing():
        named = (
            one.target
            for one in vault.listing(tree)
            if one.type == "hardlink" and _digest(one.target) in missing
        )
        yield Finding.of(
            "hard-link-to-nothing",
            tree=tree.name,
            count=len(missing),
            examples=dict.fromkeys(islice(named, _SHOWN)),
        )


class _Targets:
    """What hard links share, by digest, and what of it was met in the listing: 9 bytes each."""

    def __init__(self, digests: array[int]) -> None:
        self._digests = np.unique(np.array(digests, dtype=np.uint64))
        self._met = np.zeros(len(self._digests), dtype=bool)
        self._paths: list[int] = []

    def found(self, path: str) -> None:
        if len(self._digests):
            self._paths.append(_digest(path))
            if len(self._paths) >= 65536:
                self._look()

    def _look(self) -> None:
        paths = np.array(self._paths, dtype=np.uint64)
        place = np.minimum(np.searchsorted(self._digests, paths), len(self._digests) - 1)
        self._met[place[self._digests[place] == paths]] = True
        self._paths = []

    def missing(self) -> set[int]:
        if self._paths:
            self._look()
        return {int(one) for one in self._digests[~self._met]}


def _digest(path: str) -> int:
    return xxh3_64_intdigest(os.fsencode(path))


def _image(vault: Vault, tree: FileTree, entry: FileEntry, seen: Look) -> Iterator[Finding]:
    """A big file that is kept as blocks: its objects are named by the tree, and give the file."""
    assert entry.image is not None
    held = {(one.sha256, one.suffix) for one in tree.blocks}
    needed = [
        reference
        for segment in entry.image.segments
        for reference in (*segment.packs, segment.map, segment.digests)
        if reference is not None
    ]
    if unnamed := [one for one in needed if (one.sha256, one.suffix) not in held]:
        yield Finding.of("block-not-named", tree=tree.name, path=entry.path, count=len(unnamed))
    if not all(_is_sound(one, seen) for one in needed if one not in unnamed):
        return
    try:
        for _ in image_blocks(vault.objects, entry):
            pass
    except Damaged as error:
        yield Finding.of("content-altered", tree=tree.name, why=error.message)


def _is_sound(reference: ObjectRef, seen: Look) -> bool:
    look = seen(reference)
    return look is not None and is_sound(reference, look)
