"""Where every look is a request, most of the time of many small ones is waiting: so they wait side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from backup_pipeline.stores.base import Store

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE = 8


def in_parallel(store: Store, work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """`map`, in the order of the items; a store that answers at once is asked one after the other, without threads."""
    if store.features.cheap_stat:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="look") as pool:
        yield from pool.map(work, items)
