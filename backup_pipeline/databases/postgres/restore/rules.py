"""Statements that hold no row: indexes, constraints, the content of materialised views. Some do not hold for the rows
(any more), or their function fails. Such a statement is made for new rows only or left out, always by its name: the
rows are worth more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.restore.definitions import raw
from backup_pipeline.databases.postgres.restore.own_names import NOT_FOUND, OwnPath, searching
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.statements import Statement, Token
from backup_pipeline.databases.postgres.restore.target import Connection
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId

Kind = Literal["index", "unique index", "primary key", "unique constraint", "exclusion constraint", "check", "foreign key",
               "partition of an index", "materialized view"]  # fmt: skip
_KINDS: dict[str, Kind] = {
    "primary": "primary key",
    "unique": "unique constraint",
    "exclude": "exclusion constraint",
    "check": "check",
    "foreign": "foreign key",
}
#: What the rows or the functions of the backup are to blame for: to try again would not help. Classes: values, broken
#: rules, what functions raise, a row too large for an index; and missing names, a key that is left out, a function
#: that is no longer IMMUTABLE, a value that is no tsquery.
OF_THE_BACKUP = ("21", "22", "23", "2F", "38", "39", "54", "P0", "42601", "42830", "42P17", *NOT_FOUND)
_AS_OWNER = ("index", "unique index", "materialized view")


@dataclass(frozen=True, slots=True)
class Rule:
    kind: Kind
    table: TableId
    name: str
    statement: Statement

    @property
    def what(self) -> str:
        return f"the {self.kind} {self.name}"


def rule_of(statement: Statement) -> Rule | None:
    """None: a statement of another kind."""
    head = statement.text[:30].lower()
    if not head.startswith(("create index", "create unique index", "alter table", "alter index", "refresh ")):
        return None
    tokens = statement.tokens(60)
    words = [token.text if token.kind == "word" else "" for token in tokens]
    if words[0] == "create":
        at = words.index("on")
        kind: Kind = "unique index" if words[1] == "unique" else "index"
        return Rule(kind, qualified(tokens, at + 1)[0], tokens[at - 1].text, statement)
    if words[0] == "refresh":
        view = qualified(tokens, 3)[0]
        return Rule("materialized view", view, str(view), statement)
    index_or_table, at = qualified(tokens, 2)
    if words[1] == "index" and "attach" in words:
        return Rule("partition of an index", index_or_table, index_or_table.name, statement)
    if words[1] == "table" and words[at : at + 2] == ["add", "constraint"] and words[at + 3] in _KINDS:
        return Rule(_KINDS[words[at + 3]], index_or_table, tokens[at + 2].text, statement)
    return None


def qualified(tokens: Sequence[Token], at: int) -> tuple[TableId, int]:
    """The name at `at`, behind IF EXISTS and ONLY, and where the text goes on."""
    while tokens[at].is_word("only", "if", "exists"):
        at += 1
    if at + 2 < len(tokens) and tokens[at + 1].text == ".":
        return TableId(tokens[at].text, tokens[at + 2].text), at + 3
    return TableId("public", tokens[at].text), at + 1


def again(
    connection: Connection, statement: Statement, error: psycopg.Error, path: OwnPath
) -> tuple[Finding | Left, ...] | None:
    """What came of a statement that failed; None where nothing is known here that would help."""
    rule = rule_of(statement)
    if rule is None or not _of_the_backup(error, rule):
        return None
    if error.sqlstate in NOT_FOUND:
        try:
            with searching(connection, path.at(rule.table.schema)):
                connection.execute(raw(statement.text))
            return (made_with(path, rule, error),)
        except psycopg.Error as second:
            if not _of_the_backup(second, rule):
                return None
            error = second
    if rule.kind == "check" and error.sqlstate == "23514":
        with connection.transaction():
            connection.execute(raw(f"{statement.text} NOT VALID"))
        return (not_valid(connection, rule, path),)
    return left_out(connection, rule, error)


def _of_the_backup(error: psycopg.Error, rule: Rule) -> bool:
    state = error.sqlstate or "08"
    # An index and a view are filled with the rights of their owner, who may not be allowed any more what made them.
    return state.startswith(OF_THE_BACKUP) or (state == "42501" and rule.kind in _AS_OWNER)


def made_with(path: OwnPath, rule: Rule, error: psycopg.Error) -> Finding:
    """The function need not be its own: to check a foreign key, PostgreSQL looks at the indexes of both tables."""
    return Finding.of(
        "own-search-path/rule",
        table=rule.table,
        subject=rule.what,
        at=path.at(rule.table.schema),
        names="; ".join(told(error)[0].splitlines()),
    )


def not_valid(connection: Connection, rule: Rule, path: OwnPath) -> Finding:
    """It is there, and NOT VALID."""
    return Finding.of(
        "rows-break-rule/not-valid",
        table=rule.table,
        subject=rule.what,
        breaking=_breaking(connection, rule, path),
        rule=rule.name,
        examples=(f"{rule.statement.text};",),
    )


def left_out(connection: Connection, rule: Rule, error: psycopg.Error) -> tuple[Finding | Left, ...]:
    code, why = "rule-not-made", f"{rule.table}: {rule.what}: {told(error)[0]}"
    if error.sqlstate in ("23505", "23P01"):
        code = "rows-break-rule"
        why = f"{rule.table}: rows share values of {rule.what}{_sharing(connection, rule)}"
    finding = Finding.of(code, table=rule.table, why=why, examples=(f"{rule.statement.text};",))
    return finding, Left(why, rule.statement.text, needed=True)


def _breaking(connection: Connection, rule: Rule, path: OwnPath) -> str:
    """How many. Of a row the rule is broken where it is false: NULL is none."""
    row = connection.execute(
        "SELECT pg_catalog.pg_get_expr(k.conbin, k.conrelid) FROM pg_catalog.pg_constraint k"
        " JOIN pg_catalog.pg_class c ON c.oid = k.conrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
        " WHERE k.contype = 'c' AND n.nspname = %s AND c.relname = %s AND k.conname = %s",
        (rule.table.schema, rule.table.name, rule.name),
    ).fetchone()
    if row is None:
        return ""
    query = f"SELECT count(*) FROM {_quoted(connection, rule.table)} WHERE NOT ({row[0]})"
    return _counted(connection, query, path.at(rule.table.schema))


def _sharing(connection: Connection, rule: Rule) -> str:
    """How many: grouped by what stands in the first brackets, where these are columns."""
    listed, condition = _columns(rule.statement)
    if not listed:
        return ""
    grouped = f"SELECT count(*) AS n FROM {_quoted(connection, rule.table)} {condition} GROUP BY {', '.join(listed)}"
    return _counted(connection, f"SELECT sum(n)::bigint FROM ({grouped} HAVING count(*) > 1) x", "")


def _quoted(connection: Connection, table: TableId) -> str:
    return sql.Identifier(table.schema, table.name).as_string(connection)


def _counted(connection: Connection, query: str, path: str) -> str:
    try:
        with searching(connection, path):
            row = connection.execute(raw(query)).fetchone()
    except psycopg.Error:
        return ""  # the number is worth having, and nothing depends on it
    return f" ({row[0]:,} of them)" if row and row[0] else ""


def _columns(statement: Statement) -> tuple[list[str], str]:
    """The columns of a unique key or index as they are written, and the WHERE of a partial index; none for expressions."""
    placed = list(statement.placed())
    start = next(
        (i for i, (token, _) in enumerate(placed) if token.text == "(" and token.kind == "other"), len(placed)
    )
    listed: list[str] = []
    end = start
    for place in range(start + 1, len(placed), 2):
        token, where = placed[place]
        if not token.is_name or place + 1 >= len(placed) or placed[place + 1][0].text not in (",", ")"):
            return [], ""
        listed.append(statement.text[where])
        end = place + 1
        if placed[end][0].text == ")":
            break
    condition = next((where.start for token, where in placed[end:] if token.is_word("where")), None)
    return listed, statement.text[condition:] if condition is not None else ""
