"""`scrub`: read a part of the vault, or of a copy, back: the part that was not read for the longest time."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from backup_pipeline.config import Settings
from backup_pipeline.health.freshness import longest_interval
from backup_pipeline.model.orders import ScrubOrder
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import stores
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time

if TYPE_CHECKING:
    from datetime import datetime

    from backup_pipeline.verification.scrub import ScrubReport

__all__ = ["ScrubReport", "scrub"]


@takes_time
def scrub(site: Site, order: ScrubOrder, listener: Listener = silent) -> ScrubReport:
    """Read the part of the vault, or of a copy, that was not read for the longest."""
    from backup_pipeline.verification.scrub import scrub as scrub_vault

    settings, now = site.settings, site.clock()
    window = timedelta(days=order.window or settings.scrub.window_days)
    return scrub_vault(
        stores.open_place(settings, order.copy),
        window=window,
        interval=scrub_interval(settings, now, window),
        now=now,
        everything=order.everything,
        listener=listener,
    )


def scrub_interval(settings: Settings, now: datetime, window: timedelta) -> timedelta:
    """How long it is between two scrubs; without a schedule, as if a scrub ran four times in a window."""
    if settings.scrub.schedule is None:
        return window / 4
    return timedelta(seconds=longest_interval(settings.scrub.schedule, settings.timezone, now))
