"""The transaction that a backup is read in: locks first, then the snapshot, then the proof that they agree.

REPEATABLE READ takes its snapshot with the first statement that reads, and LOCK TABLE does not read. So the locks
are older than the snapshot: nothing that was locked can be dropped or rewritten unseen. That the snapshot knows
exactly the tables that were locked is checked afterwards, by oid; if not, the attempt is thrown away.

All settings are SET LOCAL inside the transaction: nothing leaks into a pooled session, and a pooler that hands out
another session per transaction cannot lose them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg2

from backup_pipeline.databases.base import unheard
from backup_pipeline.databases.postgres.export import connect, rights
from backup_pipeline.databases.postgres.export.rights import Candidate
from backup_pipeline.databases.postgres.export.session import row_encoding, session_settings
from backup_pipeline.errors import NotSupported, SourceChanged, SourceUnavailable
from backup_pipeline.model.selection import Selection

_ATTEMPTS = 5
#: Seconds of waiting for a lock between two looks at who holds it.
_TURNS = (2.0, 8.0, 15.0)


#: With it the server evaluates no view and asks no foreign server: a user's view that takes a table's place is an error, and its
#: functions do not run as the login (as in pg_dump, CVE-2024-7348). Minor versions from before August 2024 do not know it.
GUARD = "restrict_nonsystem_relation_kind"


@dataclass(frozen=True, slots=True)
class Moment:
    """One exported snapshot, and who holds it."""

    #: For SET TRANSACTION SNAPSHOT in other sessions, while the holder's transaction is open.
    exported: str
    taken_at: datetime
    state: Mapping[str, str]
    #: The tables that are locked, as this snapshot sees them, and all others.
    selected: tuple[Candidate, ...]
    all: tuple[Candidate, ...]
    page_size: int
    #: Of the row text.
    encoding: str


def begin(connection: connect.Connection, *, exported: str | None = None, lock_timeout: float = 0) -> None:
    """Open the transaction in which everything is read; with `exported`, on that very snapshot."""
    settings = {
        **session_settings(connection.server_version),
        "lock_timeout": f"{int(lock_timeout * 1000)}ms",
    }
    if guards(connection):
        settings[GUARD] = "view, foreign-table"
    parts = ["BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"]
    if exported is not None:
        parts.append(f"SET TRANSACTION SNAPSHOT {connect.literal(connection, exported)}")
    parts += [f"SET LOCAL {name} = {connect.literal(connection, value)}" for name, value in settings.items()]
    with connect.explained("opening the snapshot", connection):
        connect.run(connection, "; ".join(parts))


def guards(connection: connect.Connection) -> bool:
    """Whether the server knows the setting. Asked without an operator, for the search_path is not ours yet."""
    with connect.explained("asking for a setting", connection):
        (value,) = connect.row(connection, f"SELECT pg_catalog.current_setting('{GUARD}', true)")
    return value is not None


def take(
    connection: connect.Connection,
    selection: Selection,
    lock_timeout: float,
    waiting: Callable[[str], None] = unheard,
) -> Moment:
    """Lock what is selected and take a snapshot that sees exactly that. `waiting` is told what it waits for."""
    problem = ""
    for _ in range(_ATTEMPTS):
        # A transaction of its own, so that the next one has not read anything when it locks.
        begin(connection)
        before = rights.selected(rights.candidates(connection), selection)
        rights.require(connection, before, rights.sequences(connection))
        connect.run(connection, "ROLLBACK")
        try:
            _lock(connection, before, lock_timeout, waiting)
            moment = _look(connection, selection)
        except SourceChanged as error:
            problem = error.message
        else:
            problem = _difference(connection, moment)
            if not problem:
                return moment
        connect.run(connection, "ROLLBACK")
    raise SourceChanged(
        f"tables are created, dropped or renamed all the time: {problem}",
        remedy="run the backup again, or exclude the tables that come and go",
    )


def _lock(
    connection: connect.Connection,
    tables: Sequence[Candidate],
    lock_timeout: float,
    waiting: Callable[[str], None],
) -> None:
    """In a few turns, so that between them it can be said who is in the way. Opens the transaction."""
    names = ", ".join(f"ONLY {connect.quoted(connection, c.id.schema, c.id.name)}" for c in tables)
    left = lock_timeout
    for turn in itertools.chain(_TURNS, itertools.repeat(_TURNS[-1])):
        begin(connection, lock_timeout=min(turn, left))
        if not tables:
            return
        try:
            connect.run(connection, f"LOCK TABLE {names} IN ACCESS SHARE MODE")
            return
        except psycopg2.errors.LockNotAvailable:
            left -= turn
            connect.run(connection, "ROLLBACK")
            begin(connection)
            held = (
                holders(connection, {c.oid: str(c.id) for c in tables})
                or "which table it was is no longer to be seen"
            )
            if left <= 0:
                raise SourceUnavailable(
                    f"another session kept a lock for more than {lock_timeout:g} s: {held}",
                    remedy="wait for that session or end it (SELECT pg_terminate_backend(pid)), "
                    "then run the backup again",
                ) from None
            waiting(f"waits for a lock, for {left:.0f} s more: {held}")
            connect.run(connection, "ROLLBACK")
        except psycopg2.Error as error:
            raise connect.translated(error, "locking the tables", connection) from error


def holders(
    connection: connect.Connection, names: Mapping[int, str], modes: Sequence[str] = ("AccessExclusiveLock",)
) -> str:
    """Who holds or waits for such a lock on one of these tables. Not what they ask: a query may hold a secret."""
    found = connect.rows(
        connection,
        """SELECT DISTINCT l.relation, l.pid, coalesce(a.application_name, ''), coalesce(a.state, ''), l.granted,
                           pg_catalog.to_char(a.query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
             FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
            WHERE l.mode = ANY (%s::text[]) AND l.relation = ANY (%s::oid[]) AND l.pid <> pg_catalog.pg_backend_pid()
              AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
            ORDER BY l.granted DESC, l.pid""",
        (list(modes), list(names)),
    )
    said = [
        f"{names[oid]} is {'locked' if granted else 'waited for'} by process {pid}"
        + f" ({application or 'no name'}, {state or 'state unknown'}"
        + (f", since its query of {began})" if began else ")")
        for oid, pid, application, state, granted, began in found
    ]
    return "; ".join(said[:5])


def _look(connection: connect.Connection, selection: Selection) -> Moment:
    """The first reading statements: from here on the snapshot stands."""
    with connect.explained("taking the snapshot", connection):
        exported, taken_at, page_size, encoding = connect.row(
            connection,
            """SELECT pg_catalog.pg_export_snapshot(), pg_catalog.clock_timestamp(),
                      pg_catalog.current_setting('block_size')::int, pg_catalog.current_setting('server_encoding')""",
        )
        state = state_of(connection)
    every = rights.candidates(connection)
    return Moment(
        exported=exported,
        taken_at=taken_at.astimezone(UTC),
        state={**state, "encoding": row_encoding(encoding)} if state else {},
        selected=tuple(rights.selected(every, selection)),
        all=tuple(every),
        page_size=page_size,
        encoding=row_encoding(encoding),
    )


def may_identify(connection: connect.Connection) -> bool:
    """Some hosted servers do not let us know who they are."""
    (allowed,) = connect.row(
        connection,
        """SELECT pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
              AND pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE')""",
    )
    return bool(allowed)


