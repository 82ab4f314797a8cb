"""Ctrl-C while a database makes us wait.

A driver that waits in C for a lock, an index or a COPY does not let Python's signal handlers run: without help,
Ctrl-C at a locked table would do nothing until the lock is gone. So the code that opens such a session says how the
session is cancelled. The command line hears the signal in a thread that does not wait, and cancels every session.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

_lock = threading.Lock()
_Watched = tuple[weakref.ref[object], Callable[[object], None]]
_sessions: dict[int, _Watched] = {}


def watch(session: object, cancel: Callable[[object], None]) -> None:
    """`cancel` is called from another thread, and must not raise; it is forgotten with the session."""
    key = id(session)

    # At the interpreter's end this module's names are gone before the last sessions are.
    def forget(_: object, sessions: dict[int, _Watched] = _sessions) -> None:
        sessions.pop(key, None)

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
