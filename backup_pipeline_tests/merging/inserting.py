"""An INSERT into every table of a database: what an application does next after a restore. All is rolled back."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Mapping, Sequence

from backup_pipeline.model.schema import Column, Schema, Table, TableId
from backup_pipeline_tests.merging.databases import Connection, Living, foreign_keys, named, quoted

#: The beginning of a type, in lower case → SQL of a value. `{n}` is another number each time.
VALUES = (
    ("tsvector", "''"),
    ("uuid", "'{uuid}'"),
    ("json", "'{{}}'"),
    ("bool", "'1'"),
    ("time", "'2030-01-01 00:00:00'"),
    ("date", "'2030-01-01'"),
    ("char", "'v{n}'"),
    ("text", "'v{n}'"),
    ("citext", "'v{n}'"),
    ("clob", "'v{n}'"),
    ("bytea", "'v{n}'"),
    ("blob", "'v{n}'"),
)


class Inserting:
    """Rows for one open transaction."""

    def __init__(
        self, connection: Connection, living: Living, schema: Schema, samples: Mapping[str, str]
    ) -> None:
        self._connection = connection
        self._living = living
        self._schema = schema
        self._samples = samples
        self._numbers = itertools.count(1)
        self._underway: list[TableId] = []

    def row(self, table: Table) -> dict[str, object]:
        """A new row; its mandatory parents are new as well, but for the parents in a circle."""
        self._underway.append(table.id)
        wanted = [column for column in table.columns if self._is_wanted(table, column)]
        parents = self._parents(table, [column.name for column in wanted])
        given = [self._value(table, column, parents) for column in wanted]
        columns = ", ".join(quoted(column.name) for column in wanted)
        values = f"({columns}) VALUES ({', '.join(given)})" if wanted else "DEFAULT VALUES"
        names = [column.name for column in table.columns]
        (row,) = self._connection.execute(
            f"INSERT INTO {named(table.id)} {values} RETURNING {', '.join(quoted(name) for name in names)}"
        ).fetchall()
        self._underway.pop()
        return dict(zip(names, row, strict=True))

    def _is_wanted(self, table: Table, column: Column) -> bool:
        if f"{table.id.name}.{column.name}" in self._samples:
            return True
        in_key = table.primary_key is not None and column.name in table.primary_key.columns
        numbered = (
            self._living.engine == "sqlite"
            and table.primary_key is not None
            and table.primary_key.columns == (column.name,)
            and column.type.upper() == "INTEGER"
        )
        given = column.default is not None or column.identity is not None or column.generated is not None
        return (in_key or not column.nullable) and not numbered and not given

    def _parents(self, table: Table, wanted: Sequence[str]) -> dict[str, object]:
        found: dict[str, object] = {}
        for key in foreign_keys(self._schema, table):
            if not set(key.columns) & set(wanted):
                continue
            parent = self._schema.table(key.references)
            assert parent is not None
            if parent.id in self._underway:
                row = self._some_row(parent)
            else:
                row = self.row(parent)
            found |= {column: row[there] for column, there in zip(key.columns, key.referenced, strict=True)}
        return found

    def _some_row(self, table: Table) -> dict[str, object]:
        names = [column.name for column in table.columns]
        rows = self._connection.execute(
            f"SELECT {', '.join(quoted(name) for name in names)} FROM {named(table.id)} LIMIT 1"
        ).fetchall()
        assert rows, f"{table.id} is in a circle and has no row to refer to"
        return dict(zip(names, rows[0], strict=True))

    def _value(self, table: Table, column: Column, parents: Mapping[str, object]) -> str:
        if (sample := self._samples.get(f"{table.id.name}.{column.name}")) is not None:
            return sample.format(n=next(self._numbers))
        if column.name in parents:
            return "'" + str(parents[column.name]).replace("'", "''") + "'"
        # Django on SQLite: JSON is a text with a check.
        if any(f'JSON_VALID("{column.name}")' in check.expression for check in table.checks):
            return "'{}'"
        for beginning, value in VALUES:
            if beginning in column.type.lower():
                return value.format(n=next(self._numbers), uuid=uuid.uuid4())
        return f"(SELECT coalesce(max({quoted(column.name)}), 0) + 1 FROM {named(table.id)})"


def insert_everywhere(living: Living, schema: Schema, samples: Mapping[str, str]) -> None:
    """Raises what the database says about the first INSERT that it refuses."""
    with living.connection() as connection:
        connection.execute("BEGIN")
        inserting = Inserting(connection, living, schema, samples)
        for table in schema.tables:
            if table.kind in ("table", "partitioned") and table.partition_of is None:
                inserting.row(table)
        if living.engine == "postgres":
            connection.execute("SET CONSTRAINTS ALL IMMEDIATE")
        connection.execute("ROLLBACK")
