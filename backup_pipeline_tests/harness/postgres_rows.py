"""Rows of a live PostgreSQL database and of a backup of one, in the same form: lines of COPY's text."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg2

from backup_pipeline.databases.base import Export
from backup_pipeline.databases.postgres.export import PostgresSource, session_settings
from backup_pipeline.model.schema import TableId
from backup_pipeline.vault.vault import Vault


@contextmanager
def session(url: str, *, autocommit: bool = True) -> Iterator[Any]:
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = autocommit
        yield connection


def run(url: str, *statements: str) -> None:
    with session(url) as connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def ask(url: str, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with session(url) as connection, connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def read_lines(url: str, query: str, encoding: str = "UTF8") -> Counter[str]:
    """The answer of a query, as a session with the backup's settings writes it: an independent second opinion, by
    another road (a plain cursor over `COPY`'s own output, no chunks, no workers)."""
    import io

    with session(url) as connection, connection.cursor() as cursor:
        for name, value in session_settings(connection.server_version).items():
            cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        cursor.execute(f"SET client_encoding = {encoding}")
        buffer = io.BytesIO()
        cursor.copy_expert(f"COPY ({query}) TO STDOUT".encode(), buffer)
    return Counter(buffer.getvalue().decode("utf-8", "surrogateescape").split("\n")[:-1])


def quoted(*names: str) -> str:
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)


def live_lines(url: str, table: TableId, columns: tuple[str, ...], encoding: str = "UTF8") -> Counter[str]:
    listed = ", ".join(quoted(column) for column in columns)
    return read_lines(url, f"SELECT {listed} FROM ONLY {quoted(table.schema, table.name)}", encoding)


def stored_lines(vault: Vault, export: Export, table: TableId) -> Counter[str]:
    entry = next(entry for entry in export.tables if entry.id == table)
    lines: Counter[str] = Counter()
    for chunk in entry.chunks:
        text = vault.content(chunk.object).decode("utf-8", "surrogateescape")
        found = text.split("\n")[:-1]
        assert len(found) == chunk.rows
        lines.update(found)
    assert sum(lines.values()) == entry.rows
    return lines


def columns_of(url: str, table: TableId) -> tuple[str, ...]:
    return tuple(
        name
        for (name,) in ask(
            url,
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
            " AND attgenerated = '' ORDER BY attnum",
            quoted(table.schema, table.name),
        )
    )


@dataclass
class LivePostgres:
    """`Live` of the source contract, on an empty database."""

    url: str
    schema: str = "public"
    _open: list[Any] = field(default_factory=list)

    @property
    def source(self) -> PostgresSource:
        return PostgresSource(self.url)

    def run(self, *statements: str) -> None:
        if self._open:
            with self._open[-1].cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
        else:
            run(self.url, *statements)

    @contextmanager
    def writer(self) -> Iterator[LivePostgres]:
        with session(self.url, autocommit=False) as connection:
            yield LivePostgres(self.url, _open=[connection])
            connection.commit()

    def rows(self, table: str) -> Counter[str]:
        identifier = TableId(self.schema, table)
        return live_lines(self.url, identifier, columns_of(self.url, identifier))

    def backed_up_rows(self, vault: Vault, export: Export, table: str) -> Counter[str]:
        return stored_lines(vault, export, TableId(self.schema, table))

    def address_of_nowhere(self) -> PostgresSource:
        head, _, query = self.url.partition("?")
        return PostgresSource(f"{head.rpartition('/')[0]}/no_such_database?{query}")
