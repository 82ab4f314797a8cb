"""Are the objects of a backup there, and as long as they should be: the one place that asks a store for many of them.

Where a look is a system call, each object is looked at. Where it is a request, a few are asked for side by side, and for
many a listing of their folders: a restore of 100 GB names 6,500 objects, and as many requests one after the other take
minutes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from typing import Protocol, TypeVar

from backup_pipeline.stores.base import Stat, Store
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
    there = stats(store, wanted.values())
    return [one for key, one in wanted.items() if key not in there or there[key].size != one.size]


def stats(store: Store, objects: Iterable[layout.StoredObject]) -> dict[str, Stat]:
    """By key, what the store says of these objects. An object that is not there has no entry."""
    wanted = {layout.object_key(one) for one in objects}
    folders = {key.rpartition("/")[0] + "/" for key in wanted}
    if store.features.cheap_stat or len(wanted) <= LIST_ABOVE:
        found: Iterable[Stat | None] = in_parallel(store, store.stat, wanted)
    elif len(wanted) < 2 * len(folders):
        found = everything(store)
    else:
        # Side by side: one listing of a million objects takes minutes, and a restore waits for it.
        listed = in_parallel(
            store, lambda folder: [one for one in store.list(folder) if one.key in wanted], folders
        )
        found = chain.from_iterable(listed)
    return {stat.key: stat for stat in found if stat is not None and stat.key in wanted}


def everything(store: Store, part: str = "") -> Iterator[Stat]:
    """The objects of a store. `part`: the two digits with which a folder of objects is named."""
    return store.list(layout.OBJECTS + (f"{part}/" if part else ""))


@dataclass
class ObjectIndex:
    """For work that asks of many objects, one after the other. Where a look is a request, one listing answers all."""

    store: Store
    _sizes: dict[str, int] | None = None

    def there(self, one: Stored) -> bool:
        """The object is there, and as long as it should be."""
        if self.store.features.cheap_stat:
            return not missing(self.store, [one])
        if self._sizes is None:
            self._sizes = {stat.key: stat.size for stat in everything(self.store)}
        return self._sizes.get(layout.object_key(one)) == one.size

    def add(self, one: Stored) -> None:
        if self._sizes is not None:
            self._sizes[layout.object_key(one)] = one.size

    def forget(self) -> None:
        self._sizes = None


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
