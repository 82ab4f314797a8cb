"""A file that was changed a moment ago is read a moment later, so that its time can tell the next change."""

from __future__ import annotations

import time

from backup_pipeline.files.sources.base import Found

#: Nanoseconds within which two changes of a file may get the same time: up to 10 ms by the clock of most kernels, two
#: seconds where a file system keeps whole ones (FAT, old NFS).
TICK, COARSE_TICK = 20_000_000, 2_000_000_000


def let_it_age(found: Found) -> None:
    """A file system counts time in steps. What is written into a file from now on must get another time than the one by
    which it will be recognised: so it is read when that step is over, and not before."""
    changed = int(found.state.get("ctime_ns", 0))
    step = TICK if changed % 10**9 or found.mtime_ns % 10**9 else COARSE_TICK
    left = changed + step - time.time_ns()
    if changed and 0 < left <= step:
        time.sleep(left / 10**9)
