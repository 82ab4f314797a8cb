"""What a query answers, from DuckDB through Arrow to Python values and data frames, without a silent loss.

DuckDB's own conversions lose some: a DECIMAL becomes a float, a date at infinity the year 9999, 24:00:00 midnight,
a time its zone. Here each of these is either exact or text.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from backup_pipeline.reading.frames import NotExact, floats, intervals

_BATCH = 16_384
#: Types that Arrow cannot carry from DuckDB as they are.
_AS_TEXT = frozenset({"TIME", "TIME WITH TIME ZONE", "BIT"})
_ENDS_OF_TIME = {pa.date32(): (pa.int32(), 2**31 - 1), "timestamp": (pa.int64(), 2**63 - 1)}


@dataclass(frozen=True)
class Answer:
    """Read once, by `rows()`, `frame()` or straight from the Arrow `batches`."""

    columns: tuple[str, ...]
    #: As DuckDB writes them.
    types: tuple[str, ...]
    schema: Any
    batches: Iterator[Any]

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Python values, a batch in memory at a time."""
        for batch in self.batches:
            columns = [_values(column, kind) for column, kind in zip(batch.columns, self.types, strict=True)]
            yield from zip(*columns, strict=True)

    def frame(self) -> pd.DataFrame:
        batches = list(self.batches)
        series = [
            _series(
                pa.chunked_array([batch.column(number) for batch in batches], type=self.schema.types[number]),
                self.types[number],
                name,
            )
            for number, name in enumerate(self.columns)
        ]
        frame = pd.concat(series, axis=1) if series else pd.DataFrame()
        frame.columns = pd.Index(self.columns)
        return frame


def ask(connection: duckdb.DuckDBPyConnection, sql: str) -> Answer:
    relation: Any = connection.sql(sql)
    types = tuple(str(kind) for kind in relation.types)
    columns = tuple(relation.columns)
    listed = ", ".join(
        f"CAST(#{number} AS VARCHAR)" if kind in _AS_TEXT else f"#{number}"
        for number, kind in enumerate(types, start=1)
    )
    reader = relation.project(listed).to_arrow_reader(_BATCH)
    return Answer(columns, types, reader.schema, iter(reader))


def _values(column: Any, kind: str) -> Sequence[object]:
    infinite = _infinite(column)
    if infinite is not None and pc.any(infinite).as_py():
        return _with_infinities(column, infinite)
    try:
        values = column.to_pylist()
    except (OverflowError, ValueError):
        # A moment that Arrow can hold and Python cannot: before the year 1, or after 9999.
        return [None if not one.is_valid else _moment(one) for one in column]
    if kind == "HUGEINT":
        return [None if value is None else int(value) for value in values]
    if kind == "UUID":
        return [None if value is None else UUID(value) for value in values]
    if pa.types.is_interval(column.type):
        return [_interval(value) for value in values]
    return cast(list[object], values)


def _infinite(column: Any) -> Any:
    """Which values lie at one of the two ends of time; None for types that have no such ends."""
    key = "timestamp" if pa.types.is_timestamp(column.type) else column.type
    if key not in _ENDS_OF_TIME:
        return None
    integer, end = _ENDS_OF_TIME[key]
    numbers = column.cast(integer)
    return pc.or_(pc.equal(numbers, end), pc.equal(numbers, -end))


def _with_infinities(column: Any, infinite: Any) -> list[object]:
    out: list[object] = []
    for one, is_infinite in zip(column, infinite.to_pylist(), strict=True):
        if not one.is_valid:
            out.append(None)
        elif is_infinite:
            number = one.cast(pa.int32() if pa.types.is_date(column.type) else pa.int64()).as_py()
            out.append("infinity" if number > 0 else "-infinity")
        else:
            out.append(_moment(one))
    return out


def _moment(one: Any) -> object:
    try:
        return one.as_py()
    except (OverflowError, ValueError):
        return str(one.cast(pa.string()).as_py())


def _interval(value: Any) -> object:
    if value is None:
        return None
    if not value.months:
        return timedelta(days=value.days, microseconds=value.nanoseconds // 1000)
    clock = timedelta(microseconds=value.nanoseconds // 1000)
    sign = "-" if clock < timedelta(0) else ""
    parts = [
        f"{value.months} mons",
        f"{value.days} days" if value.days else "",
        f"{sign}{abs(clock)}" if clock else "",
    ]
    return " ".join(part for part in parts if part)


def _series(chunked: Any, kind: str, name: str) -> pd.Series[Any]:
    arrow = chunked.type
    if pa.types.is_floating(arrow):
        return floats(chunked)
    if kind == "HUGEINT":
        values = [value for chunk in chunked.chunks for value in _values(chunk, kind)]
        fits = all(value is None or -(2**63) <= cast(int, value) < 2**63 for value in values)
        return pd.Series(values, dtype="Int64" if fits else object)
    if (
        pa.types.is_integer(arrow) or pa.types.is_boolean(arrow) or pa.types.is_string(arrow)
    ) and kind != "UUID":
        return cast("pd.Series[Any]", chunked.to_pandas(types_mapper=_nullable))
    if pa.types.is_date(arrow) or pa.types.is_timestamp(arrow):
        return _moments(chunked, name)
    values = [value for chunk in chunked.chunks for value in _values(chunk, kind)]
    if pa.types.is_interval(arrow):
        return intervals(values, name)
    return pd.Series(values, dtype=object)


def _nullable(kind: Any) -> Any:
    if pa.types.is_boolean(kind):
        return pd.BooleanDtype()
    if pa.types.is_string(kind):
        return pd.StringDtype()
    return pd.UInt64Dtype() if kind == pa.uint64() else pd.Int64Dtype()


def _moments(chunked: Any, name: str) -> pd.Series[Any]:
    if not _within_calendar(chunked):
        warnings.warn(
            NotExact(
                f"{name} holds a time at infinity, before the year 1 or after 9999: "
                "the column is object, with text for those values"
            ),
            stacklevel=4,
        )
        values = [value for chunk in chunked.chunks for value in _values(chunk, "")]
        return pd.Series(values, dtype=object)
    if pa.types.is_date(chunked.type):
        return cast("pd.Series[Any]", chunked.cast(pa.timestamp("s")).to_pandas())
    if chunked.type.tz is not None:
        chunked = chunked.cast(pa.timestamp(chunked.type.unit, "UTC"))
    return cast("pd.Series[Any]", chunked.to_pandas())


def _within_calendar(chunked: Any) -> bool:
    """The years that Python (and so also pandas, when it shows them) knows."""
    if pa.types.is_date(chunked.type):
        days = chunked.cast(pa.int32())
        first, last = -719_162, 2_932_896
        found = pc.min_max(days).as_py()
    else:
        ticks = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[chunked.type.unit]
        found = pc.min_max(chunked.cast(pa.int64())).as_py()
        first, last = -719_162 * 86_400 * ticks, 2_932_897 * 86_400 * ticks - 1
    return found["min"] is None or (first <= found["min"] and found["max"] <= last)
