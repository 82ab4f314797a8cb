"""The start time of a process: a pid and its start name one process, also after the pid is given to another one."""

from __future__ import annotations

import os
from pathlib import Path


def born(pid: int) -> str:
    """The kernel's start time of a process; "" where it cannot be known or there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _born_elsewhere(pid)
    return stat.rpartition(")")[2].split()[19]


def _born_elsewhere(pid: int) -> str:
    """Where there is no /proc: alive or not is all that can be told."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return ""
    except PermissionError:
        return "alive"
    return "alive"
