"""`max_rate`: not more bytes a second than one has been given, for all processes of this machine together.

A store spends before each piece that it sends, and after each piece that it received. A small file of the staging
folder keeps the pace, because a backup has several worker processes. Each of them at the rate would be many times the
rate. The file holds one number: the moment from which the next byte may go.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.stores.options import StoreOptions

#: Seconds of the rate that may be spent at once, so that small requests do not wait for each other's crumbs.
BURST = 0.5
#: A piece that takes longer than this to be paid for is too large: an interruption would wait for it.
PIECE_SECONDS = 2.0
_NUMBER = struct.Struct("<d")


@dataclass(frozen=True, slots=True)
class Pace:
    rate: int | None = None
    #: Who opens the same file keeps the same pace.
    file: Path | None = None
    #: The same clock for every process of a machine.
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep

    def spend(self, size: int) -> None:
        """Wait until `size` bytes may go."""
        if self.rate is not None and self.file is not None and size > 0:
            wait = self._reserve(size / self.rate) - BURST
            if wait > 0:
                self.sleep(wait)

    def piece(self, most: int, least: int) -> int:
        """How large a piece should be, at most `most` bytes and at least `least`."""
        if self.rate is None:
            return most
        return max(least, min(most, int(self.rate * PIECE_SECONDS)))

    def _reserve(self, seconds: float) -> float:
        """Take our turn behind everybody's; says how long it is until then."""
        assert self.file is not None
        descriptor = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            now = self.clock()
            data = os.pread(descriptor, _NUMBER.size, 0)
            free = _NUMBER.unpack(data)[0] if len(data) == _NUMBER.size else 0.0
            # A number from before the machine was started again is of another clock.
            turn = max(now, free) if free < now + 3600 else now
            os.pwrite(descriptor, _NUMBER.pack(turn + seconds), 0)
            return turn + seconds - now
        finally:
            os.close(descriptor)


def pace_of(options: StoreOptions) -> Pace:
    """The pace of a store: one for all that is sent to and fetched from it, by every process of this machine."""
    if options.max_rate is None:
        return Pace()
    options.made_staging()
    name = hashlib.sha256(f"{options.url} {options.endpoint or ''}".encode()).hexdigest()[:16]
    return Pace(options.max_rate, options.staging / f".pace-{name}")
