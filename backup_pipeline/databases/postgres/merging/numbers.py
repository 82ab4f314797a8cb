"""Sequences: unused keys for new rows, and the next INSERT of the application.

A sequence is not part of a transaction: what is set stays set after a rollback. So a sequence is only ever moved away from
where it is, in its own direction, and never back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from psycopg import sql
from sqlalchemy.dialects import postgresql

from backup_pipeline.databases.postgres.merging.held import Held
from backup_pipeline.databases.postgres.restore.rows import table_name
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId

#: A default that is the next number and nothing else.
_NEXTVAL = re.compile(r"nextval\('.*'::regclass\)", re.DOTALL)
#: So many numbers are drawn one by one: between a look at a sequence and a jump the application may draw some.
_DRAWN = 1000

#: The sequence of an identity column, or the one that the default draws from, whether or not it is owned.
_FEEDS = """
SELECT n.nspname, c.relname, a.attrelid::bigint, a.attname, pg_catalog.pg_get_expr(f.adbin, f.adrelid),
       s.seqincrement, s.seqmin, s.seqmax, s.seqcycle
  FROM pg_catalog.pg_attribute a
  LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
  JOIN pg_catalog.pg_depend d
    ON (d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass)
    OR (d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype = 'i')
  JOIN pg_catalog.pg_sequence s ON s.seqrelid = CASE WHEN d.deptype = 'i' THEN d.objid ELSE d.refobjid END
  JOIN pg_catalog.pg_class c ON c.oid = s.seqrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attrelid = ANY (%s::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY 1, 2, 3, 4
"""


@dataclass(frozen=True, slots=True)
class Feed:
    """A sequence that gives a column its numbers."""

    sequence: TableId
    table: TableId
    column: str
    #: The column's value is the number itself.
    plain: bool
    increment: int
    minimum: int
    maximum: int
    cycle: bool

    @property
    def end(self) -> int:
        return self.maximum if self.increment > 0 else self.minimum

    def further(self, one: int, other: int) -> bool:
        return one > other if self.increment > 0 else one < other


def feeds(held: Held, tables: Sequence[TableId]) -> list[Feed]:
    names = {oid: table for table, oid in held.inspection.oids.items()}
    return [
        Feed(
            TableId(schema, name),
            names[table],
            column,
            default is None or _NEXTVAL.fullmatch(default) is not None,
            *rest,
        )
        for schema, name, table, column, default, *rest in held.rows(
            "looking for sequences", _FEEDS, held.oids(tables)
        )
    ]


def next_keys(held: Held, table: TableId, column: str, above: int) -> sa.ColumnElement[int] | None:
    """None for a sequence that runs backwards as well: what it gives next is not above any number."""
    if held.options.read_only:
        return None
    feed = next((f for f in feeds(held, [table]) if f.column == column and f.plain), None)
    if feed is None or feed.increment < 0:
        return None
    furthest = _furthest(held, feed)
    if not _move(held, feed, above if furthest is None else max(above, furthest)):
        return None
    spelled = table_name(feed.sequence).as_string(held.raw)
    return sa.func.pg_catalog.nextval(sa.cast(spelled, postgresql.REGCLASS), type_=sa.BigInteger())


def raise_sequences(held: Held, tables: Sequence[TableId]) -> Iterator[Finding]:
    """Tells of the sequences that have no number left, or begin again at their other end."""
    for feed in feeds(held, tables):
        furthest = _furthest(held, feed) if feed.plain else None
        if furthest is not None and not _move(held, feed, furthest):
            code = "sequence-begins-again" if feed.cycle else "sequence-exhausted"
            yield Finding.of(code, table=feed.table, sequence=feed.sequence, column=feed.column, end=feed.end)


def _furthest(held: Held, feed: Feed) -> int | None:
    query = sql.SQL("SELECT {}({})::bigint FROM {}").format(
        sql.SQL("max" if feed.increment > 0 else "min"), sql.Identifier(feed.column), table_name(feed.table)
    )
    ((found,),) = held.rows(f"looking for the last key of {feed.table}", query.as_string(held.raw))
    return None if found is None else int(found)


def _move(held: Held, feed: Feed, furthest: int) -> bool:
    """The next number lies beyond; False where there is none."""
    name = table_name(feed.sequence)
    doing = f"moving the sequence {feed.sequence}"
    query = sql.SQL("SELECT last_value, is_called FROM {}").format(name).as_string(held.raw)
    ((last, called),) = held.rows(doing, query)
    following = last + feed.increment if called else last
    if feed.further(following, furthest):
        return not feed.further(following, feed.end)
    if not feed.further(feed.end, furthest):
        return False
    numbers = (furthest - following) // feed.increment + 1
    spelled = name.as_string(held.raw)
    if numbers <= _DRAWN:
        draw = "SELECT pg_catalog.nextval(%s::pg_catalog.regclass) FROM pg_catalog.generate_series(1, %s)"
        held.rows(doing, draw, spelled, numbers)
        following += numbers * feed.increment
    else:
        held.rows(doing, "SELECT pg_catalog.setval(%s::pg_catalog.regclass, %s, true)", spelled, furthest)
        following = furthest + feed.increment
    return not feed.further(following, feed.end)
