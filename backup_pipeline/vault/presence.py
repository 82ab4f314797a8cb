"""Are the objects of a backup there, and as long as they should be: the one place that asks a store for many of them.

Where a look is a system call, each object is looked at. Where it is a request, a few are asked for side by side, and for
many one listing answers: a restore of 100 GB names 6,500 objects, and as many requests one after the other take minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from backup_pipeline.stores.base import Store
from backup_pipeline.stores.waiting import in_parallel
from backup_pipeline.vault import layout

#: Above so many objects a listing is cheaper than a request for each, where requests cost.
LIST_ABOVE = 500


class Stored(layout.StoredObject, Protocol):
    @property
    def size(self) -> int: ...


S = TypeVar("S", bound=Stored)


def missing(store: Store, objects: Iterable[S]) -> list[S]:
    """Those that are not there, or not as long as they should be."""
    wanted = {layout.object_key(one): one for one in objects}
    there = _sizes(store, wanted)
    return [one for key, one in wanted.items() if there.get(key) != one.size]


def _sizes(store: Store, wanted: Mapping[str, S]) -> dict[str, int]:
    if store.features.cheap_stat or len(wanted) <= LIST_ABOVE:
        looks = in_parallel(store, store.stat, wanted)
        return {stat.key: stat.size for stat in looks if stat is not None}
    return {stat.key: stat.size for stat in store.list(layout.OBJECTS) if stat.key in wanted}


@dataclass
class Presence:
    """Asks a store, each time anew; within `one_work`, which plans and then does what was planned, only once. What was
    missing is asked for again. What was there and is gone a moment later is found out by reading it."""

    store: Store
    #: Keys of objects that do not lie in an archive, or were thawed (operations/thawing.py).
    readable: set[str] = field(default_factory=set)
    _there: set[str] = field(default_factory=set)
    _remembering: bool = False

    @contextmanager
    def one_work(self) -> Iterator[None]:
        self._remembering = True
        try:
            yield
        finally:
            self._remembering = False
            self.readable.clear()
            self._there.clear()

    def missing(self, objects: Iterable[S]) -> list[S]:
        wanted = {key: one for one in objects if (key := layout.object_key(one)) not in self._there}
        gone = missing(self.store, wanted.values())
        if self._remembering:
            self._there |= wanted.keys() - {layout.object_key(one) for one in gone}
        return gone

    def can_be_read(self, keys: Iterable[str]) -> None:
        if self._remembering:
            self.readable.update(keys)
