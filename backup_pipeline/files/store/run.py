"""A whole tree into the vault: both listings side by side, what is new read in threads, the new listing written in order.

Memory does not grow with the tree: the listings stream by, and `contents` knows compactly where the contents lie.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from backup_pipeline.files.sources.base import Found, Trouble
from backup_pipeline.files.sources.unmatched import watched
from backup_pipeline.files.store import database
from backup_pipeline.files.store.ahead import Ahead, Listed, Turn
from backup_pipeline.files.store.contents import Spot
from backup_pipeline.files.store.links_sqlite import LinkNames
from backup_pipeline.files.store.order import KnownTree, StoredTree, TreeOrder
from backup_pipeline.files.store.packing import Packing
from backup_pipeline.files.store.previous import Known, Previous, merge_join
from backup_pipeline.files.store.reading import Content, Gone, Missed, Reader
from backup_pipeline.files.store.report import Report
from backup_pipeline.files.store.telling import Telling
from backup_pipeline.files.store.witnesses import Witnesses, is_mapped
from backup_pipeline.model.files import LISTING_SUFFIX, FileEntry, Place, line_of, placed
from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.model.manifest import FileTree, ObjectRef
from backup_pipeline.model.progress import Listener
from backup_pipeline.vault.blocks import image_objects
from backup_pipeline.vault.journal import TreeNote
from backup_pipeline.vault.objects import ObjectWriter
from backup_pipeline.vault.packs import EMPTY_SHA256

#: Files that wait for their turn to be listed.
AHEAD_FILES = 4096
LINES = 256 * 1024


def store_tree(
    writer: ObjectWriter,
    order: TreeOrder,
    known: KnownTree,
    *,
    now: datetime,
    listener: Listener,
    note: Callable[[TreeNote], None],
) -> StoredTree:
    previous = Previous(writer, known.before, known.notes)
    due = _is_due(order, previous.tree, now)
    run = _Tree(writer, order, previous, full=due, listener=listener, note=note)
    try:
        listing = writer.write(run.lines(), LISTING_SUFFIX, (previous.last,) if previous.last else ())
        tree = run.tree(listing, now)
    finally:
        run.close()
    return StoredTree(tree, tuple(run.report.findings(tree, known.before, order, known.emptied)))


def _is_due(order: TreeOrder, before: FileTree | None, now: datetime) -> bool:
    """Whether times are not to be trusted this once."""
    if order.full or before is None:
        return order.full
    if order.rehash_after is None:
        return False
    # Without a time, it is due.
    hashed = parse_timestamp(before.hashed_at) if before.hashed_at else None
    return hashed is None or (now - hashed).total_seconds() > order.rehash_after


@dataclass(slots=True)
class _Item:
    """A file, folder or link whose turn to be listed comes."""

    found: Found
    known: Known | None
    #: None: it need not be read.
    turn: Turn | None = None
    #: Its content is that of this path, which is the same file (a hard link).
    target: str = ""


class _Tree:
    def __init__(
        self,
        writer: ObjectWriter,
        order: TreeOrder,
        previous: Previous,
        *,
        full: bool,
        listener: Listener,
        note: Callable[[TreeNote], None],
    ) -> None:
        self.order = order
        self.previous = previous
        self.full = full
        self.witnesses = Witnesses(order.night, previous.tree)
        self.report = Report(order.name)
        self.packing = Packing(order.name, writer, previous, note)
        self.telling = Telling(order.name, previous.tree, listener)
        self._reader = Reader(order, writer, previous, self.telling.advanced)
        self._ahead = Ahead(order, writer, previous, self.packing, self._reader)
        self._pending: deque[_Item] = deque()
        self._links = LinkNames()
        #: Databases that were copied as such, since the last file that was not beside one.
        self._databases: dict[str, None] = {}
        self._blocks: dict[str, ObjectRef] = {}
        self._digest = hashlib.sha256()
        self._counts = dict.fromkeys(("files", "bytes", "folders", "links", "new_files", "new_bytes"), 0)

    def close(self) -> None:
        """Also in the middle of it: nothing that is not finished stays."""
        self._ahead.stop()
        self.packing.abort()
        self._ahead.close()
        self._links.close()

    def tree(self, listing: ObjectRef, now: datetime) -> FileTree:
        """After the last line."""
        source, before = self.order.source, self.previous.tree
        hashed = timestamp(now) if self.full or before is None else before.hashed_at
        return FileTree(
            name=self.order.name,
            kind=source.kind,
            address=source.address,
            listing=listing,
            packs=self.packing.finish(),
            blocks=tuple(self._blocks.values()),
            missed=self.report.missed,
            fingerprint=self._digest.hexdigest(),
            hashed_at=hashed,
            **self._counts,
        )

    # ── the new listing

    def lines(self) -> Iterator[bytes]:
        gathered: list[bytes] = []
        size = 0
        for line in self._each_line():
            gathered.append(line)
            size += len(line)
            if size >= LINES:
                yield b"".join(gathered)
                gathered, size = [], 0
        if gathered:
            yield b"".join(gathered)
        self.telling.tell()
        # Before the listing itself: what it names is there when it is.
        self._ahead.finish()
        self.packing.finish()

    def _each_line(self) -> Iterator[bytes]:
        pending = self._pending
        entries = watched(self.order.source.entries(), self.order.asked)
        for found, known in merge_join(entries, self.previous.entries()):
            if isinstance(found, Trouble):
                self.report.add(found.code, found.path, found.message)
                continue
            self._push(found, known)
            while pending and (self._is_due(pending[0]) or self._is_too_far_ahead()):
                yield from self._pop()
        self._ahead.hand_over()
        while pending:
            yield from self._pop()

    def _push(self, found: Found, known: Known | None) -> None:
        item = _Item(found, known)
        if found.type == "file":
            first = self._links.first(found.identity, found.path) if found.identity else found.path
            if first != found.path:
                item.target = first
            elif found.size and (known is None or self.full or not self._is_known(found, known)):
                item.turn = self._ahead.read(found, known)
        self._pending.append(item)

    def _is_known(self, found: Found, known: Known) -> bool:
        recognised = self.order.has_noted(known.data) and self.previous.recognises(found, known)
        return recognised and not self.witnesses.wants(found)

    def _is_due(self, item: _Item) -> bool:
        return item.turn is None or self._ahead.is_ready(item.turn)

    def _is_too_far_ahead(self) -> bool:
        return self._ahead.is_full or len(self._pending) > AHEAD_FILES

    # ── one after the other, in the order of the paths

    def _pop(self) -> Iterator[bytes]:
        item = self._pending.popleft()
        found, outcome = item.found, None
        if item.turn is not None:
            outcome = self._ahead.outcome(item.turn)
        elif item.target:
            first = self._links.listed(found.identity)
            if first is not None:
                yield self._line(replace(_entry(found), type="hardlink", size=0, target=first, state=None))
                return
            # The first name is gone meanwhile.
            outcome = self._reader.read(found, None)
        if self._is_beside_a_database(found):
            self.report.add("database-beside", found.path)
            if isinstance(outcome, Listed) and outcome.new:
                self.packing.listed(None, self._spot(outcome).pack)
            return
        if isinstance(outcome, Gone):
            self.report.add("file-vanished", found.path)
            return
        if isinstance(outcome, Missed):
            self.report.add(outcome.code, found.path, outcome.message)
            return
        if isinstance(outcome, Listed):
            line = self._listed(item, outcome)
        else:
            line = self._taken(item, outcome) if outcome else self._unread(item)
        if found.identity:
            self._links.list(found.identity, found.path)
        yield line

    def _spot(self, outcome: Listed) -> Spot:
        spot = self._ahead.spot(outcome.digest)
        assert spot is not None
        return spot

    def _listed(self, item: _Item, outcome: Listed) -> bytes:
        """What a worker process has read, and packed where it is new."""
        found = item.found
        spot = self._spot(outcome)
        line = placed(outcome.line, Place(self.packing.number_of(spot.pack), spot.offset))
        self._compare(found, item.known, outcome.digest.hex())
        self._count(found.size)
        self._fingerprint(found.path, "file", found.mode, outcome.digest.hex())
        if outcome.new:
            self._counts["new_files"] += 1
            self._counts["new_bytes"] += found.size
            self.packing.listed(line, spot.pack)
        return line

    def _is_beside_a_database(self, found: Found) -> bool:
        if not self._databases or found.type != "file":
            return False
        return database.beside_of(found.path) in self._databases

    def _unread(self, item: _Item) -> bytes:
        """A folder, a link, an empty file, or one that is known."""
        found, known = item.found, item.known
        if found.type in ("folder", "link"):
            self._counts[f"{found.type}s"] += 1
            return self._line(_entry(found))
        self._count(found.size)
        if not found.size or known is None:
            return self._line(replace(_entry(found), sha256=EMPTY_SHA256))
        return self._again(found, known)

    def _again(self, found: Found, known: Known) -> bytes:
        """As it was listed the last time; mostly it is the very same line."""
        data = known.data
        place, image = data.get("place"), data.get("image")
        if "file_size" in (data.get("state") or ()):
            self._is_database(found)
        number = None if place is None else self.packing.number_of(known.base + place["pack"])
        if (
            image is None
            and (place is None or number == place["pack"])
            and (data.get("mode"), data.get("uid"), data.get("gid")) == (found.mode, found.uid, found.gid)
            and data.get("sparse", False) == found.sparse
        ):
            self._fingerprint(found.path, "file", found.mode, data["sha256"])
            return known.line + b"\n"
        old = known.entry
        if old.image is not None:
            self._blocks.update((one.sha256, one) for one in image_objects(old.image))
        new = replace(old, mode=found.mode, uid=found.uid, gid=found.gid, sparse=found.sparse)
        if old.place is not None and number is not None:
            new = replace(new, place=Place(number, old.place.offset))
        return self._line(new)

    def _taken(self, item: _Item, content: Content) -> bytes:
        found, digest = content.found, bytes.fromhex(content.sha256)
        doubtful = content.torn or content.locked
        if content.database:
            self._is_database(found)
        if content.plain_copy:
            code = "database-locked" if content.locked else "database-copied-plainly"
            self.report.add(code, found.path, f"{found.path}: {content.plain_copy}")
        if content.torn and not content.locked:
            self.report.add("file-changed", found.path)
        if not doubtful:
            self._compare(found, item.known, content.sha256)
        self._count(content.size)
        spot, new = self._put(content, digest)
        state = {**found.state, "file_size": str(found.size)} if content.database else found.state
        line = self._line(
            FileEntry(
                found.path,
                "file",
                content.size,
                found.mode,
                found.mtime_ns,
                content.sha256,
                None if spot is None else Place(self.packing.number_of(spot.pack), spot.offset),
                content.image,
                uid=found.uid,
                gid=found.gid,
                # What was never the same twice must not be recognised by its times.
                state=None if doubtful else state or None,
                sparse=found.sparse,
                media=content.media,
                digests=content.digests,
            )
        )
        if new:
            self._counts["new_files"] += 1
            self._counts["new_bytes"] += content.size
            if not doubtful:
                self.packing.stored(line, spot)
        return line

    def _put(self, content: Content, digest: bytes) -> tuple[Spot | None, bool]:
        """Where the content is now, and whether it is there since now only."""
        if content.image is not None:
            objects = {one.sha256: one for one in image_objects(content.image)}
            new = bool(objects.keys() - self._blocks.keys() - self.previous.blocks)
            self._blocks.update(objects)
            return None, new
        if not content.size:
            return None, False
        spot = content.spot or self._ahead.spot(digest)
        if spot is not None:
            return spot, False
        if content.blob is not None:
            spot = self.packing.add_blob(content.blob)
            self.previous.big_sizes.add(content.size)
        else:
            assert content.data is not None
            spot = self.packing.add(content.sha256, content.data, shrinks=content.shrinks)
        self.previous.contents.move(digest, spot)
        return spot, True

    def _compare(self, found: Found, known: Known | None, sha256: str) -> None:
        """Of what was read again: what has another content although nothing says so."""
        if (
            known is not None
            and not is_mapped(found.path)
            and known.data.get("sha256") != sha256
            and self.previous.recognises(found, known)
        ):
            self.report.add("file-silently-changed", found.path)

    def _is_database(self, found: Found) -> None:
        # Those beside it come next but for what sorts between: a few are remembered, not all of a tree.
        self._databases[found.path] = None
        while len(self._databases) > 10_000:
            del self._databases[next(iter(self._databases))]

    def _line(self, entry: FileEntry) -> bytes:
        self._fingerprint(entry.path, entry.type, entry.mode, entry.sha256 or entry.target)
        return line_of(entry)

    def _fingerprint(self, path: str, kind: str, mode: int | None, content: str) -> None:
        text = f"{path}\0{kind}\0{'' if mode is None else mode}\0{content}\0"
        self._digest.update(os.fsencode(text))

    def _count(self, size: int) -> None:
        self._counts["files"] += 1
        self._counts["bytes"] += size
        self.telling.count(size)


def _entry(found: Found) -> FileEntry:
    return FileEntry(
        found.path,
        found.type,
        found.size,
        found.mode,
        found.mtime_ns,
        target=found.target,
        uid=found.uid,
        gid=found.gid,
        state=found.state or None,
        sparse=found.sparse,
    )
