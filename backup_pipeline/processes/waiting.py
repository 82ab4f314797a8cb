"""Work that has time: a store that does not answer is waited for, and the listener is told.

A person who asks for a list or a status wants an answer soon. A backup at night wants to be made. The store lies deep below
both, in threads and in worker processes. So whether there is time is known to the process, and is no argument of the
functions between.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.processes import interruption

P = ParamSpec("P")
T = TypeVar("T")

#: Several threads wait for the same store: it is told once in so many seconds.
PAUSE = 20.0


@dataclass(eq=False)
class _Work:
    told: Callable[[str], None]
    clock: Callable[[], float]
    last: float | None = None
    guard: threading.Lock = field(default_factory=threading.Lock)
    #: Ctrl-C: there is no time any more.
    over: threading.Event = field(default_factory=threading.Event)

    def tell(self, text: str) -> None:
        with self.guard:
            now = self.clock()
            if self.last is not None and now - self.last < PAUSE:
                return
            self.last = now
        self.told(text)


_works: list[_Work] = []
_brief = threading.local()


@contextmanager
def having_time(
    told: Callable[[str], None], *, clock: Callable[[], float] = time.monotonic
) -> Iterator[None]:
    """Until the block ends, this process has time, and `told` hears what it waits for."""
    work = _Work(told, clock)
    interruption.watch(work, lambda _: work.over.set())
    _works.append(work)
    try:
        yield
    finally:
        _works.remove(work)


@contextmanager
def briefly() -> Iterator[None]:
    """What this thread does in the block is not worth a wait: it comes again by itself, or it is only tidying up."""
    before, _brief.on = getattr(_brief, "on", False), True
    try:
        yield
    finally:
        _brief.on = before


def has_time() -> bool:
    return bool(_works) and not _works[-1].over.is_set() and not getattr(_brief, "on", False)


def sleep(seconds: float) -> None:
    """A pause that Ctrl-C ends in every thread: the program waits for its threads before it ends."""
    if _works:
        _works[-1].over.wait(seconds)
    else:
        time.sleep(seconds)


def tell(text: str) -> None:
    if has_time():
        _works[-1].tell(text)


def to(listener: Listener) -> Callable[[str], None]:
    return lambda text: listener(Advance("wait", "the store", note=text))


def takes_time(work: Callable[P, T]) -> Callable[P, T]:
    """A function that is work, and may have a `listener`, by place or by name: for callers from Python."""

    asked = inspect.signature(work)

    @wraps(work)
    def working(*args: P.args, **kwargs: P.kwargs) -> T:
        if has_time():
            return work(*args, **kwargs)
        listener: Any = asked.bind(*args, **kwargs).arguments.get("listener", silent)
        with having_time(to(listener)):
            return work(*args, **kwargs)

    return working
