"""Run a job in this very process, in the persistent instance: what `backup-pipeline backup` and `drill` do.

The same definitions, the same steps and the same history as a run from the UI or by schedule; only nothing has to be
running. An error is raised as it happened, and Dagster's own lines are kept from the terminal.

This module is light: Dagster is loaded when a run is asked for, and while the garbage collector rests, because
there is nothing to collect in half a million objects that have just been made (measured: a tenth of the time).
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backup_pipeline.errors import HistoryUnavailable
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.orders import Kind
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.operations import Site

if TYPE_CHECKING:
    import dagster as dg

    from backup_pipeline.model.outcome import Outcome
    from backup_pipeline.operations.copying import Copied
    from backup_pipeline.operations.drill import DrillReport


@dataclass(frozen=True, slots=True)
class BackupRequest:
    kind: Kind = "manual"
    full: bool = False
    #: Tables, groups or globs: a partial backup.
    only: tuple[str, ...] = ()
    #: Bring the copies up to date as well.
    copies: bool = True


def run_backup(
    site: Site,
    system: str,
    *,
    kind: Kind = "manual",
    full: bool = False,
    only: Sequence[str] = (),
    copies: bool = True,
    copied: Callable[[Copied], None] = lambda _: None,
    judged: Callable[[Sequence[Outcome]], None] = lambda _: None,
    began: Callable[[str], None] = lambda _: None,
    listener: Listener = silent,
    instance: dg.DagsterInstance | None = None,
    verbose: bool = False,
) -> Manifest:
    """The job backup_<system>, here and now. Raises what went wrong, a failed blocking check included. A copy that could
    not be made is CopyFailed, when all the others are done; `copied` is told of each. The checks of the backup are
    told to `judged`; the id of the run that records it to `began`."""
    request = BackupRequest(kind, full, tuple(only), copies)
    with ExitStack() as stack:
        with _collector_at_rest():
            from backup_pipeline.orchestration import inprocess

            with _explained():
                opened = stack.enter_context(inprocess.opened(site, instance, verbose=verbose))
        return inprocess.backup(site, system, request, listener, opened, copied, judged, began)


def run_drill(
    site: Site,
    system: str,
    identifier: str | None = None,
    *,
    began: Callable[[str], None] = lambda _: None,
    listener: Listener = silent,
    instance: dg.DagsterInstance | None = None,
    verbose: bool = False,
) -> DrillReport:
    """The job drill_<system>, here and now. A drill that finds a difference is a report, not an exception."""
    with ExitStack() as stack:
        with _collector_at_rest():
            from backup_pipeline.orchestration import inprocess

            with _explained():
                opened = stack.enter_context(inprocess.opened(site, instance, verbose=verbose))
        return inprocess.drill(site, system, identifier, listener, opened, began)


@contextmanager
def _explained() -> Iterator[None]:
    """Whatever keeps the instance from opening (a broken dagster.yaml, a read-only folder, a database that is down)
    is one thing to whoever wants to back up: no history. The commands go on without."""
    try:
        yield
    except Exception as error:
        raise HistoryUnavailable(
            f"the Dagster instance cannot be opened: {type(error).__name__}: {str(error).partition(chr(10))[0]}",
            remedy="mend its dagster.yaml or the folder it lies in; $DAGSTER_HOME names another",
        ) from error


@contextmanager
def _collector_at_rest() -> Iterator[None]:
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
