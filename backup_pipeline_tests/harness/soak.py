"""The seed of `make soak`: the date, so that every day tries new moments; `make soak SEED=20261130` repeats one.

`make soak MINUTES=20` ends after that time: loops of a scenario stop, and tests that did not begin are skipped and counted.

A test with the mark `soak` is the long form of a scenario. Its small twin runs in `make test`, with a fixed seed.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import TypeVar

Thing = TypeVar("Thing")

SEED = int(os.environ.get("SEED") or f"{datetime.now(UTC):%Y%m%d}")
#: In seconds since 1970. `make soak` sets it for MINUTES.
UNTIL = float(os.environ.get("SOAK_UNTIL") or "inf")


def time_is_over() -> bool:
    return time.time() > UNTIL


def in_time(things: Iterable[Thing]) -> Iterator[Thing]:
    """Of these as many as there is time for."""
    return itertools.takewhile(lambda _: not time_is_over(), things)


def seeds(first: int, last: int) -> range:
    """The seeds of the numbers `first` to `last` - 1; two days share none."""
    return range(SEED * 1000 + first, SEED * 1000 + last)
