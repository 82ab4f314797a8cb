"""The backup of what a restore is about to change: of the kind `pre-restore`. What did not change since the last backup costs
nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from backup_pipeline.backups import making
from backup_pipeline.databases.base import Options
from backup_pipeline.databases.engines import engine_at
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.model.schema import TableId
from backup_pipeline.operations.environment import UNKNOWN, marker_of_target
from backup_pipeline.operations.site import Site
from backup_pipeline.processes.waiting import takes_time

__all__ = ["back_up_before"]


@takes_time
def back_up_before(
    site: Site, system: str, url: str, tables: Iterable[TableId], listener: Listener = silent
) -> Manifest:
    """`url`: the database that is about to be changed. `tables`: those that are touched.

    A database that is a file is backed up as a whole. A file without some of its tables has other pages, so it would share
    no block with the backups before it."""
    chosen, engine = site.system(system), engine_at(url)
    selection = replace(chosen.selection, only=None if engine.is_file else frozenset(tables))
    if not engine.is_file:
        # What the configuration leaves out is changed as well.
        selection = replace(selection, include=(), exclude=())
    order = making.Order(
        system=system,
        kind="pre-restore",
        selection=selection,
        environment="" if (marker := marker_of_target(site, system, url, live=False)) == UNKNOWN else marker,
        options=Options(
            workers=chosen.jobs, chunk_bytes=chosen.chunk_size, large_objects=chosen.large_objects
        ),
        pauses=site.pauses,
    )
    return making.back_up(site.vault, engine.source(url), order, listener=listener, clock=site.clock)
