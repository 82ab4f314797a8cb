"""What the parts of a session share: the driver's connection, and the catalog as it was read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from psycopg import sql

from backup_pipeline.databases.merge.session import SessionOptions
from backup_pipeline.databases.postgres.export import connect, snapshot
from backup_pipeline.databases.postgres.export.inspect import Inspection, inspect
from backup_pipeline.databases.postgres.export.session import row_encoding
from backup_pipeline.databases.postgres.merging.failing import explained
from backup_pipeline.databases.postgres.restore.rows import table_name
from backup_pipeline.databases.postgres.restore.target import Connection, Server
from backup_pipeline.model.schema import TableId

Row = tuple[Any, ...]
Statement = sql.SQL | sql.Composed


@dataclass
class Held:
    server: Server
    raw: Connection
    options: SessionOptions
    inspection: Inspection
    state: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def encoding(self) -> str:
        """Of the target's row text."""
        return row_encoding(self.inspection.schema.settings.get("encoding", "UTF8"))

    def oids(self, tables: Iterable[TableId]) -> list[int]:
        return [self.inspection.oids[table] for table in tables]

    def rows(self, doing: str, query: str, *parameters: object) -> list[Row]:
        with explained(doing):
            return self.raw.execute(query.encode(), parameters or None).fetchall()

    def run(self, doing: str, statement: Statement) -> None:
        with explained(doing):
            self.raw.execute(statement)

    def alter(self, table: TableId, change: sql.Composable, *, only: bool = False) -> sql.Composed:
        return sql.SQL("ALTER TABLE {}{} {}").format(
            sql.SQL("ONLY " if only else ""), table_name(table), change
        )

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        with explained("merging"), self.raw.transaction():
            yield


def look(server: Server) -> tuple[Inspection, Mapping[str, str]]:
    """The schema and what tells the database from others, over a session of its own: the driver of the export reads them."""
    with closing(connect.connect({**server.parameters, "dbname": server.database})) as connection:
        snapshot.begin(connection)
        with connect.explained("asking for the identity of the database", connection):
            state = snapshot.state_of(connection)
        return inspect(connection), state
