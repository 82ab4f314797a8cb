"""Processes that are killed the hard way, with everything that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path


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


def kill_tree(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> bool:
    """SIGKILL to a process and all its descendants; whether it was still alive to be killed.

    The processes are stopped first: a tree that keeps growing while it is killed would leave some alive.
    """
    alive = process.poll() is None
    pids = tree(process.pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
    process.wait()
    return alive


def run_for(argv: list[str], seconds: float) -> bool:
    """Run a command and kill it, children and all, after some time; whether it was cut short."""
    process = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.002)
    return kill_tree(process)
