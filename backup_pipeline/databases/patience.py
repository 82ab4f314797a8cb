"""A source that restarts, or fails over, is asked again: by a backup, from its first question on."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from backup_pipeline.errors import SourceChanged, SourceUnavailable
from backup_pipeline.model.progress import Advance, Listener, silent

T = TypeVar("T")

#: A new snapshot makes these right: a server that restarts, a table that is altered under our hands.
_PASSING = (SourceChanged, SourceUnavailable)
#: Seconds before the second, the third … attempt.
PAUSES = (1.0, 3.0, 9.0)


def patiently(
    do: Callable[[], T], system: str, listener: Listener = silent, pauses: tuple[float, ...] = PAUSES
) -> T:
    """A source that restarts or fails over is asked again; what is wrong with it stays said."""
    for attempt, pause in enumerate(pauses, start=2):
        try:
            return do()
        except _PASSING as error:
            note = f"{error.message}; attempt {attempt} of {len(pauses) + 1} in {pause:.0f} s"
            listener(Advance("export", system, note=note))
            time.sleep(pause)
    return do()
