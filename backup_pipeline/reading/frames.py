"""A table of a backup as a pandas DataFrame, with the dtypes that its columns deserve.

| PostgreSQL | dtype |
|---|---|
| smallint, integer, bigint, oid | Int64 |
| boolean | boolean |
| real, double precision | Float64 (NaN and NULL stay two things) |
| numeric | object: Decimal |
| text, varchar, char, name and every type that is not in this list | string |
| enum | category, in the order of the enum |
| timestamp with / without time zone | datetime64[us, UTC] / datetime64[us] |
| date | datetime64[s] |
| time, uuid, json, bytea, arrays | object: time, UUID, what the JSON says, bytes, lists |
| interval | timedelta64[us] |

One value of a column may not fit: a date at infinity, an interval with months. That column is then object, with text in
the last resort, and a `NotExact` warning says so.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.model.row_text import unescape
from backup_pipeline.model.schema import Column
from backup_pipeline.reading.columns import field_lines, open_columns
from backup_pipeline.reading.tables import Rows, find
from backup_pipeline.reading.types import Types
from backup_pipeline.reading.values import Convert, converter
from backup_pipeline.vault.backup import Backup


class NotExact(UserWarning):
    """A column holds a value that its natural dtype cannot hold."""


#: What Arrow reads without our help. No such value is ever escaped.
_DIRECT: dict[str, Any] = {
    **dict.fromkeys(("smallint", "integer", "bigint", "oid"), pa.int64()),
    "boolean": pa.bool_(),
    **dict.fromkeys(("real", "double precision"), pa.float64()),
}
_MOMENTS: dict[str, Any] = {
    "timestamp with time zone": pa.timestamp("us", "UTC"),
    "timestamp without time zone": pa.timestamp("us"),
    "date": pa.timestamp("s"),
}


def read_table(backup: Backup, table: str) -> pd.DataFrame:
    """Every row of one table; generated columns are not kept in a backup and so are not here."""
    rows = find(backup, table)
    if backup.manifest.image is not None:
        from backup_pipeline.reading.sqlite_rows import read_sqlite_table

        return read_sqlite_table(backup, rows)
    types = Types(backup.schema)
    if not rows.columns:
        return pd.DataFrame(index=pd.RangeIndex(sum(entry.rows for entry in rows.entries)))
    kinds = [_DIRECT.get(types.base(column), pa.binary()) for column in rows.columns]
    arrived = list(arrow_columns(backup, rows, kinds))
    series = {}
    for number, column in enumerate(rows.columns):
        chunked = pa.chunked_array([batch[number] for batch in arrived], type=kinds[number])
        for batch in arrived:
            batch[number] = None  # let go of what is done: the text is as large as the frame
        series[column.name] = _series(chunked, types, column, f"{rows.id}.{column.name}")
    return pd.DataFrame(series)


def rows_of(backup: Backup, table: str) -> Iterator[tuple[object, ...]]:
    """The rows one by one, as Python values, in bounded memory (that of the longest row)."""
    rows = find(backup, table)
    if backup.manifest.image is not None:
        from backup_pipeline.reading.sqlite_rows import sqlite_rows

        yield from sqlite_rows(backup, rows)
        return
    types = Types(backup.schema)
    converters = [converter(types, column) for column in rows.columns]
    for entry in rows.entries:
        positions = rows.positions(entry)
        for chunk in entry.chunks:
            for fields in field_lines(backup, entry, chunk):
                yield tuple(
                    None if fields[place] == rb"\N" else convert(decode(unescape(fields[place])))
                    for place, convert in zip(positions, converters, strict=True)
                )


def decode(data: bytes) -> str:
    """Text of a database that lets any bytes in (SQL_ASCII) comes with surrogate escapes."""
    return data.decode("utf-8", "surrogateescape")


def arrow_columns(backup: Backup, rows: Rows, kinds: list[Any]) -> Iterator[list[Any]]:
    """Arrow arrays, a list of columns at a time; text is still escaped."""
    for entry in rows.entries:
        positions = rows.positions(entry)
        wanted = dict(zip(positions, kinds, strict=True))
        for chunk in entry.chunks:
            for batch in open_columns(backup, entry, chunk, wanted):
                yield [batch.column(number) for number in range(len(positions))]


def unescaped(array: Any) -> Any:
    """A binary array without escapes. Hardly any value has one, so only those pass through Python."""
    escaped = pc.match_substring(array, b"\\")
    if not pc.any(escaped).as_py():
        return array
    values = [unescape(value) for value in array.filter(escaped).to_pylist()]
    return pc.replace_with_mask(array, pc.fill_null(escaped, False), pa.array(values, type=array.type))


def _series(chunked: Any, types: Types, column: Column, name: str) -> pd.Series[Any]:
    base = types.base(column)
    if pa.types.is_int64(chunked.type):
        return cast("pd.Series[Any]", chunked.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get))
    if pa.types.is_boolean(chunked.type):
        return cast("pd.Series[Any]", chunked.to_pandas(types_mapper={pa.bool_(): pd.BooleanDtype()}.get))
    if pa.types.is_floating(chunked.type):
        return floats(chunked)
    chunked = pa.chunked_array([unescaped(chunk) for chunk in chunked.chunks], type=pa.binary())
    labels = types.labels(column)
    if labels is not None:
        values = _objects(chunked, str)
        # A label that the schema does not know would silently become NULL.
        known = dict.fromkeys((*labels, *(value for value in values if value is not None)))
        return pd.Series(values, dtype=pd.CategoricalDtype(list(known), ordered=True))
    convert = converter(types, column)
    if base in _MOMENTS:
        return _moments(chunked, _MOMENTS[base], convert, name)
    if base == "interval":
        return intervals(_objects(chunked, convert), name)
    if convert is str:
        return _texts(chunked, name)
    values = _objects(chunked, convert)
    if base.startswith("time ") and any(isinstance(value, str) for value in values):
        _warn(name, "has a time of 24:00:00 or a zone that Python does not know", "text for those values")
    return pd.Series(values, dtype=object)


def _objects(chunked: Any, convert: Convert) -> list[object]:
    return [None if value is None else convert(decode(value)) for value in _each(chunked)]


def _each(chunked: Any) -> Iterable[bytes | None]:
    for chunk in chunked.chunks:
        yield from chunk.to_pylist()


def floats(chunked: Any) -> pd.Series[Any]:
    missing = (
        np.asarray(chunked.is_null().to_numpy(zero_copy_only=False)) if len(chunked) else np.zeros(0, bool)
    )
    values = np.asarray(chunked.fill_null(0.0).to_numpy(zero_copy_only=False), dtype=np.float64)
    # Not through `to_pandas`, which makes NULL of NaN.
    return pd.Series(pd.arrays.FloatingArray(values.copy(), missing.astype(bool)))


def _texts(chunked: Any, name: str) -> pd.Series[Any]:
    try:
        text = chunked.cast(pa.large_string())
    except pa.ArrowInvalid:
        _warn(name, "holds bytes that are not UTF-8", "text with surrogate escapes")
        return pd.Series(_objects(chunked, str), dtype=object)
    return pd.Series(text.to_pandas(types_mapper={pa.large_string(): pd.StringDtype()}.get), dtype="string")


def _moments(chunked: Any, kind: Any, convert: Convert, name: str) -> pd.Series[Any]:
    try:
        return cast("pd.Series[Any]", chunked.cast(pa.string()).cast(kind).to_pandas())
    except pa.ArrowInvalid:
        values = _objects(chunked, convert)
        _warn(name, "holds a time at infinity, before the year 1 or after 9999", "text for those values")
        return pd.Series([_as_text(value) for value in values], dtype=object)


def _as_text(value: object) -> object:
    """In a column that cannot be times, every value is text, in one form: ISO, as PostgreSQL writes it."""
    return value.isoformat(sep=" ") if isinstance(value, datetime) else None if value is None else str(value)


def intervals(values: list[object], name: str) -> pd.Series[Any]:
    if all(value is None or isinstance(value, timedelta) for value in values):
        return pd.Series(pd.array(np.array([_micros(v) for v in values], dtype="timedelta64[us]")))
    _warn(name, "holds an interval with months or years in it", "text for those values")
    return pd.Series(values, dtype=object)


def _micros(value: object) -> np.timedelta64:
    if value is None:
        return np.timedelta64("NaT", "us")
    assert isinstance(value, timedelta)
    return np.timedelta64(value // timedelta(microseconds=1), "us")


def _warn(name: str, what: str, instead: str) -> None:
    warnings.warn(NotExact(f"{name} {what}: the column is object, with {instead}"), stacklevel=2)
