"""What the monitors say of a site now. `health/monitors.py` judges what is looked at here."""

from __future__ import annotations

import time
from collections.abc import Iterator

from backup_pipeline.health import monitors
from backup_pipeline.model.outcome import Outcome
from backup_pipeline.operations import health
from backup_pipeline.operations.coverage import coverage
from backup_pipeline.operations.lag import lag_of
from backup_pipeline.operations.site import Site
from backup_pipeline.operations.status import status_of
from backup_pipeline.operations.storage import examine_storage


def watched(site: Site, system: str) -> tuple[Outcome, ...]:
    """fresh and proven: also true or false on a day on which no backup runs."""
    began = time.monotonic()
    status = status_of(site, system)
    seconds = time.monotonic() - began
    return monitors.fresh(status, seconds), monitors.proven(status, seconds)


def copied(site: Site, system: str) -> Iterator[tuple[str, Outcome]]:
    """The name of each copy, and how far the copy is behind."""
    for name in site.settings.copies_of(system):
        began = time.monotonic()
        lag = lag_of(site, system, name)
        yield name, monitors.copied(lag, time.monotonic() - began)


def verdict(site: Site, system: str, identifier: str | None) -> Outcome:
    """Of the backup that a run made; else of the newest one."""
    chosen = identifier or site.vault.resolve(system, None)
    return monitors.verdict(chosen, health.errors_of(site, system, chosen))


def retention(site: Site, system: str) -> Outcome:
    return monitors.retention(coverage(site, system))


def storage(site: Site) -> Outcome:
    return monitors.storage(examine_storage(site))
