"""A copy in which some tables are not: not their rows, not their indexes, not a byte of either in a free page.

The tables are dropped from the private copy, and what is left is written anew by VACUUM INTO. Not by VACUUM: that gives new
rowids to tables without an INTEGER PRIMARY KEY, VACUUM INTO keeps them (and full-text indexes point at rowids).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

from backup_pipeline.errors import NotSupported
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import LeftOut
from backup_pipeline.model.schema import Schema, Table, TableId
from backup_pipeline.sources.sqlite.choosing import Choice
from backup_pipeline.sources.sqlite.definitions import tokens_of
from backup_pipeline.sources.sqlite.explaining import explained
from backup_pipeline.sources.sqlite.inspection import settings
from backup_pipeline.sources.sqlite.rows import quoted, rowid_name


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


def without(
    path: Path, copy: Path, target: Path, schema: Schema, choice: Choice
) -> tuple[tuple[LeftOut, ...], tuple[Finding, ...]]:
    """Make `target` from `copy` (which is used up). Says what else had to go, and what now points nowhere. `path`:
    the live database, for messages."""
    with explained(path), closing(sqlite3.connect(copy, isolation_level=None)) as connection:
        before = settings(connection)
        # Nobody else sees this copy and nobody needs it after a crash; the rows that are left in its free pages do
        # not reach the target, into which VACUUM writes row by row.
        for pragma in (
            "foreign_keys = OFF",
            "journal_mode = OFF",
            "synchronous = OFF",
            "secure_delete = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")
        rowids = _rowids(connection, schema, choice)
        triggers = _doomed_triggers(connection, choice)
        _drop(connection, schema, choice)
        connection.execute("PRAGMA journal_mode = MEMORY")  # the probes below are rolled back
        triggers = [trigger for trigger in triggers if _is_broken(connection, *trigger, triggers)]
        for name, _ in triggers:
            connection.execute(f"DROP TRIGGER main.{quoted(name)}")
        target.unlink(missing_ok=True)
        _write_anew(connection, path, target)
    target.chmod(0o600)
    with explained(path), closing(sqlite3.connect(target, isolation_level=None)) as connection:
        if before["journal_mode"] == "wal":
            connection.execute("PRAGMA journal_mode = WAL")
        after = settings(connection)
        moved = {name for name, was in rowids.items() if _rowid_sums(connection, name) != was}
    if after != before:
        raise NotSupported(
            f"a copy without the excluded tables would differ from the database: {before} became {after}",
            remedy="back up the whole database (no `exclude`)",
        )
    gone = tuple(
        LeftOut("main", name, "trigger", f"writes to or reads a table that is left out (on main.{table})")
        for name, table in triggers
    )
    return gone, (*_dangling(schema, choice), *_lost(choice, gone), *_moved(moved))


def _write_anew(connection: sqlite3.Connection, path: Path, target: Path) -> None:
    try:
        connection.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.OperationalError as error:
        if not any(word in str(error) for word in ("no such", "unknown function")):
            raise
        raise NotSupported(
            f"tables of {path} cannot be left out: {error}. Without what only the application defines, its indexes cannot "
            "be written anew",
            remedy="back up the whole database (no `exclude`, no `include`, no --only): that needs no index",
        ) from error


def _drop(connection: sqlite3.Connection, schema: Schema, choice: Choice) -> None:
    kinds = {table.id.name: table.kind for table in schema.tables}
    for name in sorted(choice.dropped):
        if name not in kinds:
            connection.execute(f"DROP VIEW main.{quoted(name)}")
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


def _doomed_triggers(connection: sqlite3.Connection, choice: Choice) -> list[tuple[str, str]]:
    """(trigger, table) of those that name something left out, and stay when it goes because they hang elsewhere."""
    gone = {name.lower() for name in choice.dropped}
    rows = connection.execute(
        "SELECT name, tbl_name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    )
    return [
        (name, table)
        for name, table, sql in rows.fetchall()
        if table.lower() not in gone and gone & {token.name.lower() for token in tokens_of(sql or "")}
    ]


def _is_broken(
    connection: sqlite3.Connection, trigger: str, table: str, suspects: Iterable[tuple[str, str]]
) -> bool:
    """Whether statements on the table no longer compile, with this one of the suspects alone."""
    connection.execute("BEGIN")
    try:
        for name, _ in suspects:
            if name != trigger:
                connection.execute(f"DROP TRIGGER main.{quoted(name)}")
        return not _compiles(connection, table)
    finally:
        connection.execute("ROLLBACK")


def _compiles(connection: sqlite3.Connection, table: str) -> bool:
    where = f"main.{quoted(table)}"
    rows = connection.execute("SELECT name, hidden FROM pragma_table_xinfo(?)", (table,)).fetchall()
    columns = ", ".join(f"{quoted(name)} = {quoted(name)}" for name, hidden in rows if hidden == 0)
    for sql in (
        f"INSERT INTO {where} DEFAULT VALUES",
        f"DELETE FROM {where}",
        f"UPDATE {where} SET {columns}",
    ):
        try:
            connection.execute(f"EXPLAIN {sql}").fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return False
    return True


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
        return ()  # no statement can ask for it, so nobody can miss it
    sums = f"count(*), ifnull(min({name}), 0), ifnull(max({name}), 0), ifnull(sum({name} % 1000003), 0)"
    result: tuple[int, ...] = connection.execute(f"SELECT {sums} FROM main.{quoted(table)}").fetchone()
    return result


def _dangling(schema: Schema, choice: Choice) -> Iterable[Finding]:
    kept: Mapping[TableId, None] = dict.fromkeys(choice.selected)
    for table in schema.tables:
        for key in table.foreign_keys:
            if table.id in kept and key.references.name in choice.dropped:
                yield Finding(
                    "warning",
                    "reference-left-out",
                    f"{table.id} ({', '.join(key.columns)}) refers to {key.references}, which is left out",
                    table=str(table.id),
                    remedy="a database that is restored from this backup cannot enforce that reference",
                )


def _lost(choice: Choice, triggers: tuple[LeftOut, ...]) -> Iterable[Finding]:
    for item in (*(item for item in choice.left_out if item.kind == "view"), *triggers):
        yield Finding(
            "warning",
            f"{item.kind}-left-out",
            f"the {item.kind} {item.name} is not in the backup: it {item.reason}",
        )


def _moved(names: set[str]) -> Iterable[Finding]:
    for name in sorted(names):
        yield Finding(
            "warning",
            "rowids-changed",
            f"main.{name} has no INTEGER PRIMARY KEY, and its hidden rowids changed in the copy without the excluded tables",
            table=f"main.{name}",
            remedy="nothing, unless the application uses rowid; else give the table an INTEGER PRIMARY KEY",
        )
