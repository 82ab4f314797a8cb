"""Ctrl-C while a database makes us wait.

A driver that waits in C for a lock, an index or a COPY does not let Python's signal handlers run: without help,
Ctrl-C at a locked table would do nothing until the lock is gone. So whoever opens such a session says how it is
cancelled, and whoever hears the signal (the command line, in a thread that does not wait) asks for that.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

_lock = threading.Lock()
_sessions: dict[int, tuple[weakref.ref[object], Callable[[object], None]]] = {}


def watch(session: object, cancel: Callable[[object], None]) -> None:
    """`cancel` is called from another thread, and must not raise; it is forgotten with the session."""
    key = id(session)

    def forget(_: object) -> None:
        _sessions.pop(key, None)

    with _lock:
        _sessions[key] = (weakref.ref(session, forget), cancel)


def cancel_all() -> None:
    """Let go of everything that waits."""
    with _lock:
        waiting = list(_sessions.values())
    for reference, cancel in waiting:
        session = reference()
        if session is not None:
            cancel(session)