def state_of(connection: connect.Connection) -> dict[str, str]:
    """The identity of this snapshot; empty when nothing can be built on it."""
    if not may_identify(connection):
        return {}
    found = connect.row(
        connection,
        """SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system()),
                  (SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()),
                  pg_catalog.to_char(pg_catalog.pg_postmaster_start_time(), 'YYYY-MM-DD"T"HH24:MI:SS.US'),
                  (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()),
                  pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()),
                  pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()),
                  pg_catalog.pg_is_in_recovery(),
                  (SELECT xmin::text FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())""",
    )
    names = (
        "system_identifier",
        "timeline",
        "postmaster_start",
        "database_oid",
        "snapshot_xmin",
        "snapshot_xmax",
        "in_recovery",
        # CREATE DATABASE … OID makes another database with the same oid and files of the same numbers.
        "database_xmin",
    )
    return {name: str(value) for name, value in zip(names, found, strict=True)}


def _difference(connection: connect.Connection, moment: Moment) -> str:
    """What was locked and what the snapshot sees, by oid; empty when they are the same."""
    held = connect.rows(
        connection,
        """SELECT relation FROM pg_catalog.pg_locks
            WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND mode = 'AccessShareLock' AND granted""",
    )
    locked = {oid for (oid,) in held}
    fresh = [str(candidate.id) for candidate in moment.selected if candidate.oid not in locked]
    if fresh:
        return f"{', '.join(fresh[:5])} appeared while the tables were being locked"
    return ""


def refuse_large_objects(connection: connect.Connection, policy: str) -> int:
    """How many there are; more than none is refused unless the configuration leaves them out by name."""
    with connect.explained("counting large objects", connection):
        (count,) = connect.row(
            connection, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_largeobject_metadata"
        )
    if count and policy != "exclude":
        raise NotSupported(
            f"the database holds {count} large object{'s' if count != 1 else ''} (pg_largeobject), which are not backed up",
            remedy="set `large_objects: exclude` to leave them out by name and back them up with pg_dump --blobs, "
            "or move their content into bytea columns",
        )
    return int(count)
