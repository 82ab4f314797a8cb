"""What the driver's errors mean to a merge. A data error is about rows: the merge may set such rows aside and go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.errors import RestoreError, RowsRefused, TargetChanged, TargetUnavailable

#: Values that do not fit, broken constraints, a view's check option, what functions of users raise.
OF_ROWS = ("22", "23", "44", "P0")
_UNAVAILABLE = ("08", "57P", "53300", "40", "55P03", "25P03", "25P04")
_CHANGED = ("42P01", "3F000", "42703", "42704", "42809")
_RIGHTS = "42501"
_REMEDIES = {
    _RIGHTS: "connect as the owner of the tables, or give this login the right",
    "57014": "the statement was cancelled; run the merge again",
    "53100": "the target's disk is full: make room, and run the merge again",
    "53200": "raise max_locks_per_transaction on the target and restart it",
    "55006": "a trigger still waits for the end of the transaction: run the merge with --triggers off",
}


def failure(error: psycopg.Error, doing: str) -> RestoreError:
    text, values = told(error)
    state = error.sqlstate or ""
    message = f"{doing}: {text}"
    if state.startswith(OF_ROWS):
        refused = RowsRefused(
            message,
            remedy="--allow-rejects sets rows aside that the database refuses",
            values=values,
        )
        refused.sqlstate = state
        return refused
    if state.startswith(_UNAVAILABLE) or (not state and isinstance(error, psycopg.OperationalError)):
        return TargetUnavailable(
            message, remedy="nothing was written: run the merge again when the server answers", values=values
        )
    if state in _CHANGED:
        return TargetChanged(message, remedy="make a new plan", values=values)
    return RestoreError(
        message,
        remedy=_REMEDIES.get(state, "nothing was written; the server's log may say more"),
        values=values,
    )


@contextmanager
def explained(doing: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        raise failure(error, doing) from error


def translate(engine: sa.Engine) -> None:
    """What the merge's steps run raises errors of ours, and not of the driver."""

    @sa.event.listens_for(engine, "handle_error")
    def handle(context: sa.engine.ExceptionContext) -> None:
        error = context.original_exception
        if isinstance(error, psycopg.Error):
            raise failure(error, "merging") from error
