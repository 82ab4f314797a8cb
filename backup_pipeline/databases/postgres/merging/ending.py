"""The commit. Where its answer is lost, the server is asked whether it was done: a merge never says what it does not know."""

from __future__ import annotations

import sqlalchemy as sa

from backup_pipeline.databases.postgres.merging.failing import explained
from backup_pipeline.databases.postgres.merging.held import Held
from backup_pipeline.errors import RestoreError, TargetUnavailable


def commit(held: Held, connection: sa.Connection) -> None:
    ((number,),) = held.rows("committing", "SELECT pg_catalog.pg_current_xact_id_if_assigned()::text")
    try:
        connection.commit()
    except TargetUnavailable as lost:
        if number is None or _state(held, number, lost) == "aborted":
            raise
        # Else it was done, and only the answer did not arrive.


def _state(held: Held, number: str, lost: TargetUnavailable) -> str:
    unknown = RestoreError(
        f"the connection was lost during the commit, and whether the merge was done is not known: {lost.message}",
        remedy=f"ask the server when it answers: SELECT pg_xact_status('{number}')",
    )
    try:
        with held.server.open() as again, explained("asking for the commit"):
            row = again.execute("SELECT pg_catalog.pg_xact_status(%s::pg_catalog.xid8)", (number,)).fetchone()
    except RestoreError:
        raise unknown from lost
    state = row[0] if row else None
    if state not in ("committed", "aborted"):
        raise unknown from lost
    return str(state)
