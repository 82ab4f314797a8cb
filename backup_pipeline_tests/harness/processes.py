"""Processes that are killed the hard way, with everything that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Protocol

from backup_pipeline_tests.harness import warm


def tree(pid: int) -> list[int]:
    """A process and all its descendants, by /proc: children in sessions of their own included."""
    found, waiting, parents = [], [pid], _children()
    while waiting:
        one = waiting.pop()
        found.append(one)
        waiting += parents.get(one, [])
    return found


def children(pid: int) -> set[int]:
    """Those of a process itself. What a server that is one of them starts and ends is its own business."""
    return set(_children().get(pid, []))


def _children() -> dict[int, list[int]]:
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents.setdefault(int(fields[1]), []).append(int(path.parent.name))
    return parents


class Killable(Protocol):
    pid: int

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...


def kill_tree(process: Killable) -> bool:
    """SIGKILL to a process and all its descendants; whether it was still alive to be killed.

    The processes are stopped first: a tree that keeps growing while it is killed would leave some alive.
    """
    pids = tree(process.pid) if process.poll() is None else []
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    return process.wait() == -signal.SIGKILL


def run_for(seconds: float, code: str, *arguments: str) -> bool:
    """Run Python code and kill it, children and all, after some time; whether it was cut short."""
    with warm.start(code, *arguments) as child:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and child.poll() is None:
            time.sleep(0.002)
        killed = kill_tree(child)
        code, _, errors = child.ended()
        assert killed or code == 0, errors
        return killed
