"""Rows that their own table refuses: a CHECK that held when they were written (`valid_until > now()`), a domain's rule, a
function that does not find its names. The rule gives way, the rows come in, and the rule is made again for new rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.restore import rows
from backup_pipeline.databases.postgres.restore.definitions import raw
from backup_pipeline.databases.postgres.restore.own_names import NOT_FOUND, OwnPath, searching
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.rows import Piece, Progress
from backup_pipeline.databases.postgres.restore.rules import OF_THE_BACKUP, Rule, not_valid
from backup_pipeline.databases.postgres.restore.statements import Statement
from backup_pipeline.databases.postgres.restore.target import Connection
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId
from backup_pipeline.vault.door import Door
from backup_pipeline.vault.quoting import literal

# The rules of a table that a row can break, where each was defined: what is inherited is dropped there.
_RULES = """
WITH RECURSIVE lineage (oid) AS (
    SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s AND c.relname = %(table)s
    UNION SELECT i.inhparent FROM pg_catalog.pg_inherits i JOIN lineage ON lineage.oid = i.inhrelid
)
SELECT n.nspname, c.relname, k.conname, pg_catalog.pg_get_constraintdef(k.oid),
       pg_catalog.obj_description(k.oid, 'pg_constraint')
  FROM lineage JOIN pg_catalog.pg_constraint k ON k.conrelid = lineage.oid
  JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE k.contype = 'c' AND k.coninhcount = 0 AND (k.conname = %(name)s::text OR %(name)s::text IS NULL AND EXISTS (
       SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass
          AND d.objid = k.oid AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass))
"""
# The columns that functions of users compute, where each was defined; the same for a column without NULLs.
_COLUMNS = """
WITH RECURSIVE lineage (oid, depth) AS (
    SELECT c.oid, 0 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s AND c.relname = %(table)s
    UNION SELECT i.inhparent, depth + 1 FROM pg_catalog.pg_inherits i JOIN lineage ON lineage.oid = i.inhrelid
)
SELECT DISTINCT ON (a.attname) n.nspname, c.relname, a.attname, pg_catalog.pg_get_expr(g.adbin, g.adrelid)
  FROM lineage JOIN pg_catalog.pg_attribute a ON a.attrelid = lineage.oid
  LEFT JOIN pg_catalog.pg_attrdef g ON g.adrelid = a.attrelid AND g.adnum = a.attnum
  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attnum > 0 AND NOT a.attisdropped AND CASE WHEN %(name)s::text IS NOT NULL THEN a.attname = %(name)s::text AND a.attnotnull
       ELSE a.attgenerated = 's' AND EXISTS (
       SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
          AND d.objid = g.oid AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass) END
 ORDER BY a.attname, lineage.depth DESC
