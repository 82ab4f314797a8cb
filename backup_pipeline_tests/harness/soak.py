"""The seed of `make soak`: the date, so that every day tries new moments; `make soak SEED=20261130` repeats one.

A test with the mark `soak` is the long form of a scenario. Its small twin runs in `make test`, with a fixed seed.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime

SEED = int(os.environ.get("SEED") or f"{datetime.now(UTC):%Y%m%d}")


def seeds(first: int, last: int) -> range:
    """The seeds of the numbers `first` to `last` - 1; two days share none."""
    return range(SEED * 1000 + first, SEED * 1000 + last)
