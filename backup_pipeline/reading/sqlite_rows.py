"""Tables of a SQLite backup: the file is put together in a private folder, and read there."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa

from backup_pipeline.databases.sqlite.export.rows import Value, quoted, read_rows, reading_file
from backup_pipeline.errors import Damaged
from backup_pipeline.model.affinity import affinity
from backup_pipeline.reading.frames import NotExact
from backup_pipeline.reading.loading import column_name, sql_name
from backup_pipeline.reading.tables import Rows
from backup_pipeline.vault.backup import Backup


@contextmanager
def rebuilt(backup: Backup) -> Iterator[Path]:
    """The database file, for as long as it is needed."""
    image = backup.manifest.image
    assert image is not None
    with backup.door.image(image) as path:
        try:
            yield path
        except sqlite3.DatabaseError as error:
            raise Damaged(
                f"{image.name} cannot be read: {error}", remedy="run `verify`, and use another backup"
            ) from error


def sqlite_rows(backup: Backup, rows: Rows) -> Iterator[tuple[object, ...]]:
    with rebuilt(backup) as path:
        yield from read_rows(path, rows.id.name, rows.names)


def read_sqlite_table(backup: Backup, rows: Rows) -> pd.DataFrame:
    """SQLite types values and not columns: the dtype is that of the declared type where every value is of it."""
    with rebuilt(backup) as path:
        found = list(read_rows(path, rows.id.name, rows.names))
    if not rows.columns:
        return pd.DataFrame(index=pd.RangeIndex(len(found)))
    columns = list(zip(*found, strict=True)) if found else [() for _ in rows.columns]
    return pd.DataFrame(
        {
            column.name: _series(values, affinity(column.type), f"{rows.id}.{column.name}")
            for column, values in zip(rows.columns, columns, strict=True)
        }
    )


_DUCKDB = {"integer": "BIGINT", "real": "DOUBLE", "text": "VARCHAR", "blob": "BLOB"}
_ARROW = {"BIGINT": pa.int64(), "DOUBLE": pa.float64(), "VARCHAR": pa.string(), "BLOB": pa.binary()}
_BATCH_BYTES = 8 << 20


def load_sqlite(
    connection: duckdb.DuckDBPyConnection, backup: Backup, rows: Rows, target: str
) -> tuple[str, ...]:
    """A DuckDB table whose types are those of the values: integers and reals together are DOUBLE, any other mixture text."""
    with rebuilt(backup) as path:
        kinds, notes = _kinds(path, rows)
        names = [column_name(rows.columns, number) for number in range(len(kinds))]
        made = ", ".join(f"{sql_name(name)} {kind}" for name, kind in zip(names, kinds, strict=True))
        connection.execute(f"CREATE TABLE {target} ({made})")
        arrow = pa.schema([(f"c{number}", _ARROW[kind]) for number, kind in enumerate(kinds)])
        reader = pa.RecordBatchReader.from_batches(arrow, _batches(path, rows, kinds, arrow))
        connection.register("arriving", reader)
        try:
            connection.execute(f"INSERT INTO {target} SELECT * FROM arriving")
        finally:
            connection.unregister("arriving")
    return notes


def _kinds(path: Path, rows: Rows) -> tuple[list[str], tuple[str, ...]]:
    """Which DuckDB type takes every value of a column, by the storage classes that are in it."""
    kinds, notes = [], []
    with reading_file(path) as connection:
        for column in rows.columns:
            sql = f"SELECT DISTINCT typeof({quoted(column.name)}) FROM main.{quoted(rows.id.name)}"
            found = {str(row[0]) for row in connection.execute(sql)} - {"null"}
            if found == {"integer", "real"}:
                kinds.append("DOUBLE")
            elif len(found) == 1:
                kinds.append(_DUCKDB[found.pop()])
            else:
                kinds.append(_BY_AFFINITY[affinity(column.type)] if not found else "VARCHAR")
                if found:
                    held = ", ".join(sorted(found))
                    notes.append(f"{rows.id}.{column.name} holds {held}: it is read as text")
    return kinds, tuple(notes)


_BY_AFFINITY = {"INTEGER": "BIGINT", "REAL": "DOUBLE", "TEXT": "VARCHAR", "BLOB": "BLOB", "NUMERIC": "DOUBLE"}


def _batches(path: Path, rows: Rows, kinds: list[str], arrow: Any) -> Iterator[Any]:
    source = read_rows(path, rows.id.name, rows.names)
    while batch := list(_some(source)):
        columns = [
            pa.array([_fitting(value, kind) for value in values], type=kind_of_arrow.type)
            for values, kind, kind_of_arrow in zip(zip(*batch, strict=True), kinds, arrow, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(columns, schema=arrow)


def _some(source: Iterator[tuple[Value, ...]]) -> Iterator[tuple[Value, ...]]:
    size = 0
    for row in source:
        size += sum(len(value) if isinstance(value, (str, bytes)) else 8 for value in row)
        yield row
        if size >= _BATCH_BYTES:
            return


def _fitting(value: object, kind: str) -> object:
    if value is None or kind in ("BIGINT", "BLOB"):
        return value
    if kind == "DOUBLE":
        return float(value) if isinstance(value, (int, float)) else value
    if isinstance(value, bytes):
        return value.hex()
    return str(value).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _series(values: Sequence[object], declared: str, name: str) -> pd.Series[Any]:
    classes = {type(value) for value in values} - {type(None)}
    # A column of no type (BLOB) or of any number (NUMERIC) takes that of its values, if they have one.
    loose = declared in ("NUMERIC", "BLOB")
    if (classes == {int} and (loose or declared == "INTEGER")) or (not classes and declared == "INTEGER"):
        return pd.Series(values, dtype="Int64")
    if (classes == {float} and (loose or declared == "REAL")) or (
        not classes and declared in ("REAL", "NUMERIC")
    ):
        return pd.Series(values, dtype="Float64")
    if classes == {int, float} and loose and all(_is_exact(value) for value in values):
        return pd.Series([None if value is None else float(str(value)) for value in values], dtype="Float64")
    if classes <= {str} and (declared == "TEXT" or (loose and classes)) and not _has_surrogates(values):
        return pd.Series(values, dtype="string")
    if classes - {bytes} or (classes and not loose):
        names = ", ".join(sorted(kind.__name__ for kind in classes))
        warnings.warn(
            NotExact(f"{name} is declared {declared} and holds {names}: the column is object"), stacklevel=2
        )
    return pd.Series(values, dtype=object)


def _is_exact(value: object) -> bool:
    """Whether a number is the same one as a float."""
    return not isinstance(value, int) or abs(value) <= 2**53


def _has_surrogates(values: Sequence[object]) -> bool:
    try:
        "".join(value for value in values if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return True
    return False