"""


@dataclass(frozen=True, slots=True)
class Yielded:
    """A rule that gave way, and the statement that makes it again."""

    subject: str
    why: str
    again: Statement
    #: Of a CHECK of a table: it can be made NOT VALID. Of a domain's likewise; nothing else can.
    table: TableId | None = None
    name: str = ""
    unchecked: bool = True
    #: A column that was computed: made again it would be another column.
    computed: bool = False
    #: It went with the rule.
    comment: str = ""


def refused(error: BaseException) -> bool:
    """The rows or a function of the backup are to blame: to try again as it is would not help."""
    cause = error.__cause__
    return isinstance(error, RestoreError) and isinstance(cause, psycopg.Error) and (
        (cause.sqlstate or "08").startswith(OF_THE_BACKUP)
    )  # fmt: skip


@dataclass
class Loader:
    """Loads pieces on one connection. What refuses one gives way."""

    connection: Connection
    door: Door
    encoding: str
    path: OwnPath
    progress: Progress
    yielded: list[Yielded] = field(default_factory=list)
    #: Tables that are loaded with the database's own search_path.
    named: set[TableId] = field(default_factory=set)

    def load(self, piece: Piece) -> None:
        while True:
            try:
                with searching(self.connection, self.path_of(piece.table)):
                    rows.load(self.connection, self.door, piece, self.encoding, self.progress)
                return
            except RestoreError as error:
                if not refused(error) or not self._give_way(piece.table, error.__cause__):
                    raise

    def path_of(self, table: TableId) -> str:
        return self.path.at(table.schema) if table in self.named else ""

    def _give_way(self, table: TableId, error: Any) -> bool:
        """Whether there is something left to give way."""
        if error.sqlstate in NOT_FOUND and table not in self.named:
            self.named.add(table)
            return True
        diag, why = error.diag, told(error)[0]
        if diag.datatype_name and error.sqlstate in ("23502", "23514"):
            return self._domain(diag.schema_name, diag.datatype_name, diag.constraint_name, why)
        if error.sqlstate == "23502":
            return self._columns(table, diag.column_name, why)
        if error.sqlstate == "23514":
            return bool(diag.constraint_name) and self._checks(table, diag.constraint_name, why)
        return self._checks(table, None, why) or self._columns(table, None, why)

    def _checks(self, table: TableId, name: str | None, why: str) -> bool:
        found = self._asked(_RULES, table, name)
        for schema, relation, constraint, definition, comment in found:
            at = sql.Identifier(schema, relation).as_string(self.connection)
            named = sql.Identifier(constraint).as_string(self.connection)
            self._run(f"ALTER TABLE {at} DROP CONSTRAINT {named}")
            again = Statement(f"ALTER TABLE {at} ADD CONSTRAINT {named} {definition}", 0)
            where = TableId(schema, relation)
            said = f"COMMENT ON CONSTRAINT {named} ON {at} IS {literal(comment)}" if comment else ""
            self.yielded.append(
                Yielded(f"{where}: the check {constraint}", why, again, where, constraint, comment=said)
            )
        return bool(found)

    def _columns(self, table: TableId, name: str | None, why: str) -> bool:
        """`name`: one that may not be NULL; else those that a function computes, whose values are in no backup."""
        found = self._asked(_COLUMNS, table, name)
        for schema, relation, column, expression in found:
            at = f"ALTER TABLE {sql.Identifier(schema, relation).as_string(self.connection)}"
            column_at = f"ALTER COLUMN {sql.Identifier(column).as_string(self.connection)}"
            where = f"{TableId(schema, relation)}.{column}"
            if name:
                self._run(f"{at} {column_at} DROP NOT NULL")
                again, what = f"{at} {column_at} SET NOT NULL", f"{where}: NOT NULL"
            else:
                self._run(f"{at} {column_at} DROP NOT NULL, {column_at} DROP EXPRESSION")
                again = f"{at} DROP COLUMN {column_at[13:]}, ADD COLUMN {column_at[13:]} GENERATED ALWAYS AS ({expression}) STORED"
                what = f"{where}: its computed values (it is a plain column without any)"
            self.yielded.append(Yielded(what, why, Statement(again, 0), unchecked=False, computed=not name))
        return bool(found)

    def _domain(self, schema: str, domain: str, constraint: str | None, why: str) -> bool:
        at = f"ALTER DOMAIN {sql.Identifier(schema, domain).as_string(self.connection)}"
        if not constraint:
            self._run(f"{at} DROP NOT NULL")
            statement = Statement(f"{at} SET NOT NULL", 0)
            self.yielded.append(
                Yielded(f"the domain {schema}.{domain}: NOT NULL", why, statement, unchecked=False)
            )
            return True
        row = self.connection.execute(
            "SELECT pg_catalog.pg_get_constraintdef(k.oid) FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_type t"
            " ON t.oid = k.contypid JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace"
            " WHERE n.nspname = %s AND t.typname = %s AND k.conname = %s",
            (schema, domain, constraint),
        ).fetchone()
        if row is None:
            return False
        named = sql.Identifier(constraint).as_string(self.connection)
        self._run(f"{at} DROP CONSTRAINT {named}")
        statement = Statement(f"{at} ADD CONSTRAINT {named} {row[0]}", 0)
        self.yielded.append(
            Yielded(f"the domain {schema}.{domain}: the check {constraint}", why, statement, name=constraint)
        )
        return True

    def _asked(self, query: Any, table: TableId, name: str | None) -> list[tuple[Any, ...]]:
        given = {"schema": table.schema, "table": table.name, "name": name}
        return self.connection.execute(query, given).fetchall()

    def _run(self, text: str) -> None:
        with self.connection.transaction():
            self.connection.execute(raw(text))

    def finish(self) -> Iterator[Finding | Left]:
        """The rules that gave way, made again for new rows where PostgreSQL can."""
        for table in sorted(self.named):
            yield Finding.of("own-search-path", table=table, path_of=self.path_of(table))
        for one in self.yielded:
            yield from self._made_again(one)
            if one.comment:
                self._run(one.comment)
        self.yielded.clear()
        self.named.clear()

    def _made_again(self, one: Yielded) -> Iterator[Finding | Left]:
        why, error = one.why, self._tried(one)
        if error is not None:
            why = told(error)[0]
        elif not one.computed:
            return  # it holds: a function had looked for rows of another table, which were not there yet
        how, left = "it was left out", [Left(f"{one.subject}: {why}", one.again.text, needed=True)]
        if one.unchecked:
            self._run(f"{one.again.text} NOT VALID")
            how, left = "it was made NOT VALID: it holds for what is new", []
        if one.table is not None and error is not None and error.sqlstate == "23514":
            yield not_valid(self.connection, Rule("check", one.table, one.name, one.again), self.path)
            return
        yield Finding.of(
            "rows-break-rule/refused", subject=one.subject, why=why, how=how, examples=(f"{one.again.text};",)
        )
        yield from left

    def _tried(self, one: Yielded) -> psycopg.Error | None:
        if one.computed:
            return None
        try:
            with searching(self.connection, self.path.at(one.table.schema) if one.table else ""):
                self.connection.execute(raw(one.again.text))
            return None
        except psycopg.Error as error:
            return error
