"""Taking back what a restore made in a database, after it failed half-way; and nothing else.

What this restore made is known by number (`Made`): others may have made objects of their own meanwhile. An object that one of
theirs depends on stays, and is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import LiteralString

import psycopg

from backup_pipeline.databases.postgres.restore.definitions import raw
from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.databases.postgres.restore.target import (
    OBJECTS,
    Connection,
    Server,
    Thing,
    what_is_there,
)
from backup_pipeline.errors import BackupError, RestoreError

#: What watches other objects first, what others live in last.
_ORDER = (
    "event trigger", "publication", "materialized view", "view", "foreign table", "table", "sequence", "function",
    "procedure", "aggregate",
)  # fmt: skip
_LAST = ("extension", "server", "foreign-data wrapper", "language", "access method", "schema")
_SPELLED = {"foreign-data wrapper": "FOREIGN DATA WRAPPER", "statistics object": "STATISTICS"}
_NOT_DROPPED = ("default acl", "large object")

#: By catalog and number.
Number = tuple[int, int]

_EXTENSIONS: LiteralString = "SELECT 'pg_catalog.pg_extension'::pg_catalog.regclass::oid AS classid, o.oid AS objid FROM pg_catalog.pg_extension o"
_USER_MAPPINGS: LiteralString = (
    "SELECT 'pg_catalog.pg_user_mapping'::pg_catalog.regclass::oid, o.umid FROM pg_catalog.pg_user_mappings o"
)
_NUMBERS: LiteralString = f"SELECT classid, objid FROM ({OBJECTS} UNION ALL {_EXTENSIONS} UNION ALL {_USER_MAPPINGS}) o WHERE objid >= 16384"

# What DROP … CASCADE would take along: what depends on it, and the whole of which one of these is an inner part (a view, by
# its rule). With what each belongs to (a: a constraint to its table, S: a partition's index to the partition).
_DOOMED: LiteralString = """
WITH RECURSIVE doomed (classid, objid) AS (
    VALUES (%s::oid, %s::oid)
    UNION
    SELECT n.classid, n.objid FROM doomed CROSS JOIN LATERAL (
        SELECT d.classid, d.objid FROM pg_catalog.pg_depend d
         WHERE d.refclassid = doomed.classid AND d.refobjid = doomed.objid
        UNION ALL
        SELECT d.refclassid, d.refobjid FROM pg_catalog.pg_depend d
         WHERE d.classid = doomed.classid AND d.objid = doomed.objid AND d.deptype IN ('i', 'e')) n
)
SELECT doomed.classid, doomed.objid, coalesce(c.relkind IN ('r', 'p', 'v', 'm', 'f'), false),
       ARRAY(SELECT ARRAY[d.refclassid, d.refobjid]::bigint[] FROM pg_catalog.pg_depend d
              WHERE d.classid = doomed.classid AND d.objid = doomed.objid AND d.deptype IN ('a', 'S')),
       EXISTS (SELECT FROM pg_catalog.pg_depend d
                WHERE d.classid = doomed.classid AND d.objid = doomed.objid AND d.deptype = 'i')
  FROM doomed LEFT JOIN pg_catalog.pg_class c
    ON doomed.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND c.oid = doomed.objid
"""


@dataclass
class Made:
    """The numbers of what a restore has made so far."""

    numbers: set[Number] = field(default_factory=set)

    @contextmanager
    def noting(self, connection: Connection) -> Iterator[None]:
        """A transaction. It sees nothing that others commit meanwhile (repeatable read), so what is new in it is its own."""
        with connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            before = _numbers(connection)
            yield
            self.numbers |= _numbers(connection) - before


def _numbers(connection: Connection) -> set[Number]:
    return {(int(classid), int(objid)) for classid, objid in connection.execute(_NUMBERS)}


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of the restore's that stays, because something of others depends on it."""

    thing: str
    why: str


def undo(server: Server, made: Made) -> tuple[Leftover, ...]:
    """Drop what was made; returns what stays."""
    held: dict[str, str] = {}
    with server.open() as connection:
        connection.execute("SELECT pg_catalog.set_config('search_path', '', false)")
        connection.execute("SET client_min_messages = error")
        # A round can leave something that another object held; the next one drops it.
        for _ in range(3):
            held.clear()
            things = _there(connection, made)
            if not things:
                break
            for thing in sorted(things, key=_rank):
                for other in _drop(connection, thing, made)[:1]:
                    held[f"{thing.kind} {thing.identity}"] = f"because of {other}"
        for thing in _there(connection, made):
            held.setdefault(f"{thing.kind} {thing.identity}", "it could not be dropped")
    return tuple(Leftover(thing, why) for thing, why in held.items())


