"""JSON as PostgreSQL and SQLite look into it: constructs that are compiled for each."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

#: Engine → how a place in JSON is written: its beginning, a name, and what stands around the number of an element.
JSON_PLACES = {"postgres": ("", ',"{}"', ",", ""), "sqlite": ("$", '."{}"', "[", "]")}


class json_valid(FunctionElement[bool]):
    """Whether the value is an object or an array."""

    name = "json_valid"
    inherit_cache = True
    type = sa.Boolean()


class json_text(FunctionElement[str]):
    """(value, place): what stands there, as text."""

    name = "json_text"
    inherit_cache = True
    type = sa.Text()


class json_kind(FunctionElement[str]):
    """(value, place): the kind of what stands there, in the words of the engine."""

    name = "json_kind"
    inherit_cache = True
    type = sa.Text()


class json_length(FunctionElement[int]):
    """(value, place): the number of elements of an array."""

    name = "json_length"
    inherit_cache = True
    type = sa.BigInteger()


class json_with(FunctionElement[str]):
    """(value, place, JSON): the value with this JSON at the place."""

    name = "json_with"
    inherit_cache = True
    type = sa.Text()


def _json_parts(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> list[str]:
    value, *rest = (compiler.process(one, **kw) for one in element.clauses)
    return [
        f"({value})::text::jsonb",
        *(f"('{{' || substr({rest[0]}, 2) || '}}')::text[]" for _ in rest[:1]),
        *rest[1:],
    ]


@compiles(json_valid, "postgresql")
def _json_valid_postgresql(element: json_valid, compiler: SQLCompiler, **kw: Any) -> str:
    return rf"(({compiler.process(element.clauses, **kw)})::text ~ '^\s*[[{{]')"


@compiles(json_text, "postgresql")
def _json_text_postgresql(element: json_text, compiler: SQLCompiler, **kw: Any) -> str:
    value, place = _json_parts(element, compiler, **kw)
    return f"({value} #>> {place})"


@compiles(json_kind, "postgresql")
def _json_kind_postgresql(element: json_kind, compiler: SQLCompiler, **kw: Any) -> str:
    value, place = _json_parts(element, compiler, **kw)
    return f"jsonb_typeof({value} #> {place})"


@compiles(json_length, "postgresql")
def _json_length_postgresql(element: json_length, compiler: SQLCompiler, **kw: Any) -> str:
    value, place = _json_parts(element, compiler, **kw)
    array = f"{value} #> {place}"
    return f"(CASE WHEN jsonb_typeof({array}) = 'array' THEN jsonb_array_length({array}) END)"


@compiles(json_with, "postgresql")
def _json_with_postgresql(element: json_with, compiler: SQLCompiler, **kw: Any) -> str:
    value, place, new = _json_parts(element, compiler, **kw)
    return f"jsonb_set({value}, {place}, ({new})::jsonb)::text"


_JSON_SQLITE = {
    "json_valid": "json_valid({0})",
    "json_text": "CAST(json_extract({0}, {1}) AS text)",
    "json_kind": "json_type({0}, {1})",
    "json_length": "json_array_length({0}, {1})",
    "json_with": "json_set({0}, {1}, json({2}))",
}


@compiles(json_valid, "sqlite")
@compiles(json_text, "sqlite")
@compiles(json_kind, "sqlite")
@compiles(json_length, "sqlite")
@compiles(json_with, "sqlite")
def _json_sqlite(element: FunctionElement[Any], compiler: SQLCompiler, **kw: Any) -> str:
    return _JSON_SQLITE[element.name].format(*(compiler.process(one, **kw) for one in element.clauses))
