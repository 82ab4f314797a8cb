"""What is made after the rows: indexes and keys, then foreign keys, then the rest in the dump's order.

Indexes and keys of different tables are made at the same time by the workers; several plain indexes of one table,
too, because PostgreSQL lets them. A foreign key locks both of its tables, so the two are kept free for it: two
sessions that each hold one and want the other would be a deadlock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import psycopg

from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.restore.definitions import raw, savepoint
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.rules import qualified
from backup_pipeline.databases.postgres.restore.runner import attempt, tolerated
from backup_pipeline.databases.postgres.restore.statements import Statement, Token
from backup_pipeline.databases.postgres.restore.target import Connection, speaking
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Schema, TableId, with_ancestors

Phase = Literal["index", "attach", "foreign key", "rest"]


@dataclass(frozen=True, slots=True)
class Make:
    """One statement of the post-data section, and the tables that it locks."""

    statement: Statement
    phase: Phase
    #: Other statements may use them at the same time …
    shared: tuple[TableId, ...] = ()
    #: … or must not.
    exclusive: tuple[TableId, ...] = ()
    #: Why this foreign key cannot be checked: the rows that it points to are not in this backup.
    unchecked: str = ""
    table: TableId | None = None
    constraint: str = ""
    references: TableId | None = None
    #: What the dump set before it; statements of one phase are not run in the dump's order.
    tablespace: str = ""


def sort_out(
    statements: Iterable[Statement],
    schema: Schema,
    without_rows: Mapping[TableId, str],
    tablespaces: frozenset[str],
) -> list[Make]:
    """Each statement with its phase, in the dump's order. Partitions count as their root: what is made on the root
    locks them all. `without_rows`: tables whose rows are not in this backup, and why."""
    roots = roots_of(schema)
    hollow = with_ancestors(without_rows, schema)
    made_here: set[TableId] = set()
    tablespace = ""
    found = []
    for statement in statements:
        tokens = statement.tokens(400)
        if [token.text for token in tokens[:2]] == ["set", "default_tablespace"]:
            tablespace = tokens[3].text.strip("'")
            tablespace = tablespace if tablespace in tablespaces else ""
        make = _classify(statement, tokens, roots)
        if make.references in hollow and make.table not in without_rows:
            make = replace(
                make,
                unchecked=f"the rows of {make.references} that it points to are not in this backup "
                f"({hollow[make.references]})",
            )
        if make.phase == "index":
            make = replace(make, tablespace=tablespace)
        if make.phase == "rest" and tokens[0].is_word("create"):
            made_here |= _relation_made(tokens)
        if make.phase == "index" and made_here & {*make.shared, *make.exclusive}:
            # An index on a view that is itself made after the rows.
            make = Make(statement, "rest")
        found.append(make)
    return found


def _classify(statement: Statement, tokens: list[Token], roots: Mapping[TableId, TableId]) -> Make:
    def root(table: TableId) -> TableId:
        return roots.get(table, table)

    words = [token.text if token.kind == "word" else "" for token in tokens]
    if words[0] == "create" and words[1] in ("index", "unique") and "on" in words:
        table, _ = qualified(tokens, words.index("on") + 1)
        return Make(statement, "index", shared=(root(table),))
    if words[:2] == ["alter", "index"] and "attach" in words:
        return Make(statement, "attach")
    if words[:2] != ["alter", "table"]:
        return Make(statement, "rest")
    table, at = qualified(tokens, 2)
    if words[at : at + 2] != ["add", "constraint"]:
        return Make(statement, "rest")
    name, kind = tokens[at + 2].text, words[at + 3]
    if kind in ("primary", "unique", "exclude"):
        return Make(statement, "index", exclusive=(root(table),))
    if kind != "foreign":
        return Make(statement, "rest")
    references, _ = qualified(tokens, words.index("references") + 1)
    locked = tuple(dict.fromkeys((root(table), root(references))))
    return Make(statement, "foreign key", (), locked, table=table, constraint=name, references=references)


def _relation_made(tokens: list[Token]) -> set[TableId]:
    words = [token.text if token.kind == "word" else "" for token in tokens[:6]]
    return {qualified(tokens, words.index("view") + 1)[0]} if "view" in words else set()


def roots_of(schema: Schema) -> dict[TableId, TableId]:
    parents = {table.id: table.partition_of for table in schema.tables if table.partition_of}

    def root(table: TableId) -> TableId:
        while table in parents:
            table = parents[table]
        return table

    return {table: root(table) for table in parents}


@dataclass
class Schedule:
    """Hands out what can begin now, given what is under way. Exclusive work first: it blocks the most."""

    waiting: list[Make]
    #: Rows that are still to come, by table.
    blocked: Mapping[TableId, int] = field(default_factory=dict)
    _shared: dict[TableId, int] = field(default_factory=dict)
    _exclusive: set[TableId] = field(default_factory=set)

    def pick(self) -> Make | None:
        for index, make in enumerate(self.waiting):
            if self._free(make):
                del self.waiting[index]
                self._exclusive |= set(make.exclusive)
                for table in make.shared:
                    self._shared[table] = self._shared.get(table, 0) + 1
                return make
        return None

    def done(self, make: Make) -> None:
        self._exclusive -= set(make.exclusive)
        for table in make.shared:
            self._shared[table] -= 1

    @property
    def idle(self) -> bool:
        return not self._exclusive and not any(self._shared.values())

    def _free(self, make: Make) -> bool:
        if any(self.blocked.get(table) for table in (*make.shared, *make.exclusive)):
            return False
        if any(table in self._exclusive for table in (*make.shared, *make.exclusive)):
            return False
        return not any(self._shared.get(table) for table in make.exclusive)


def make(connection: Connection, item: Make, encoding: str, terms: Terms) -> tuple[Finding | Left, ...]:
    """Run one statement. A foreign key that the rows do not obey is made for all future rows, and reported as an
    error with examples: the source broke its own rule, and a database with its rows is worth more than none."""
    with speaking(connection, encoding):
        return _make(connection, item, terms)


def _make(connection: Connection, item: Make, terms: Terms) -> tuple[Finding | Left, ...]:
    text = item.statement.text
    if item.phase != "foreign key":
        connection.execute(
            "SELECT pg_catalog.set_config('default_tablespace', %s, false)", (item.tablespace,)
        )
        return attempt(connection, item.statement, "post-data", terms)
    try:
        if item.unchecked:
            return _not_valid(connection, item, f"{item.constraint}: {item.unchecked}")
        with savepoint(connection):
            connection.execute(raw(text))
        return ()
    except psycopg.errors.ForeignKeyViolation as error:
        why = f"rows break the foreign key: {told(error)[0]}"
        return _not_valid(connection, item, why, "dangling-reference/refused")
    except psycopg.Error as error:
        return tolerated(connection, error, item.statement, "post-data", terms)


def _not_valid(
    connection: Connection, item: Make, why: str, name: str = "foreign-key-not-checked"
) -> tuple[Finding, ...]:
    text = item.statement.text
    try:
        with savepoint(connection):
            connection.execute(raw(text if text.endswith("NOT VALID") else f"{text} NOT VALID"))
        how = "it was made NOT VALID: it holds for new rows only"
    except (psycopg.errors.WrongObjectType, psycopg.errors.FeatureNotSupported):
        # Before version 18 a partitioned table cannot have one that is not checked.
        how = "it was left out, because this server cannot make it unchecked on a partitioned table"
    examples = (text + ";",)
    return (
        Finding.of(name, table=item.table, examples=examples, why=why, how=how, constraint=item.constraint),
    )
