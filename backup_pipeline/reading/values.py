"""A value as PostgreSQL writes it → the Python value that it is.

What Python cannot say exactly stays text: a time before the year 1 or at infinity, an interval with months in
it, `24:00:00`, a type that is not known here. Nothing is ever rounded or guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal, InvalidOperation
from uuid import UUID

from backup_pipeline.model.schema import Column
from backup_pipeline.reading.types import Types

Convert = Callable[[str], object]

_INTERVAL = re.compile(
    r"(?:(?P<years>-?\d+) years? ?)?(?:(?P<months>-?\d+) mons? ?)?(?:(?P<days>[+-]?\d+) days? ?)?"
    r"(?:(?P<sign>[+-])?(?P<hours>\d+):(?P<minutes>\d\d):(?P<seconds>\d\d)(?:\.(?P<fraction>\d{1,6}))?)?"
)


def converter(types: Types, column: Column) -> Convert:
    name = types.base(column)
    if types.labels(column) is not None:
        return str
    return converter_of(name)


def converter_of(name: str) -> Convert:
    """By the bare name of a type. Arrays are lists of what their elements are, however deep."""
    if name.endswith("[]"):
        element = converter_of(name.removesuffix("[]"))
        delimiter = ";" if name == "box[]" else ","
        return lambda text: parse_array(text, element, delimiter)
    return _CONVERTERS.get(name, str)


def _boolean(text: str) -> object:
    return text == "t"


def _decimal(text: str) -> object:
    try:
        return Decimal(text)
    except InvalidOperation:
        return text


def _bytes(text: str) -> object:
    return bytes.fromhex(text[2:]) if text.startswith("\\x") else text


def _date(text: str) -> object:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return text


def _moment(text: str) -> object:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return text


def _time(text: str) -> object:
    try:
        return time.fromisoformat(text)
    except ValueError:
        return text


def interval(text: str) -> object:
    """A timedelta, if it has no months: how long a month is depends on the day that it is added to."""
    match = _INTERVAL.fullmatch(text)
    if match is None or match["years"] or match["months"]:
        return text
    clock = timedelta(
        hours=int(match["hours"] or 0),
        minutes=int(match["minutes"] or 0),
        seconds=int(match["seconds"] or 0),
        microseconds=int((match["fraction"] or "").ljust(6, "0")),
    )
    try:
        return timedelta(days=int(match["days"] or 0)) + (-clock if match["sign"] == "-" else clock)
    except OverflowError:
        return text


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text  # `json` keeps what was written, and PostgreSQL allows deeper nesting than Python


_CONVERTERS: dict[str, Convert] = {
    **dict.fromkeys(("smallint", "integer", "bigint", "oid"), int),
    **dict.fromkeys(("real", "double precision"), float),
    "numeric": _decimal,
    "boolean": _boolean,
    "bytea": _bytes,
    "date": _date,
    **dict.fromkeys(("timestamp without time zone", "timestamp with time zone"), _moment),
    **dict.fromkeys(("time without time zone", "time with time zone"), _time),
    "interval": interval,
    "uuid": UUID,
    **dict.fromkeys(("json", "jsonb"), _json),
}


def parse_array(text: str, element: Convert, delimiter: str = ",") -> object:
    """`{1,NULL,{"a b"}}` → [1, None, ["a b"]]. Lower bounds (`[0:1]={…}`) are not kept."""
    start = text.index("{")
    stack: list[list[object]] = []
    at, end = start, len(text)
    while at < end:
        character = text[at]
        if character == "{":
            stack.append([])
            at += 1
        elif character == "}":
            done = stack.pop()
            if not stack:
                return done
            stack[-1].append(done)
            at += 1
        elif character == delimiter:
            at += 1
        elif character == '"':
            value, at = _quoted(text, at + 1)
            stack[-1].append(element(value))
        else:
            stop = at
            while text[stop] not in (delimiter, "}"):
                stop += 1
            word = text[at:stop]
            stack[-1].append(None if word == "NULL" else element(word))
            at = stop
    raise ValueError(f"{text[:40]!r} is not an array")


def _quoted(text: str, at: int) -> tuple[str, int]:
    out: list[str] = []
    while True:
        stop = at
        while text[stop] not in '"\\':
            stop += 1
        out.append(text[at:stop])
        if text[stop] == '"':
            return "".join(out), stop + 1
        out.append(text[stop + 1])
        at = stop + 2
