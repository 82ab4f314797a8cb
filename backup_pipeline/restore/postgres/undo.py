"""Making a database that was empty as empty as it was, after a restore into it failed half-way.

Only what is there now and was not there before is dropped, object by object, so that neither what existed nor the
server's lock table is touched more than needed.
"""

from __future__ import annotations

import psycopg

from backup_pipeline.errors import RestoreError
from backup_pipeline.restore.postgres.definitions import raw
from backup_pipeline.restore.postgres.target import Server, Thing, what_is_there

#: What watches other objects first, what others live in last.
_ORDER = (
    "event trigger", "publication", "materialized view", "view", "foreign table", "table", "sequence", "function",
    "procedure", "aggregate",
)  # fmt: skip
_LAST = ("server", "foreign-data wrapper", "language", "access method", "schema")
_SPELLED = {"foreign-data wrapper": "FOREIGN DATA WRAPPER", "statistics object": "STATISTICS"}
_NOT_DROPPED = ("default acl", "large object")


def undo(server: Server, before: frozenset[tuple[int, int]], extensions: frozenset[str]) -> None:
    """Drop what is not in `before` (of `what_is_there`), and extensions that are not in `extensions`."""
    with server.open() as connection:
        connection.execute("SELECT pg_catalog.set_config('search_path', '', false)")
        connection.execute("SET client_min_messages = error")
        # A round can leave something that another object held; the next one drops it.
        for _ in range(3):
            made = [thing for thing in what_is_there(connection) if (thing.classid, thing.oid) not in before]
            if not made:
                break
            for thing in sorted(made, key=_rank):
                _drop(connection, thing)
        now = connection.execute("SELECT extname FROM pg_catalog.pg_extension").fetchall()
        for (name,) in now:
            if name not in extensions:
                connection.execute(
                    psycopg.sql.SQL("DROP EXTENSION IF EXISTS {} CASCADE").format(
                        psycopg.sql.Identifier(name)
                    )
                )
        left = [thing for thing in what_is_there(connection) if (thing.classid, thing.oid) not in before]
    if left:
        raise RestoreError(
            f"the restore failed, and {server.address} could not be cleaned: "
            + ", ".join(f"{thing.kind} {thing.identity}" for thing in left[:10]),
            remedy="drop that database, or these objects, before the next try",
        )


def _rank(thing: Thing) -> int:
    if thing.kind in _ORDER:
        return _ORDER.index(thing.kind)
    return len(_ORDER) + (1 + _LAST.index(thing.kind) if thing.kind in _LAST else 0)


def _drop(connection: psycopg.Connection[tuple[object, ...]], thing: Thing) -> None:
    if thing.kind in _NOT_DROPPED:
        return
    kind = _SPELLED.get(thing.kind, thing.kind.upper())
    # `identity` is the server's own quoted spelling of the object.
    try:
        connection.execute(raw(f"DROP {kind} IF EXISTS {thing.identity} CASCADE"))
    except (psycopg.errors.DependentObjectsStillExist, psycopg.errors.UndefinedObject,
            psycopg.errors.UndefinedTable, psycopg.errors.UndefinedFunction,
            psycopg.errors.InvalidSchemaName):  # fmt: skip
        return  # it went with another, or goes in the next round
