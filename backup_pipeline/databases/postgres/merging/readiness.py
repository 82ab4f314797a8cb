"""What must be off while rows are written, and on again before the end: triggers and rules, deferrable constraints.

Foreign keys stay on. Where the login may not switch a trigger off, the trigger fires, and the merge tells so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from psycopg import sql

from backup_pipeline.databases.merge.asked import Triggers
from backup_pipeline.databases.postgres.merging.held import Held
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId

#: With the partitions, the root before them. A trigger of a partition may be in another state than that of its root.
_SWITCHES = """
WITH RECURSIVE part (oid, root, depth) AS (
    SELECT oid, oid, 0 FROM pg_catalog.unnest(%s::oid[]) oid
    UNION ALL
    SELECT i.inhrelid, p.root, p.depth + 1 FROM part p JOIN pg_catalog.pg_inherits i ON i.inhparent = p.oid
      JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relispartition
)
SELECT n.nspname, c.relname, s.kind, s.name, s.state, pg_catalog.pg_has_role(current_user, c.relowner, 'USAGE'), p.root::bigint
  FROM part p JOIN pg_catalog.pg_class c ON c.oid = p.oid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 CROSS JOIN LATERAL (
    SELECT 'TRIGGER' AS kind, tgname AS name, tgenabled AS state FROM pg_catalog.pg_trigger
     WHERE tgrelid = p.oid AND NOT tgisinternal AND tgenabled <> 'D'
    UNION ALL
    SELECT 'RULE', rulename, ev_enabled FROM pg_catalog.pg_rewrite WHERE ev_class = p.oid AND ev_enabled <> 'D'
 ) s ORDER BY p.depth, 1, 2, 3, 4
"""
_RIGHTS = """
SELECT i.oid::bigint, pg_catalog.row_security_active(i.oid),
       ARRAY(SELECT right_to FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) right_to
              WHERE NOT pg_catalog.has_table_privilege(i.oid, right_to))
  FROM pg_catalog.unnest(%s::oid[]) WITH ORDINALITY i(oid, place) ORDER BY i.place
"""
_ENABLE = {"O": "ENABLE {} {}", "R": "ENABLE REPLICA {} {}", "A": "ENABLE ALWAYS {} {}"}


@dataclass(frozen=True, slots=True)
class Switch:
    """A trigger or a rule that is on."""

    table: TableId
    kind: str
    name: str
    #: As the catalog keeps it: O, R, A.
    state: str
    #: The login may switch it.
    ours: bool
    #: The table that it was asked for: a partition's root.
    root: TableId

    def statement(self, held: Held, how: str) -> sql.Composed:
        change = sql.SQL(how).format(sql.SQL(self.kind), sql.Identifier(self.name))
        return held.alter(self.table, change, only=True)


def hindrances(held: Held, tables: Sequence[TableId]) -> Iterator[Finding]:
    """What stands in the way of a merge into these tables. Nothing is changed."""
    (user,) = held.rows("asking for the login", "SELECT pg_catalog.quote_ident(current_user)")[0]
    found = held.rows("asking for rights", _RIGHTS, held.oids(tables))
    for table, (_, filtered, missing) in zip(tables, found, strict=True):
        spelled = sql.Identifier(table.schema, table.name).as_string(held.raw)
        if missing:
            yield Finding.of(
                "merge-right-missing", table=table, rights=", ".join(missing), user=user, spelled=spelled
            )
        if filtered:
            yield Finding.of("row-security-hinders", table=table, user=user)


def ready(
    held: Held, tables: Sequence[TableId], triggers: Triggers
) -> tuple[tuple[Switch, ...], tuple[Finding, ...]]:
    """What was switched off, and what is to be told."""
    for finding in hindrances(held, tables):
        raise RestoreError(finding.message, remedy=finding.remedy)
    held.run("deferring constraints", sql.SQL("SET CONSTRAINTS ALL DEFERRED"))
    found = switches(held, tables)
    if triggers == "fire":
        return (), tuple(_told("triggers-fire", found))
    off = [switch for switch in found if switch.ours]
    for switch in off:
        held.run(f"switching a trigger of {switch.table} off", switch.statement(held, "DISABLE {} {}"))
    stay = [switch for switch in found if not switch.ours]
    return tuple(off), (*_told("triggers-off", off), *_told("triggers-stay", stay))


def switches(held: Held, tables: Sequence[TableId]) -> list[Switch]:
    names = {oid: table for table, oid in held.inspection.oids.items()}
    rows = held.rows("looking for triggers", _SWITCHES, held.oids(tables))
    return [
        Switch(TableId(schema, table), kind, name, state, ours, names[root])
        for schema, table, kind, name, state, ours, root in rows
    ]


def _told(code: str, switches: Sequence[Switch]) -> Iterator[Finding]:
    for table in dict.fromkeys(switch.root for switch in switches):
        names = dict.fromkeys(
            f"{switch.kind.lower()} {switch.name}" for switch in switches if switch.root == table
        )
        yield Finding.of(code, table=table, names=", ".join(names))


def check_now(held: Held) -> None:
    held.run("checking the deferred constraints", sql.SQL("SET CONSTRAINTS ALL IMMEDIATE"))


def switch_on(held: Held, off: Sequence[Switch]) -> None:
    for switch in off:
        held.run(f"switching a trigger of {switch.table} on", switch.statement(held, _ENABLE[switch.state]))
