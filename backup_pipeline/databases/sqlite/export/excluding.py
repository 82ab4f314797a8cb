"""A copy in which the rows of some tables are not: not the rows, not their index entries, not a byte of either in a free page.

The definitions stay, as on PostgreSQL: an application that finds no `django_session` cannot log anyone in. The tables are
dropped from the private copy and made again from their own text, and what is left is written anew by VACUUM INTO. Not by
VACUUM: that gives new rowids to tables without an INTEGER PRIMARY KEY, VACUUM INTO keeps them (and full-text indexes point at
rowids).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from backup_pipeline.databases.sqlite.export.choosing import Choice
from backup_pipeline.databases.sqlite.export.definitions import tokens_of
from backup_pipeline.databases.sqlite.export.explaining import explained
from backup_pipeline.databases.sqlite.export.inspection import settings
from backup_pipeline.databases.sqlite.export.left_out import references_left_out
from backup_pipeline.databases.sqlite.export.rows import quoted, rowid_name
from backup_pipeline.errors import NotSupported
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Schema, Table, TableId


def views_read(connection: sqlite3.Connection) -> dict[str, frozenset[str]]:
    """View → the tables and views that it reads, directly or through another view, in lower case."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'view'").fetchall()
    found = {}
    for name, sql in rows:
        names: set[str] = set()

        def note(
            action: int, table: str | None, *_: str | None, into: set[str] = names, itself: str = name
        ) -> int:
            if action == sqlite3.SQLITE_READ and table and table.lower() != itself.lower():
                into.add(table.lower())
            return sqlite3.SQLITE_OK

        connection.set_authorizer(note)
        try:
            connection.execute(f"EXPLAIN SELECT * FROM main.{quoted(name)}").fetchall()
        except sqlite3.Error:
            # It does not run here (a function of the application …): every name in its text may be a table.
            names |= {token.name.lower() for token in tokens_of(sql or "") if token.kind in ("name", "word")}
        finally:
            connection.set_authorizer(None)
        found[name] = frozenset(names)
    return found


def without(path: Path, copy: Path, target: Path, schema: Schema, choice: Choice) -> tuple[Finding, ...]:
    """Make `target` from `copy` (which is used up). Says what now points nowhere. `path`: the live database, for messages."""
    with explained(path), closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        before = settings(connection)
        # The copy is private, and is not needed after a crash. Rows in its free pages do not reach the
        # target, because VACUUM writes row by row.
        for pragma in (
            "foreign_keys = OFF",
            "journal_mode = OFF",
            "synchronous = OFF",
            "secure_delete = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")
        rowids = _rowids(connection, schema, choice)
        texts = tuple(_texts(connection, schema, choice))
        numbers = _numbers(connection, choice)
        _drop(connection, schema, choice)
        target.unlink(missing_ok=True)
        _write_anew(connection, path, texts, numbers, target)
    target.chmod(0o600)
    with explained(path), closing(sqlite3.connect(target, isolation_level=None)) as connection:
        if before["journal_mode"] == "wal":
            connection.execute("PRAGMA journal_mode = WAL")
        after = settings(connection)
        moved = {name for name, was in rowids.items() if _rowid_sums(connection, name) != was}
    if after != before:
        raise NotSupported(
            f"a copy without the rows of the excluded tables would differ from the database: {before} became {after}",
            remedy="back up the whole database (no `exclude`)",
        )
    return (*references_left_out(schema, choice, "info"), *_moved(moved))


def _texts(connection: sqlite3.Connection, schema: Schema, choice: Choice) -> Iterator[str]:
    """The definitions of what is dropped: tables; virtual ones, which may ask those for their columns; indexes; triggers.
    What a virtual table keeps its rows in is made by itself."""
    made_by_others = {table.id.name for table in schema.tables if table.kind == "shadow"}
    rows = connection.execute(
        "SELECT name, tbl_name, sql FROM sqlite_master WHERE sql IS NOT NULL AND type <> 'view'"
        " ORDER BY CASE type WHEN 'table' THEN rootpage = 0 WHEN 'index' THEN 2 ELSE 3 END, rowid"
    )
    for name, table, sql in rows.fetchall():
        if table in choice.dropped and name not in made_by_others:
            yield sql


def _numbers(connection: sqlite3.Connection, choice: Choice) -> dict[str, int]:
    """Where AUTOINCREMENT has got to. The rows that stay may hold numbers of rows that go: no new row may get one of these."""
    with suppress(sqlite3.OperationalError):  # no AUTOINCREMENT anywhere: no such table
        rows = connection.execute("SELECT name, seq FROM main.sqlite_sequence").fetchall()
        return {name: number for name, number in rows if name in choice.dropped}
    return {}


def _write_anew(
    connection: sqlite3.Connection, path: Path, texts: Iterable[str], numbers: dict[str, int], target: Path
) -> None:
    try:
        for text in texts:
            connection.execute(text)
        for row in numbers.items():
            connection.execute("INSERT INTO main.sqlite_sequence (name, seq) VALUES (?, ?)", row)
        connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.OperationalError as error:
        if not any(word in str(error) for word in ("no such", "unknown function")):
            raise
        raise NotSupported(
            f"tables of {path} cannot be left out: {error}. Without what only the application defines, its tables and indexes "
            "cannot be written anew",
            remedy="back up the whole database (no `exclude`, no `include`, no --only): that needs neither",
        ) from error


def _drop(connection: sqlite3.Connection, schema: Schema, choice: Choice) -> None:
    kinds = {table.id.name: table.kind for table in schema.tables}
    # Vocabularies first: they cannot be opened, not even to be dropped, without what they speak of.
    order = sorted(
        (n for n in choice.dropped if kinds.get(n) == "virtual"), key=lambda n: (_is_base(schema, n), n)
    )
    for name in order:
        try:
            connection.execute(f"DROP TABLE main.{quoted(name)}")
        except sqlite3.OperationalError as error:
            raise NotSupported(
                f"main.{name} cannot be left out: {error}; without its module SQLite does not say which tables are its own",
                remedy="back it up, or drop it in the database itself",
            ) from error
    for name in sorted(choice.dropped):
        if kinds.get(name) == "table":
            connection.execute(f"DROP TABLE main.{quoted(name)}")


def _is_base(schema: Schema, name: str) -> bool:
    table = schema.table(TableId("main", name))
    return table is None or not any(word in ("USING fts5vocab", "USING fts4aux") for word in table.options)


def _rowids(connection: sqlite3.Connection, schema: Schema, choice: Choice) -> dict[str, tuple[int, ...]]:
    """Of the tables whose rowid is not a column, and could therefore change unnoticed."""
    return {
        table.id.name: _rowid_sums(connection, table.id.name)
        for table in schema.tables
        if table.kind == "table" and table.id in choice.selected and hides_its_rowid(table)
    }


def hides_its_rowid(table: Table) -> bool:
    return "WITHOUT ROWID" not in table.options and not any(column.identity for column in table.columns)


def _rowid_sums(connection: sqlite3.Connection, table: str) -> tuple[int, ...]:
    name = rowid_name(connection, table)
    if name is None:
        return ()  # no statement can ask for it
    sums = f"count(*), ifnull(min({name}), 0), ifnull(max({name}), 0), ifnull(sum({name} % 1000003), 0)"
    result: tuple[int, ...] = connection.execute(f"SELECT {sums} FROM main.{quoted(table)}").fetchone()
    return result


def _moved(names: set[str]) -> Iterable[Finding]:
    for name in sorted(names):
        yield Finding.of("rowids-changed", table=f"main.{name}", name=name)
