"""A small database of a framework: the tables that a line of a rule is about, those that they need, and rows in them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType

from backup_pipeline.databases.sqlite.export.inspection import inspect
from backup_pipeline.model.affinity import affinity
from backup_pipeline.model.schema import Column, Schema, Table

SCHEMAS = Path(__file__).parent / "schemas"
NAMES = sorted(path.stem for path in SCHEMAS.glob("*.sql"))

Row = Mapping[str, object]


@cache
def schema_of(name: str) -> Schema:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript((SCHEMAS / f"{name}.sql").read_text(encoding="utf-8"))
        return inspect(connection).schema


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass(frozen=True)
class Small:
    """Some tables of a framework. `rows` and `life` are scripts."""

    schema: Schema
    ddl: str

    def table(self, name: str) -> Table:
        return next(table for table in self.schema.tables if table.id.name == name)

    def row(self, table: str, given: Row = MappingProxyType({})) -> str:
        """An INSERT. A column that is not given has the sample of a row with this `id`, or of the first."""
        number = given.get("id", 1)
        found = self.table(table)
        row = {
            one.name: self.sample(found, one, number if isinstance(number, int) else 1)
            for one in found.columns
        }
        return insert(table, row | dict(given))

    def rows(self, table: str) -> str:
        """And first those that it must refer to."""
        done: dict[str, None] = {}
        self._above(self.table(table), done)
        return "".join(self.row(one) for one in done)

    def sample(self, table: Table, column: Column, number: int) -> object:
        """Never like that of another number. A reference leads to the first row, or it is NULL where it can be."""
        key = next((one for one in table.foreign_keys if column.name in one.columns), None)
        if key is None:
            return sample(table, column, number)
        if _nullable(table, key.columns):
            return None
        parent = self.table(key.references.name)
        theirs = dict(zip(key.columns, key.referenced, strict=True))[column.name]
        return self.sample(parent, next(one for one in parent.columns if one.name == theirs), 1)

    def _above(self, table: Table, done: dict[str, None]) -> None:
        for key in table.foreign_keys:
            if not _nullable(table, key.columns) and key.references.name not in {*done, table.id.name}:
                self._above(self.table(key.references.name), done)
        done[table.id.name] = None


def insert(name: str, row: Row) -> str:
    names, values = ", ".join(map(quoted, row)), ", ".join(map(literal, row.values()))
    return f"INSERT INTO {quoted(name)} ({names}) VALUES ({values});\n"


def literal(value: object) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else "'" + str(value).replace("'", "''") + "'"


def sample(table: Table, column: Column, number: int) -> object:
    kind = column.type.lower()
    if any(f'JSON_VALID("{column.name}")' in one.expression for one in table.checks):
        return f'{{"number": {number}}}'
    if kind.startswith(("datetime", "timestamp")):
        return f"2026-0{number}-01 10:00:00"
    if kind == "bool":
        return number % 2
    if affinity(column.type) in ("INTEGER", "NUMERIC", "REAL"):
        return number
    return f"{number:032}" if kind == "char(32)" else f"{column.name} {number}"


def _nullable(table: Table, columns: Iterable[str]) -> bool:
    return all(one.nullable for one in table.columns if one.name in columns)


def small(name: str, tables: Iterable[str]) -> Small:
    """The tables of a framework, and those that their rows must refer to, with all that their foreign keys name."""
    whole = schema_of(name)
    wanted: set[str] = set()
    waiting = list(tables)
    while waiting:
        one = waiting.pop()
        if one not in wanted:
            wanted.add(one)
            found = next(table for table in whole.tables if table.id.name == one)
            waiting += [key.references.name for key in found.foreign_keys]
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript((SCHEMAS / f"{name}.sql").read_text(encoding="utf-8"))
        rows = connection.execute(
            "SELECT tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY rowid"
        ).fetchall()
    ddl = "".join(f"{sql};\n" for table, sql in rows if table in wanted)
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(ddl)
        return Small(inspect(connection).schema, ddl)
