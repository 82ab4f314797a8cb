"""Locks on the tables of a merge: no other session writes to them until the end, and readers go on."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.export import snapshot
from backup_pipeline.databases.postgres.merging.failing import explained, failure
from backup_pipeline.databases.postgres.merging.held import Held, Statement, look
from backup_pipeline.databases.postgres.restore.rows import table_name
from backup_pipeline.errors import TargetChanged, TargetUnavailable
from backup_pipeline.model.progress import Advance
from backup_pipeline.model.schema import TableId

#: Seconds of waiting for a lock between two looks at who holds it.
TURNS = (2.0, 8.0, 15.0)
#: The locks that ours does not go together with.
_IN_THE_WAY = (
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
)
_MAY_LOCK = """
SELECT pg_catalog.has_table_privilege(i.oid, 'UPDATE, DELETE, TRUNCATE')
  FROM pg_catalog.unnest(%s::oid[]) WITH ORDINALITY i(oid, place) ORDER BY i.place
"""
_WITH_PARTITIONS = """
SELECT t.relid::oid::bigint, i.oid::bigint FROM pg_catalog.unnest(%s::oid[]) i
 CROSS JOIN LATERAL (SELECT i.oid AS relid UNION SELECT relid FROM pg_catalog.pg_partition_tree(i.oid)) t
"""


def lock(held: Held, tables: Sequence[TableId], waiting: float) -> None:
    """By name, so that two merges do not wait for each other. Then the tables are as they were when they were read."""
    if not tables:
        return
    ordered = sorted(tables)
    statement = _statement(held, ordered)
    left = waiting
    for turn in itertools.chain(TURNS, itertools.repeat(TURNS[-1])):
        if attempt(held, statement, min(turn, left)):
            break
        left -= turn
        who = _holders(held, ordered) or "which table it was is no longer to be seen"
        if left <= 0:
            raise TargetUnavailable(
                f"another session kept a lock for more than {waiting:g} s: {who}",
                remedy="wait for that session or end it (SELECT pg_terminate_backend(pid)), then run the merge again",
            )
        held.options.listener(Advance("wait", "locks", note=f"waits {left:.0f} s more: {who}"))
    _unchanged(held, ordered)


def _statement(held: Held, tables: Sequence[TableId]) -> Statement:
    """A table that this login may only read is held against ALTER TABLE: foreign keys see that its rows stay."""
    may = held.rows("asking for rights", _MAY_LOCK, held.oids(tables))
    parts = [
        sql.SQL("LOCK TABLE {} IN {} MODE").format(
            table_name(table), sql.SQL("SHARE ROW EXCLUSIVE" if writer else "ACCESS SHARE")
        )
        for table, (writer,) in zip(tables, may, strict=True)
    ]
    return sql.SQL("; ").join(parts)


def attempt(held: Held, statement: Statement, seconds: float) -> bool:
    """Whether the locks that it needs were to be had in time."""
    try:
        with held.raw.transaction():
            held.raw.execute(
                "SELECT pg_catalog.set_config('lock_timeout', %s, true)",
                (f"{max(1, int(seconds * 1000))}ms",),
            )
            held.raw.execute(statement)
            held.raw.execute("SET LOCAL lock_timeout = 0")
    except psycopg.errors.LockNotAvailable:
        return False
    except psycopg.Error as error:
        raise failure(error, "locking the tables") from error
    return True


def _holders(held: Held, tables: Sequence[TableId]) -> str:
    names: Mapping[int, TableId] = {oid: table for table, oid in held.inspection.oids.items()}
    found = held.rows("looking for locks", _WITH_PARTITIONS, held.oids(tables))
    with explained("looking for locks"):
        return snapshot.holders(held.raw, {oid: str(names[root]) for oid, root in found}, _IN_THE_WAY)


def _unchanged(held: Held, tables: Sequence[TableId]) -> None:
    now, _ = look(held.server)
    before = held.inspection
    for table in tables:
        same_table = now.oids.get(table) == before.oids[table]
        if not same_table or now.schema.table(table) != before.schema.table(table):
            raise TargetChanged(
                f"{table} was altered while the merge was prepared", remedy="run the merge again"
            )
    held.inspection = now
