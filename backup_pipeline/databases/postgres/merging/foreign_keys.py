"""Many rows: foreign keys are dropped in the transaction and made again, which is ten times faster than a check of each row.

A foreign key that the login may not make again stays, and so does one that is not as a new one would be: NOT VALID, or with
its triggers switched. No other session sees that a key is gone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from psycopg import sql

from backup_pipeline.databases.postgres.merging.held import Held
from backup_pipeline.databases.postgres.merging.locking import attempt
from backup_pipeline.databases.postgres.merging.readiness import check_now
from backup_pipeline.databases.postgres.restore.rows import table_name
from backup_pipeline.model.schema import TableId

_DROPPABLE = """
SELECT k.conrelid::bigint, k.conname, pg_catalog.pg_get_constraintdef(k.oid),
       pg_catalog.obj_description(k.oid, 'pg_constraint'), k.confrelid::bigint,
       (SELECT pg_catalog.sum(greatest(p.reltuples, 0))::bigint FROM pg_catalog.pg_class p WHERE p.oid = k.conrelid
            OR p.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(k.conrelid)))
  FROM pg_catalog.pg_constraint k
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
 WHERE k.contype = 'f' AND k.conrelid = ANY (%s::oid[]) AND k.conparentid = 0 AND k.convalidated
   AND pg_catalog.pg_has_role(current_user, c.relowner, 'USAGE')
   AND pg_catalog.has_table_privilege(f.oid, 'REFERENCES') AND pg_catalog.has_table_privilege(f.oid, 'SELECT')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
                      AND d.objid = k.oid AND d.deptype = 'e')
 ORDER BY c.relname, k.conname
"""


#: Below so many rows, a check of each row is quick, and no reader has to wait.
MANY = 200_000
#: A foreign key that is made again reads the whole table: a table may have so many times the rows that are written.
_TIMES = 10


@dataclass(frozen=True, slots=True)
class _Dropped:
    table: TableId
    name: str
    definition: str
    comment: str | None
    parent: TableId


@contextmanager
def fast(held: Held, rows: Mapping[TableId, int]) -> Iterator[None]:
    dropped = _drop(held, rows)
    yield
    if dropped:
        # A table with a trigger that waits for the end of the transaction cannot be altered.
        check_now(held)
    for key in dropped:
        _add(held, key)


def droppable(held: Held, rows: Mapping[TableId, int]) -> list[_Dropped]:
    """The foreign keys that are worth it, where so many rows are written."""
    many = {table: count for table, count in rows.items() if count >= MANY}
    if not many:
        return []
    names = {oid: table for table, oid in held.inspection.oids.items()}
    return [
        _Dropped(names[oid], name, definition, comment, names[parent])
        for oid, name, definition, comment, parent, live in held.rows(
            "looking for foreign keys", _DROPPABLE, held.oids(many)
        )
        if (live or 0) <= _TIMES * many[names[oid]]
    ]


def _drop(held: Held, rows: Mapping[TableId, int]) -> list[_Dropped]:
    keys = droppable(held, rows)
    statements = [
        held.alter(key.table, sql.SQL("DROP CONSTRAINT {}").format(sql.Identifier(key.name))) for key in keys
    ]
    if not keys:
        return []
    # Readers of these tables wait from here on. Where a reader does not end in time, the foreign keys stay.
    return keys if attempt(held, sql.SQL("; ").join(statements), held.options.waiting) else []


def _add(held: Held, key: _Dropped) -> None:
    doing = f"{key.table}: making the foreign key {key.name} again"
    named = sql.Identifier(key.name)
    held.run(
        doing,
        held.alter(key.table, sql.SQL("ADD CONSTRAINT {} {}").format(named, sql.SQL(key.definition))),
    )
    if key.comment is not None:
        held.run(
            doing,
            sql.SQL("COMMENT ON CONSTRAINT {} ON {} IS {}").format(
                named, table_name(key.table), sql.Literal(key.comment)
            ),
        )
