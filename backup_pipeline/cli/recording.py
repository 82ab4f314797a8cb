"""Runs are recorded in the Dagster instance; a history that cannot be kept must not keep a backup from being made."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from typing import TypeVar

from backup_pipeline.cli.call import Call
from backup_pipeline.errors import BackupError, HistoryUnavailable

T = TypeVar("T")


def recorded(call: Call, run: Callable[[], T], *, otherwise: Callable[[], T]) -> T:
    """`run` in the instance; with a warning `otherwise`, where the instance is the trouble.

    Errors of ours are about the work and not about its recording. Another error came from the instance (its
    database is locked, its disk is full) or is a defect. The second way would then show the defect as its own.
    """
    try:
        _load()
        return run()
    except HistoryUnavailable as error:
        call.say(f"warning: not recorded: {error.message}", "yellow")
        call.say(f"→ {error.remedy}")
    except BackupError:
        raise
    except Exception as error:  # noqa: BLE001 - see above: after every error a backup is worth another way
        first = (str(error).splitlines() or [""])[0]
        call.say(f"warning: recording failed, going on without: {type(error).__name__}: {first}", "yellow")
    call.run = ""  # what is done now, no run records
    return otherwise()


def _load() -> None:
    """Load Dagster while the garbage collector rests, and keep its half a million objects from the collector for good.

    Measured on 2026-11-30 in CPU time. Loading, medians of 5: 1.31 s with the collector on, 1.07 s without. A recorded
    backup of 3 tables, medians of 4: 2.23 s without `freeze`, 1.90 s with it.
    """
    if "backup_pipeline.orchestration.launch" in sys.modules:
        return
    was_on = gc.isenabled()
    gc.disable()
    try:
        from backup_pipeline.orchestration import launch, local_storage  # noqa: F401

        gc.freeze()
    finally:
        if was_on:
            gc.enable()
