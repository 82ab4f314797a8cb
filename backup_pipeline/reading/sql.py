"""SQL over a backup, without restoring it.

The tables that the SQL names are loaded into a private DuckDB file; then that file is opened again, read-only, with no
way to other files, the network, extensions or the settings, and the SQL runs there. It cannot see or change anything
but those tables.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb
import pandas as pd

from backup_pipeline.errors import ConfigError
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.processes.scratch import Scratch
from backup_pipeline.reading.answers import Answer, ask
from backup_pipeline.reading.frames import NotExact
from backup_pipeline.reading.interrupting import QUIET, interruptible
from backup_pipeline.reading.loading import load, sql_name
from backup_pipeline.reading.tables import Rows, find, parse_name
from backup_pipeline.reading.types import Types
from backup_pipeline.vault.backup import Backup

MEMORY = "192MB"
_FILE = "backup.duckdb"
#: In this order: the last one makes the others stay.
_LOCKS = (
    QUIET,
    "SET python_enable_replacements = false",
    "SET autoinstall_known_extensions = false",
    "SET autoload_known_extensions = false",
    "SET enable_external_access = false",
    "SET lock_configuration = true",
)


def query(backup: Backup, sql: str) -> pd.DataFrame:
    """The answer as a data frame."""
    with running(backup, sql) as answer:
        return answer.frame()


@contextmanager
def running(backup: Backup, sql: str, *, memory: str = MEMORY) -> Iterator[Answer]:
    """The answer as it is made, for a caller that prints it or passes it on; gone when the block is left."""
    with Scratch.make(_room(backup.manifest)) as scratch:
        path = scratch.folder / _FILE
        settings: dict[str, Any] = {
            "memory_limit": memory,
            "temp_directory": str(scratch.folder / "spill"),
            "threads": 2,
            "preserve_insertion_order": False,
        }
        with _explained(), duckdb.connect(path, config=settings) as connection:
            connection.execute(QUIET)
            written = _names(sql)
            loaded = _load_all(connection, backup, written)
        for note in loaded:
            warnings.warn(NotExact(note), stacklevel=3)
        settings["preserve_insertion_order"] = True
        with duckdb.connect(path, read_only=True, config=settings) as connection:
            _lock(connection)
            with _explained():
                yield ask(connection, sql)


def _lock(connection: duckdb.DuckDBPyConnection) -> None:
    for statement in _LOCKS:
        connection.execute(statement)


def _room(manifest: Manifest) -> int:
    """DuckDB packs its columns, so the rows as text are more than enough."""
    return (
        max(sum(table.bytes for table in manifest.tables), 64 << 20) if manifest.image is None else 64 << 20
    )


def _names(sql: str) -> tuple[str, ...]:
    """The tables that a statement names, as they are written in it."""
    # Locked as well: to find the names, DuckDB looks at functions that read files.
    with duckdb.connect(":memory:") as connection:
        _lock(connection)
        statements = connection.extract_statements(sql)
        if len(statements) != 1:
            raise ConfigError(
                f"{len(statements)} statements were given" if statements else "no statement was given",
                remedy="give one SELECT",
            )
        (statement,) = statements
        if statement.type not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
            raise ConfigError(
                f"a backup is never changed: {statement.type.name} is not possible here",
                remedy="give one SELECT (or DESCRIBE, SUMMARIZE, EXPLAIN)",
            )
        return tuple(sorted(connection.get_table_names(sql, qualified=True)))


def _load_all(
    connection: duckdb.DuckDBPyConnection, backup: Backup, written: tuple[str, ...]
) -> tuple[str, ...]:
    wanted: dict[str, Rows] = {}
    bare: dict[str, str] = {}
    for name in written:
        parts = parse_name(name)
        rows = find(backup, name if len(parts) == 0 else ".".join(map(sql_name, parts)))
        key = f"{rows.id.schema}.{rows.id.name}".lower()
        if key in wanted and wanted[key].id != rows.id:
            raise ConfigError(
                f"{wanted[key].id} and {rows.id} differ only in upper and lower case, which DuckDB does not tell apart",
                remedy="query them one at a time",
            )
        wanted[key] = rows
        if len(parts) == 1 and rows.id.schema.lower() != "main":
            bare[rows.id.name.lower()] = key
    notes: list[str] = []
    loader = _sqlite_loader(backup) if backup.manifest.image is not None else None
    types = Types(backup.schema)
    for rows in wanted.values():
        target = _target(rows)
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {sql_name(rows.id.schema)}")
        if loader is not None:
            notes += loader(connection, rows, target)
        else:
            notes += load(connection, backup, rows, types, target)
    for key in bare.values():
        rows = wanted[key]
        connection.execute(f"CREATE VIEW main.{sql_name(rows.id.name)} AS SELECT * FROM {_target(rows)}")
    return tuple(notes)


def _target(rows: Rows) -> str:
    return f"{sql_name(rows.id.schema)}.{sql_name(rows.id.name)}"


def _sqlite_loader(backup: Backup) -> Any:
    from backup_pipeline.reading.sqlite_rows import load_sqlite

    return lambda connection, rows, target: load_sqlite(connection, backup, rows, target)


@contextmanager
def _explained() -> Iterator[None]:
    """What DuckDB says about the user's SQL, as an error of ours."""
    try:
        with interruptible():
            yield
    except duckdb.PermissionException as error:
        raise ConfigError(
            "the SQL reaches outside of the backup, which is not possible here",
            remedy=str(error).splitlines()[0],
        ) from error
    except duckdb.Error as error:
        raise ConfigError(
            f"the SQL does not run: {str(error).splitlines()[0]}",
            remedy="DuckDB's SQL is close to PostgreSQL's; DESCRIBE a table to see its columns",
        ) from error
