"""Ids inside of JSON: read out of a column of a staging table, and put back, by one statement each for all rows.

Both engines keep the order of keys, the spelling of numbers and what stands beside the path. Blanks may change: PostgreSQL
writes the objects and arrays along the path anew, and SQLite the whole value.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

#: A key, a place in an array, or None: each place of an array.
Step = str | int | None
_STEP = re.compile(r'\.(\w+)|\["([^"\\]+)"\]|\[(?:(\d+)|\*)\]')


def steps_of(path: str) -> tuple[Step, ...]:
    """Of `$.blocks[*].photo`; ValueError where it is no such path."""
    steps: list[Step] = []
    at = 1
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            raise ValueError(f'{path}: a path is made of .key, ["key"], [0] and [*]')
        key = found[1] if found[1] is not None else found[2]
        steps.append(key if key is not None else int(found[3]) if found[3] else None)
        at = found.end()
    return tuple(steps)


@dataclass(frozen=True)
class Place:
    """Where ids stand, and the tables that hold them."""

    staged: sa.Table
    column: str
    #: The type of the column in staging.
    type: str
    steps: tuple[Step, ...]
    #: n, path, kind, id: an id of a staged row, and where it stands in it.
    ids: sa.Table
    #: n, at, path, kind, new: the ids that change, numbered in each row.
    turns: sa.Table
    #: n, old, new: of all rows, or of row n alone.
    pairs: sa.Table
    of_row: bool


class ReadIds(sa.Executable, sa.ClauseElement):
    """Fill `ids`."""

    inherit_cache = False

    def __init__(self, place: Place) -> None:
        self.place = place


class WriteIds(sa.Executable, sa.ClauseElement):
    """Put the new ids into the rows that stand in `turns`."""

    inherit_cache = False

    def __init__(self, place: Place) -> None:
        self.place = place


@compiles(ReadIds, "postgresql")
def _read_postgresql(element: ReadIds, compiler: SQLCompiler, **_: Any) -> str:
    place, joins, value = element.place, [], "s.v"
    for at, step in enumerate(element.place.steps):
        if step is None:
            array = f"CASE pg_catalog.json_typeof({value}) WHEN 'array' THEN {value} ELSE '[]' END"
            joins.append(f"CROSS JOIN LATERAL pg_catalog.json_array_elements({array}) AS e{at}(v)")
            value = f"e{at}.v"
        else:
            value = f"({value} -> {_literal(compiler, step)})"
    table, ids = (compiler.preparer.format_table(one) for one in (place.staged, place.ids))
    text = f"{place.column}::text"
    read = f"CASE WHEN {text} IS JSON THEN {text}::json END" if _knows(compiler) else f"{text}::json"
    return (
        f"INSERT INTO {ids} (n, path, kind, id) SELECT s.n, '', pg_catalog.json_typeof({value}), {value} #>> '{{}}'"
        f" FROM (SELECT n, {read} AS v FROM {table}) s {' '.join(joins)}"
        f" WHERE pg_catalog.json_typeof({value}) IN ('string', 'number')"
    )


@compiles(ReadIds, "sqlite")
def _read_sqlite(element: ReadIds, compiler: SQLCompiler, **_: Any) -> str:
    place, joins, path = element.place, [], "'$'"
    for at, step in enumerate(element.place.steps):
        if step is None:
            joins.append(f"JOIN json_each(s.v, {path}) AS e{at} ON json_type(s.v, {path}) = 'array'")
            path = f"e{at}.fullkey"
        else:
            more = f"[{step}]" if isinstance(step, int) else f'."{step}"'
            path = f"{path} || {_literal(compiler, more)}"
    table, ids = (compiler.preparer.format_table(one) for one in (place.staged, place.ids))
    kind = f"json_type(s.v, {path})"
    return (
        f"INSERT INTO {ids} (n, path, kind, id) SELECT s.n, {path}, {kind}, CAST(json_extract(s.v, {path}) AS text)"
        f" FROM (SELECT n, CASE WHEN json_valid({place.column}) THEN {place.column} ELSE 'null' END AS v FROM {table}) s"
        f" {' '.join(joins)} WHERE {kind} IN ('text', 'integer')"
    )


@compiles(WriteIds, "postgresql")
def _write_postgresql(element: WriteIds, compiler: SQLCompiler, **_: Any) -> str:
    place = element.place
    table, turns, pairs = (
        compiler.preparer.format_table(one) for one in (place.staged, place.turns, place.pairs)
    )
    mine = " AND x.n = s.n" if place.of_row else ""
    new = f"(SELECT x.new FROM {pairs} x WHERE x.old = %s #>> '{{}}'{mine} LIMIT 1)"
    value = _rebuilt("s.v", place.steps, 0, compiler, new)
    # As the value was written: with blanks, or without.
    comma, colon = (f"CASE WHEN s.spaced THEN '{one} ' ELSE '{one}' END" for one in (",", ":"))
    value = value.replace("<comma>", comma).replace("<colon>", colon)
    text = f"{place.column}::text"
    return (
        f"UPDATE {table} AS t SET {place.column} = ({value})::{place.type} FROM (SELECT n, {text}::json AS v,"
        f" pg_catalog.strpos({text}, '\": ') > 0 AS spaced FROM {table} WHERE n IN (SELECT n FROM {turns})) s WHERE s.n = t.n"
    )


def _rebuilt(value: str, steps: Sequence[Step], at: int, compiler: SQLCompiler, new: str) -> str:
    """The text of a JSON value with its ids exchanged."""
    if not steps:
        found = new.replace("%s", value)
        said = f"CASE pg_catalog.json_typeof({value}) WHEN 'string' THEN pg_catalog.to_json({found})::text ELSE {found} END"
        scalar = f"pg_catalog.json_typeof({value}) IN ('string', 'number')"
        return f"CASE WHEN {scalar} THEN coalesce({said}, {value}::text) ELSE {value}::text END"
    step, one = steps[0], f"e{at}"
    below = _rebuilt(f"{one}.v", steps[1:], at + 1, compiler, new)
    if isinstance(step, str):
        here = f"CASE WHEN {one}.k = {_literal(compiler, step)} THEN {below} ELSE {one}.v::text END"
        member = f"pg_catalog.to_json({one}.k)::text || <colon> || {here}"
        rows = f"pg_catalog.json_each({value}) WITH ORDINALITY AS {one}(k, v, at)"
        kind, ends = "object", "{}"
    else:
        only = "" if step is None else f"CASE WHEN {one}.at = {step + 1} THEN {below} ELSE {one}.v::text END"
        member, kind, ends = only or below, "array", "[]"
        rows = f"pg_catalog.json_array_elements({value}) WITH ORDINALITY AS {one}(v, at)"
    inside = f"SELECT pg_catalog.string_agg({member}, <comma> ORDER BY {one}.at) FROM {rows}"
    whole = f"'{ends[0]}' || coalesce(({inside}), '') || '{ends[1]}'"
    return f"CASE pg_catalog.json_typeof({value}) WHEN '{kind}' THEN {whole} ELSE {value}::text END"


@compiles(WriteIds, "sqlite")
def _write_sqlite(element: WriteIds, compiler: SQLCompiler, **_: Any) -> str:
    place = element.place
    table, turns = (compiler.preparer.format_table(one) for one in (place.staged, place.turns))
    # One id after the other goes into the value.
    return (
        f"UPDATE {table} AS t SET {place.column} = (WITH RECURSIVE done (at, v) AS (SELECT 0, t.{place.column} UNION ALL"
        " SELECT one.at, json_set(done.v, one.path, CASE one.kind WHEN 'text' THEN one.new ELSE CAST(one.new AS INTEGER) END)"
        f" FROM done JOIN {turns} AS one ON one.n = t.n AND one.at = done.at + 1)"
        f" SELECT v FROM done ORDER BY at DESC LIMIT 1) WHERE n IN (SELECT n FROM {turns})"
    )


class plain_json(FunctionElement[str]):
    """JSON without what is no difference: blanks, and in PostgreSQL the order of keys. Other text stays."""

    name = "plain_json"
    inherit_cache = True
    type = sa.Text()


@compiles(plain_json, "postgresql")
def _plain_postgresql(element: plain_json, compiler: SQLCompiler, **kw: Any) -> str:
    text = f"({compiler.process(element.clauses, **kw)})::text"
    return f"CASE WHEN {text} IS JSON THEN {text}::jsonb::text ELSE {text} END" if _knows(compiler) else text


@compiles(plain_json, "sqlite")
def _plain_sqlite(element: plain_json, compiler: SQLCompiler, **kw: Any) -> str:
    text = compiler.process(element.clauses, **kw)
    return f"CASE WHEN json_valid({text}) THEN json({text}) ELSE {text} END"


def _knows(compiler: SQLCompiler) -> bool:
    """IS JSON is of PostgreSQL 16. Before it, a text that is no JSON is an error."""
    version = compiler.dialect.server_version_info
    return version is not None and int(version[0]) >= 16


def _literal(compiler: SQLCompiler, value: str | int) -> str:
    return str(value) if isinstance(value, int) else str(compiler.render_literal_value(value, sa.String()))
