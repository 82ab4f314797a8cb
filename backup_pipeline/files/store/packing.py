"""Contents into packs: which pack is open, which number it has in the listing, and what is noted when it is finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline.files.store.contents import Spot
from backup_pipeline.files.store.previous import Previous
from backup_pipeline.model.files import LISTING_SUFFIX
from backup_pipeline.model.manifest import ObjectRef
from backup_pipeline.vault.journal import TreeNote
from backup_pipeline.vault.objects import ObjectWriter
from backup_pipeline.vault.packs import PACK_SUFFIX, STORED_PACK_SUFFIX, TARGET, PackBuilder

#: Packs that are being finished while the next ones are filled. Each takes a few megabytes.
ENDING = 2
#: What is in a pack is kept in mind until it is finished, 300 bytes for each. More than `previous.SMALL` in any case.
MOST_CONTENTS = 50_000


@dataclass(slots=True)
class _Open:
    number: int
    builder: PackBuilder
    #: For the note: the listing of what is in it.
    lines: list[bytes] = field(default_factory=list)


@dataclass(slots=True)
class _Outside:
    """A pack that a worker process fills. Its lines come in the order of the listing, also after it is finished."""

    #: Contents in it whose lines have not come yet.
    expected: int = 0
    lines: list[bytes] = field(default_factory=list)
    ref: ObjectRef | None = None


class Packing:
    """Numbers here are the engine's: earlier packs first (`Previous.packs`), then those of this run. `number_of` gives the
    listing's, which counts what it names in the order in which it names it."""

    def __init__(
        self, name: str, writer: ObjectWriter, previous: Previous, note: Callable[[TreeNote], None]
    ) -> None:
        self._name = name
        self._writer = writer
        self._previous = previous
        self._note = note
        self._refs: list[ObjectRef | None] = list(previous.packs)
        self._open: dict[bool, _Open] = {}
        self._ending: list[_Open] = []
        self._outside: dict[int, _Outside] = {}
        self._storing: deque[tuple[int, Future[ObjectRef]]] = deque()
        self._pool = ThreadPoolExecutor(ENDING, thread_name_prefix="pack")
        self._numbers: dict[int, int] = {}
        self._blobs: dict[str, int] = {}

    @property
    def target(self) -> int:
        return TARGET

    def number_of(self, pack: int) -> int:
        return self._numbers.setdefault(pack, len(self._numbers))

    def add(self, sha256: str, data: bytes, *, shrinks: bool) -> Spot:
        pack = self._open.get(shrinks)
        if pack is not None and (
            pack.builder.size + len(data) > TARGET or pack.builder.contents >= MOST_CONTENTS
        ):
            self._end(shrinks)
            pack = None
        if pack is None:
            suffix = PACK_SUFFIX if shrinks else STORED_PACK_SUFFIX
            pack = self._open[shrinks] = _Open(len(self._refs), PackBuilder(self._writer, suffix))
            self._refs.append(None)
        return Spot(pack.number, pack.builder.add(sha256, data), len(data))

    def add_blob(self, blob: ObjectRef) -> Spot:
        number = self._blobs.get(blob.sha256)
        if number is None:
            number = self._blobs[blob.sha256] = len(self._refs)
            self._refs.append(blob)
        return Spot(number, 0, blob.plain_size)

    # ── packs of worker processes

    def begin(self) -> int:
        self._refs.append(None)
        self._outside[len(self._refs) - 1] = _Outside()
        return len(self._refs) - 1

    def expect(self, number: int) -> None:
        """One more content is in it."""
        self._outside[number].expected += 1

    def take(self, number: int, staged: Path, reference: ObjectRef) -> None:
        """It is finished, and waits in the staging folder."""

        def store() -> ObjectRef:
            self._writer.publish(reference, staged)
            staged.unlink(missing_ok=True)
            return reference

        self._storing.append((number, self._pool.submit(store)))
        self.settle()

    def listed(self, line: bytes | None, number: int) -> None:
        """The line of a content of a worker's pack; None: the file is not in the listing."""
        pack = self._outside[number]
        pack.expected -= 1
        if line is not None:
            pack.lines.append(line)
        self._note_outside(number)

    def settle(self, left: int = ENDING) -> None:
        """Note what is in the vault by now; wait where more than `left` packs are on their way."""
        while self._storing and (len(self._storing) > left or self._storing[0][1].done()):
            number, future = self._storing.popleft()
            self._refs[number] = self._outside[number].ref = future.result()
            self._note_outside(number)

    def _note_outside(self, number: int) -> None:
        pack = self._outside[number]
        if pack.ref is not None and not pack.expected:
            del self._outside[number]
            if pack.lines:
                self._note_lines(pack.lines, (pack.ref,), self.number_of(number))

    def stored(self, line: bytes, spot: Spot | None) -> None:
        """The line of a content that this run has stored: for the next one, should this one not come to its end."""
        for pack in self._open.values():
            if spot is not None and pack.number == spot.pack:
                pack.lines.append(line)
                return
        ref = self._refs[spot.pack] if spot is not None else None
        if spot is None:
            self._note_lines([line], ())
        elif ref is not None:
            self._note_lines([line], (ref,), self.number_of(spot.pack))

    def finish(self) -> tuple[ObjectRef, ...]:
        """Every pack that the listing names, durable in the vault."""
        for shrinks in list(self._open):
            self._end(shrinks)
        self._collect(0)
        self.settle(0)
        found = []
        for number in self._numbers:
            ref = self._refs[number]
            assert ref is not None
            found.append(ref)
        return tuple(found)

    def abort(self) -> None:
        """Of what is not finished nothing is kept."""
        for pack in (*self._open.values(), *self._ending):
            pack.builder.abort()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _end(self, shrinks: bool) -> None:
        pack = self._open.pop(shrinks)
        pack.builder.end()
        self._ending.append(pack)
        self._collect(ENDING)

    def _collect(self, left: int) -> None:
        while len(self._ending) > left:
            pack = self._ending[0]
            ref = self._refs[pack.number] = pack.builder.result()
            self._ending.pop(0)
            if pack.lines:
                self._note_lines(pack.lines, (ref,), self.number_of(pack.number))

    def _note_lines(self, lines: list[bytes], packs: tuple[ObjectRef, ...], first: int = 0) -> None:
        listing = self._writer.write((b"".join(lines),), LISTING_SUFFIX)
        self._note(TreeNote(self._name, listing, packs, first))
