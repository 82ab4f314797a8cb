"""A database of each engine that a generated case lives in: made, filled, backed up, changed and read again."""

from __future__ import annotations

import contextlib
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from backup_pipeline.databases.merge.asked import Asked, Tenant
from backup_pipeline.model.schema import TableId
from backup_pipeline_tests.merging.shapes import (
    SCHEMA,
    Design,
    Engine,
    Kind,
    Row,
    Rows,
    Shape,
    Value,
    names,
    quoted,
)
from backup_pipeline_tests.merging.terms import Ask, every, is_generated_key, parent_in

#: Values that no case has.
NEW: dict[Kind, Value] = {
    "int": 9000,
    "text": "new",
    "bool": True,
    "moment": "2026-12-24 18:00:00",
    "uuid": "00000000-0000-4000-8000-0000000000ff",
}


#: Statements, each with its rows of values.
Work = list[tuple[str, list[tuple[Value, ...]]]]


class Living(ABC):
    engine: Engine
    url: str

    @abstractmethod
    def run(self, statements: Work) -> None:
        """Each statement for each of its rows of values; once where it has none. Foreign keys are not looked at."""

    @abstractmethod
    def select(self, query: str) -> list[tuple[Any, ...]]: ...

    @abstractmethod
    def empty(self) -> None:
        """As new."""

    def make(self, design: Design, rows: Rows) -> None:
        self.empty()
        self.run([(statement, []) for statement in design.ddl(self.engine)])
        self.become(design, rows)

    def become(self, design: Design, rows: Rows) -> None:
        """The database lives on, until these are its rows."""
        mark = "%s" if self.engine == "postgres" else "?"
        work: Work = []
        for shape in design.shapes:
            work.append((f"DELETE FROM {quoted(shape.name)}", []))
        for shape in design.shapes:
            if rows[shape.name]:
                marks = ", ".join(mark for _ in shape.columns)
                insert = f"INSERT INTO {quoted(shape.name)} ({names(tuple(shape.columns))}) VALUES ({marks})"
                work.append((insert, [tuple(row[c] for c in shape.columns) for row in rows[shape.name]]))
        self.run(work)

    def rows(self, design: Design) -> Rows:
        found: Rows = {}
        for shape in design.shapes:
            columns = tuple(shape.columns)
            query = f"SELECT {names(columns)} FROM {quoted(shape.name)}"
            found[shape.name] = [
                {c: plain(value, shape.columns[c]) for c, value in zip(columns, row, strict=True)}
                for row in self.select(query)
            ]
        return found

    def dangling(self, design: Design) -> list[tuple[str, Row]]:
        rows = self.rows(design)
        return [
            (table, row)
            for (table, _), row in every(rows)
            for one in design.by_name[table].references
            if one.enforced
            and None not in (row[c] for c in one.columns)
            and parent_in(rows, one, row) is None
        ]

    @abstractmethod
    def try_out(self, statements: Work) -> None:
        """Run them, and take them back."""

    def insert_into(self, shapes: Iterable[Shape]) -> None:
        """A row of the application, with the next key. Its other values are new, so that only the key can be refused."""
        mark = "%s" if self.engine == "postgres" else "?"
        work: Work = []
        for shape in shapes:
            left_out = set(shape.key) if is_generated_key(shape) and not shape.has_uuid else set()
            row = {column: NEW[kind] for column, kind in shape.columns.items() if column not in left_out}
            into = (
                f"({names(tuple(row))}) VALUES ({', '.join(mark for _ in row)})" if row else "DEFAULT VALUES"
            )
            work.append((f"INSERT INTO {quoted(shape.name)} {into}", [tuple(row.values())] if row else []))
        self.try_out(work)

    def asked(self, ask: Ask) -> Asked:
        def of(name: str) -> TableId:
            return TableId(SCHEMA[self.engine], name)

        return Asked(
            only=None if ask.only is None else frozenset(map(of, ask.only)),
            skip=frozenset(map(of, ask.skip)),
            where={of(table): condition.sql for table, condition in ask.where.items()},
            tenant=ask.tenant and Tenant(of(ask.tenant[0]), tuple(map(str, ask.tenant[1]))),
            verbs=ask.verbs,
            strategy="merge",
            lineage="same" if ask.same_lineage else "other",
        )

    @abstractmethod
    def set_sequences(self, design: Design, rows: Rows, *, reset: bool) -> None:
        """As the application left them; or at 1 again."""


def plain(value: Any, kind: str) -> Value:
    if value is None:
        return None
    return bool(value) if kind == "bool" else int(value) if kind == "int" else str(value)


def numbered(design: Design) -> Iterator[Shape]:
    return (one for one in design.shapes if is_generated_key(one) and not one.has_uuid)


class LivingPostgres(Living):
    engine: Engine = "postgres"

    def __init__(self, url: str, connection: psycopg.Connection[Any]) -> None:
        self.url, self.connection = url, connection

    def run(self, statements: Work, *, and_take_back: bool = False) -> None:
        transaction = self.connection.transaction(force_rollback=and_take_back)
        with transaction, self.connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            for statement, rows in statements:
                for row in rows:
                    cursor.execute(statement.encode(), row)
                if not rows:
                    cursor.execute(statement.encode())

    def try_out(self, statements: Work) -> None:
        self.run(statements, and_take_back=True)

    def select(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query.encode()).fetchall()

    def empty(self) -> None:
        own = self.select("SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'")
        statements = [*(f"DROP SCHEMA {quoted(name)} CASCADE" for (name,) in own), "CREATE SCHEMA public"]
        self.run([(statement, []) for statement in statements])

    def set_sequences(self, design: Design, rows: Rows, *, reset: bool) -> None:
        for shape in numbered(design):
            top = 1 if reset else max([0, *(int(row["id"] or 0) for row in rows[shape.name])]) + 1
            self.run([(f"ALTER TABLE {quoted(shape.name)} ALTER id RESTART WITH {top}", [])])


class LivingSqlite(Living):
    engine: Engine = "sqlite"

    def __init__(self, path: Path) -> None:
        self.path, self.url = path, f"sqlite:///{path}"

    @contextmanager
    def opened(self) -> Iterator[sqlite3.Connection]:
        with contextlib.closing(sqlite3.connect(self.path, isolation_level=None)) as connection:
            connection.execute("PRAGMA synchronous = OFF")
            yield connection

    def run(self, statements: Work, *, and_take_back: bool = False) -> None:
        with self.opened() as connection:
            connection.execute("BEGIN")
            for statement, rows in statements:
                connection.executemany(statement, rows) if rows else connection.execute(statement)
            connection.execute("ROLLBACK" if and_take_back else "COMMIT")

    def try_out(self, statements: Work) -> None:
        self.run(statements, and_take_back=True)

    def select(self, query: str) -> list[tuple[Any, ...]]:
        with self.opened() as connection:
            return connection.execute(query).fetchall()

    def empty(self) -> None:
        self.path.unlink(missing_ok=True)

    def set_sequences(self, design: Design, rows: Rows, *, reset: bool) -> None:
        """A rowid has none."""
