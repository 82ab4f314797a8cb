"""SQLite as a `Source`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from backup_pipeline.databases.base import Options
from backup_pipeline.databases.sqlite.export import applied, diagnosis, snapshot
from backup_pipeline.databases.sqlite.export.address import file_of
from backup_pipeline.databases.sqlite.export.explaining import explained
from backup_pipeline.databases.sqlite.export.inspection import inspect
from backup_pipeline.databases.sqlite.export.opening import BUSY_SECONDS, reading
from backup_pipeline.databases.sqlite.export.rows import quoted, rowid_name
from backup_pipeline.model.findings import Report
from backup_pipeline.model.inventory import Inventory, InventoryTable
from backup_pipeline.model.schema import Table
from backup_pipeline.model.selection import Selection

#: The pages of each table are counted in files up to this long: a third of a second, for which writers may have to wait.
SIZED_UP_TO = 256 * 1024 * 1024


@dataclass(frozen=True)
class SqliteSource:
    url: str = field(repr=False)
    busy_seconds: float = BUSY_SECONDS

    @cached_property
    def path(self) -> Path:
        return file_of(self.url)

    @property
    def engine_name(self) -> str:
        return "sqlite"

    @property
    def address(self) -> str:
        return f"sqlite:///{self.path}"

    @property
    def location(self) -> str:
        return str(self.path.resolve())

    @contextmanager
    def snapshot(self, selection: Selection, options: Options) -> Iterator[snapshot.SqliteSnapshot]:
        with snapshot.take(self.path, selection, options, self.busy_seconds) as taken:
            yield taken

    def inventory(self, selection: Selection) -> Inventory:
        with reading(self.path, seconds=self.busy_seconds) as opened, explained(self.path):
            connection = opened.connection
            inspected = inspect(connection)
            choice = snapshot.choice_of(connection, inspected.schema, selection)
            reasons = {item.name: item.reason for item in choice.left_out}
            size = snapshot.size_of(connection)
            guessed = _guessed_rows(connection)
            sizes = snapshot.page_bytes(connection) if size <= SIZED_UP_TO else {}
            tables = tuple(
                InventoryTable(
                    table.id,
                    table.kind,
                    len(table.columns),
                    rows=guessed.get(table.id.name, _highest_rowid(connection, table)),
                    bytes=sizes.get(table.id.name, -1),
                    left_out=reasons.get(table.id.name),
                    types={column.name: column.type for column in table.columns},
                    computed=table.computed_columns,
                )
                for table in inspected.schema.tables
            )
        return Inventory(
            snapshot.engine(self.path.name, inspected.schema), tables, bytes=size, findings=inspected.findings
        )

    def diagnose(self, selection: Selection) -> Report:
        return diagnosis.diagnose(self.path, selection, self.busy_seconds)

    def refused(self, queries: Mapping[str, str]) -> dict[str, str]:
        found: dict[str, str] = {}
        if not queries:
            return found
        with reading(self.path, seconds=self.busy_seconds) as opened, explained(self.path):
            for name, text in queries.items():
                try:
                    opened.connection.execute(f"EXPLAIN {text.strip()}").close()
                except sqlite3.Error as error:
                    found[name] = str(error)
        return found

    def applied_migrations(self, tool: str) -> tuple[str, ...] | None:
        with reading(self.path, seconds=self.busy_seconds) as opened, explained(self.path):
            return applied.migrations(opened.connection, tool)


def _guessed_rows(connection: sqlite3.Connection) -> dict[str, int]:
    """What ANALYZE last counted, where it ever ran: the first number of `stat`."""
    try:
        rows = connection.execute("SELECT tbl, stat FROM main.sqlite_stat1").fetchall()
    except sqlite3.OperationalError:
        return {}
    found: dict[str, int] = {}
    for table, stat in rows:
        first = str(stat or "").partition(" ")[0]
        if first.isdecimal():
            found[table] = max(found.get(table, 0), int(first))
    return found


def _highest_rowid(connection: sqlite3.Connection, table: Table) -> int:
    """One step down a tree; more than the rows there are when some were deleted. -1 where it says nothing: the rowids of a
    full-text index are made of segment numbers, and go to 2⁴¹ with three rows."""
    name = rowid_name(connection, table.id.name)
    if table.kind != "table" or "WITHOUT ROWID" in table.options or name is None:
        return -1
    (last,) = connection.execute(f"SELECT max({name}) FROM main.{quoted(table.id.name)}").fetchone()
    return max(0, min(int(last or 0), 2**53))
