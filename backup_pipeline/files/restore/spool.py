"""Work that waits, in a file without a name: a tree may have millions of files, and memory is for something else."""

from __future__ import annotations

import marshal
import tempfile
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Item:
    """What a restore needs of one entry."""

    path: str
    size: int = 0
    mode: int | None = None
    mtime_ns: int = 0
    sha256: str = ""
    uid: int | None = None
    gid: int | None = None
    #: Of a link and a hard link.
    target: str = ""
    #: Something else is there, and is to make way.
    replaces: bool = False
    #: It had holes, and is to have them again.
    sparse: bool = False


class Spool:
    """Items with a place each (pack, offset), to be taken out sorted by place."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile("w+b")  # noqa: SIM115
        self._starts = array("Q")
        self._packs = array("L")
        self._offsets = array("Q")
        self._end = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, item: Item, pack: int = 0, offset: int = 0) -> None:
        data = marshal.dumps(
            (
                item.path.encode("utf-8", "surrogateescape"),
                item.size,
                item.mode,
                item.mtime_ns,
                item.sha256,
                item.uid,
                item.gid,
                item.target.encode("utf-8", "surrogateescape"),
                item.replaces,
                item.sparse,
            )
        )
        self._file.write(data)
        self._starts.append(self._end)
        self._packs.append(pack)
        self._offsets.append(offset)
        self._end += len(data)

    def __iter__(self) -> Iterator[Item]:
        """In the order in which they came."""
        for number in range(len(self._starts)):
            yield item_of(self._packed(number))

    def by_pack(self) -> Iterator[tuple[int, Iterator[tuple[int, bytes]]]]:
        """Pack after pack: the places in it, rising, each with its item, packed. Take each pack before the next."""
        # Here and not above: worker processes take items only.
        import numpy as np

        packs = np.frombuffer(self._packs, dtype=np.dtype(f"u{self._packs.itemsize}"))
        offsets = np.frombuffer(self._offsets, dtype=np.uint64)
        order = np.lexsort((offsets, packs))
        begin = 0
        while begin < len(order):
            pack = int(packs[order[begin]])
            end = begin + int(np.searchsorted(packs[order[begin:]], pack, side="right"))
            chosen = order[begin:end]
            yield pack, ((int(offsets[one]), self._packed(one)) for one in chosen)
            begin = end

    def _packed(self, number: int) -> bytes:
        start = self._starts[number]
        end = self._starts[number + 1] if number + 1 < len(self._starts) else self._end
        self._file.seek(start)
        return self._file.read(end - start)


def item_of(packed: bytes) -> Item:
    path, size, mode, mtime_ns, sha256, uid, gid, target, replaces, sparse = marshal.loads(packed)
    return Item(
        path.decode("utf-8", "surrogateescape"),
        size,
        mode,
        mtime_ns,
        sha256,
        uid,
        gid,
        target.decode("utf-8", "surrogateescape"),
        replaces,
        sparse,
    )
