"""Where a process number means something: under one boot of one kernel, in one PID namespace.

Containers of one image often have equal host names, and equal process numbers besides: a host name and a number name
no process. Two containers took each other's living locks for those of dead processes.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def realm() -> str:
    """The boot and the PID namespace of this process; "" where the system has neither (no /proc)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
        shown = Path("/proc/self").readlink().name
    except OSError:
        return ""
    if shown != str(os.getpid()):
        # /proc is that of another namespace, and shows other processes under our numbers: equal to no other realm.
        return f"{boot}:{secrets.token_hex(8)}"
    return f"{boot}:{namespace}"


def alive(pid: int) -> bool:
    """Of a process of this realm."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