def take_back(server: Server, made: Made, error: BaseException, *more: str) -> None:
    """Drop what this restore made. The error says what stays, because others use it."""
    _end_sessions(server)
    held = undo(server, made)
    if held:
        shown = "; ".join(f"{one.thing} ({one.why})" for one in held[:10])
        more = (*more, f"{len(held)} objects of this restore stay, because others use them: {shown}")
    if not more:
        return
    if not isinstance(error, BackupError):
        raise RestoreError(f"the restore was ended; {'; '.join(more)}", remedy=_remedy_for(server)) from error
    error.message = f"{error.message}; {'; '.join(more)}"
    error.remedy = "; ".join(filter(None, (error.remedy, _remedy_for(server))))


def _remedy_for(server: Server) -> str:
    return f"what stays in {server.address} is to be dropped by hand before the next try, or restore to another database"


def _end_sessions(server: Server) -> None:
    """A killed worker's statement goes on in the server, and holds its locks, until it is told."""
    with server.maintenance() as connection:
        connection.execute(
            "SELECT pg_catalog.pg_terminate_backend(pid, 10000)"
            " FROM pg_catalog.pg_stat_activity WHERE application_name = %s AND datname = %s"
            if connection.info.server_version >= 140000
            else "SELECT pg_catalog.pg_terminate_backend(pid)"
            " FROM pg_catalog.pg_stat_activity WHERE application_name = %s AND datname = %s",
            (server.application, server.database),
        )


def strangers(server: Server, made: Made) -> bool:
    """Whether there is anything that others made."""
    with server.open() as connection:
        return bool(_numbers_of(what_is_there(connection)) - made.numbers)


def _numbers_of(things: Sequence[Thing]) -> set[Number]:
    return {(thing.classid, thing.oid) for thing in things}


def _there(connection: Connection, made: Made) -> list[Thing]:
    extensions = connection.execute(
        f"SELECT o.classid, o.objid, 'extension', pg_catalog.quote_ident(e.extname) FROM ({_EXTENSIONS}) o"
        " JOIN pg_catalog.pg_extension e ON e.oid = o.objid"
    )
    things = (*what_is_there(connection), *(Thing(*row) for row in extensions))
    return [thing for thing in things if (thing.classid, thing.oid) in made.numbers]


def _rank(thing: Thing) -> int:
    if thing.kind in _ORDER:
        return _ORDER.index(thing.kind)
    return len(_ORDER) + (1 + _LAST.index(thing.kind) if thing.kind in _LAST else 0)


def _drop(connection: Connection, thing: Thing, made: Made) -> tuple[str, ...]:
    """Returns what of others keeps it from being dropped."""
    if thing.kind in _NOT_DROPPED:
        return ()
    kind = _SPELLED.get(thing.kind, thing.kind.upper())
    # `identity` is the server's own quoted spelling of the object.
    try:
        with connection.transaction():
            if thing.kind == "table":
                # From here to the end of the transaction nothing of others can begin to depend on it.
                connection.execute(raw(f"LOCK TABLE ONLY {thing.identity} IN ACCESS EXCLUSIVE MODE"))
            others = _others(connection, thing, made)
            if not others:
                connection.execute(raw(f"DROP {kind} IF EXISTS {thing.identity} CASCADE"))
            return others
    except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.UndefinedObject,
            psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction,
            psycopg.errors.InvalidSchemaName):  # fmt: skip
        return ()  # it went with another, or goes in the next round


def _others(connection: Connection, thing: Thing, made: Made) -> tuple[str, ...]:
    with explained(f"asking what depends on {thing.kind} {thing.identity}"):
        rows = connection.execute(_DOOMED, (thing.classid, thing.oid)).fetchall()
        doomed = {(row[0], row[1]): _Part(*row[2:]) for row in rows}
        foreign = [number for number in doomed if not _is_ours(number, made, doomed)]
        named = connection.execute(
            "SELECT i.type || ' ' || i.identity FROM unnest(%s::oid[], %s::oid[]) o (classid, objid)"
            " CROSS JOIN LATERAL pg_catalog.pg_identify_object(o.classid, o.objid, 0) i ORDER BY 1",
            ([classid for classid, _ in foreign], [objid for _, objid in foreign]),
        ).fetchall()
    return tuple(row[0] for row in named)


@dataclass(frozen=True, slots=True)
class _Part:
    """What a doomed object is to others."""

    relation: bool
    belongs_to: list[list[int]]
    inner: bool


def _is_ours(number: Number, made: Made, doomed: Mapping[Number, _Part]) -> bool:
    """A part (an index, a constraint, a default …) is ours if what it belongs to is ours. What it is an inner part of is among
    the doomed itself."""
    part = doomed.get(number)
    if number in made.numbers or part is None:
        return number in made.numbers
    if part.relation or not (part.belongs_to or part.inner):
        return False
    return all(_is_ours((owner[0], owner[1]), made, doomed) for owner in part.belongs_to)
