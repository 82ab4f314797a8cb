"""Rows of a PostgreSQL backup → a DuckDB table with the nearest types, in bounded memory.

Values arrive as text in a staging table; each column then gets the first of its candidate types that takes every
value of it, and stays text where none does. So a date at infinity costs its column the type, and never a value.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from backup_pipeline.errors import Damaged
from backup_pipeline.model.schema import Column
from backup_pipeline.reading.frames import arrow_columns, decode, unescaped
from backup_pipeline.reading.interrupting import interruptible
from backup_pipeline.reading.tables import Rows
from backup_pipeline.reading.types import Types
from backup_pipeline.reading.values import parse_array
from backup_pipeline.vault.backup import Backup

_NUMERIC = re.compile(r"numeric\((\d+),(-?\d+)\)")
#: DuckDB's widest DECIMAL.
_WIDEST = 38

_DUCKDB = {
    "smallint": "SMALLINT",
    "integer": "INTEGER",
    "bigint": "BIGINT",
    "oid": "BIGINT",
    "boolean": "BOOLEAN",
    "real": "FLOAT",
    "double precision": "DOUBLE",
    "date": "DATE",
    "timestamp without time zone": "TIMESTAMP",
    "timestamp with time zone": "TIMESTAMPTZ",
    "time without time zone": "TIME",
    "time with time zone": "TIMETZ",
    "interval": "INTERVAL",
    "uuid": "UUID",
    "json": "JSON",
    "jsonb": "JSON",
    "bytea": "BLOB",
}


def sql_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@dataclass
class Incoming:
    """One column on its way in."""

    name: str
    base: str
    full: str
    #: How deep its arrays were found to be.
    depths: set[int] = field(default_factory=set)

    @property
    def is_array(self) -> bool:
        return self.base.endswith("[]")

    @property
    def arrow(self) -> Any:
        if self.base in ("smallint", "integer", "bigint", "oid"):
            return pa.int64()
        return pa.bool_() if self.base == "boolean" else pa.binary()

    def prepared(self, array: Any) -> Any:
        """Text without escapes; arrays as JSON lists of texts."""
        if array.type != pa.binary():
            return array
        plain = unescaped(array)
        if self.is_array:
            texts = [None if value is None else self._listed(decode(value)) for value in plain.to_pylist()]
            return pa.array(texts, type=pa.string())
        try:
            return plain.cast(pa.string())
        except pa.ArrowInvalid:
            # SQL knows no bytes that are no text: shown, not kept.
            return pa.array(
                [None if v is None else v.decode("utf-8", "backslashreplace") for v in plain.to_pylist()]
            )

    def _listed(self, text: str) -> str:
        value = parse_array(text, str, ";" if self.base == "box[]" else ",")
        self.depths.add(_depth(value))
        return json.dumps(value)


def _depth(value: object) -> int:
    """0 for an empty array, which fits in with arrays of any depth."""
    depth = 0
    while isinstance(value, list) and value:
        depth += 1
        value = value[0]
    return depth


def load(
    connection: duckdb.DuckDBPyConnection, backup: Backup, rows: Rows, types: Types, target: str
) -> tuple[str, ...]:
    """Make the table `target` (quoted already). Returns what a reader should know about its types."""
    columns = [
        Incoming(column_name(rows.columns, number), types.base(column), types.full(column))
        for number, column in enumerate(rows.columns)
    ]
    if not columns:
        connection.execute(f'CREATE TABLE {target} ("(no columns)" BOOLEAN)')
        count = sum(entry.rows for entry in rows.entries)
        connection.execute(f"INSERT INTO {target} SELECT NULL FROM range(?)", [count])
        return ()
    made = ", ".join(f"c{number} {_staged(column)}" for number, column in enumerate(columns))
    connection.execute(f"CREATE TABLE staging ({made})")
    damage: list[Damaged] = []
    reader = pa.RecordBatchReader.from_batches(
        pa.schema([(f"c{number}", _arriving(column)) for number, column in enumerate(columns)]),
        _batches(backup, rows, columns, damage),
    )
    connection.register("arriving", reader)
    try:
        with interruptible():
            connection.execute("INSERT INTO staging SELECT * FROM arriving")
    except (duckdb.Error, Damaged):
        # The first error of the rows has the remedy: DuckDB keeps the message alone.
        if damage:
            raise damage[0] from None
        raise
    finally:
        connection.unregister("arriving")
    notes: list[str] = []
    chosen = [_choose(connection, rows, column, number, notes) for number, column in enumerate(columns)]
    listed = ", ".join(
        f"{expression} AS {sql_name(column.name)}" for expression, column in zip(chosen, columns, strict=True)
    )
    connection.execute(f"CREATE TABLE {target} AS SELECT {listed} FROM staging")
    connection.execute("DROP TABLE staging")
    return tuple(notes)


def column_name(columns: tuple[Column, ...], number: int) -> str:
    """DuckDB does not tell `a` from `A`: the second one gets a number behind it."""
    name = columns[number].name
    same = sum(1 for column in columns[:number] if column.name.lower() == name.lower())
    return f"{name}_{same}" if same else name


def _staged(column: Incoming) -> str:
    return {pa.int64(): "BIGINT", pa.bool_(): "BOOLEAN"}.get(column.arrow, "VARCHAR")


def _arriving(column: Incoming) -> Any:
    return pa.string() if column.arrow == pa.binary() else column.arrow


def _batches(backup: Backup, rows: Rows, columns: list[Incoming], damage: list[Damaged]) -> Iterator[Any]:
    kinds = [column.arrow for column in columns]
    try:
        for arrays in arrow_columns(backup, rows, kinds):
            prepared = [column.prepared(array) for column, array in zip(columns, arrays, strict=True)]
            yield pa.RecordBatch.from_arrays(prepared, names=[f"c{number}" for number in range(len(columns))])
    except Damaged as error:
        damage.append(Damaged(f"{rows.id}: {error.message}", remedy=error.remedy))
        raise


def _choose(
    connection: duckdb.DuckDBPyConnection, rows: Rows, column: Incoming, number: int, notes: list[str]
) -> str:
    staged = f"c{number}"
    for expression in _candidates(connection, column, staged):
        if expression == staged:
            return staged
        row = connection.execute(
            f"SELECT count(*) FROM staging WHERE {staged} IS NOT NULL AND ({expression}) IS NULL"
        ).fetchone()
        if row == (0,):
            if column.base == "numeric" and expression.endswith("DOUBLE)"):
                notes.append(f"{rows.id}.{column.name} is read as DOUBLE: its values do not fit a DECIMAL")
            return expression
    if column.base in _DUCKDB or column.base == "numeric" or column.is_array:
        text = "JSON text" if column.is_array else "text"
        notes.append(
            f"{rows.id}.{column.name} is read as {text}: DuckDB has no {column.full} for all its values"
        )
    return staged


def _candidates(connection: duckdb.DuckDBPyConnection, column: Incoming, staged: str) -> Iterator[str]:
    """Expressions over the staged column, the best first; NULL from one means that it does not fit."""
    base = column.base
    if base in ("bigint", "oid", "boolean"):
        yield staged
    elif column.is_array:
        yield from _of_arrays(column, staged)
    elif base == "numeric":
        if match := _NUMERIC.fullmatch(column.full):
            precision, scale = int(match[1]), int(match[2])
            if precision <= _WIDEST and 0 <= scale <= precision:
                yield f"TRY_CAST({staged} AS DECIMAL({precision},{scale}))"
        else:
            yield from _wide_enough(connection, staged)
        yield f"TRY_CAST({staged} AS DOUBLE)"
    elif base in ("date", "timestamp without time zone", "timestamp with time zone"):
        # 0044-03-15 00:00:00 BC is written 0044-03-15 (BC) 00:00:00 here.
        moved = f"regexp_replace({staged}, '^(\\S+)(.*) BC$', '\\1 (BC)\\2')"
        yield f"TRY_CAST({moved} AS {_DUCKDB[base]})"
    elif base == "interval":
        yield f"TRY_CAST(replace({staged}, '+', '') AS INTERVAL)"
    elif base == "bytea":
        yield f"unhex(substr({staged}, 3))"
    elif base in _DUCKDB:
        yield f"TRY_CAST({staged} AS {_DUCKDB[base]})"


def _wide_enough(connection: duckdb.DuckDBPyConnection, staged: str) -> Iterator[str]:
    """A numeric without limits: as many digits as its values have, if they are not too many."""
    row = connection.execute(
        f"SELECT max(length(split_part(ltrim({staged}, '-'), '.', 1))), max(length(split_part({staged}, '.', 2))) "
        f"FROM staging"
    ).fetchone()
    before, behind = (row or (None, None))[:2]
    before, behind = int(before or 1), int(behind or 0)
    if before + behind <= _WIDEST:
        yield f"TRY_CAST({staged} AS DECIMAL({before + behind},{behind}))"


def _of_arrays(column: Incoming, staged: str) -> Iterator[str]:
    deep = column.depths - {0}
    if len(deep) > 1:
        return
    levels = "[]" * (deep.pop() if deep else 1)
    lists = f"CAST(CAST({staged} AS JSON) AS VARCHAR{levels})"
    element = column.base.removesuffix("[]")
    simple = ("smallint", "integer", "bigint", "real", "double precision", "uuid")
    if element in simple:
        yield f"TRY_CAST({lists} AS {_DUCKDB[element]}{levels})"
    yield lists
