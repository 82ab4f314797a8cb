"""SQL that PostgreSQL and SQLite write in two ways, as SQLAlchemy constructs that are compiled for each."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_PLAIN_TYPE = re.compile(r"(?:\w+(?: \w+)*(?: ?\(\d+(?:, ?\d+)?\))?)?", re.ASCII)


class Raw(sa.types.UserDefinedType[Any]):
    """A type as the engine spells it: `character varying(20)`, `public.citext`. Values pass as they are."""

    cache_ok = True

    def __init__(self, spelled: str) -> None:
        self.spelled = spelled

    def get_col_spec(self, **_: object) -> str:
        return self.spelled


@compiles(Raw, "sqlite")
def _raw_sqlite(type_: Raw, compiler: Any, **kw: Any) -> str:
    """SQLite takes any text for a type: `"x), y"` declares the type `x), y`. A quoted type means the same."""
    spelled = type_.spelled
    if _PLAIN_TYPE.fullmatch(spelled):
        return spelled
    return str(compiler.dialect.identifier_preparer.quote_identifier(spelled))


class content(FunctionElement[str]):
    """One text for the values of a row: two rows have the same text where all values are equal, NULL included."""

    name = "content"
    inherit_cache = True
    type = sa.Text()


@compiles(content, "postgresql")
def _content_postgresql(element: content, compiler: SQLCompiler, **kw: Any) -> str:
    return f"pg_catalog.md5(ROW({compiler.process(element.clauses, **kw)})::text)"


@compiles(content, "sqlite")
def _content_sqlite(element: content, compiler: SQLCompiler, **kw: Any) -> str:
    parts = [f"quote({compiler.process(one, **kw)})" for one in element.clauses]
    return "(" + " || ',' || ".join(parts) + ")" if parts else "''"


class as_text(FunctionElement[str]):
    """The value as text, for people and for keys of any type."""

    name = "as_text"
    inherit_cache = True
    type = sa.Text()


@compiles(as_text)
def _as_text(element: as_text, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS text)"


class of_type(FunctionElement[Any]):
    """A value that a rule gives as text, in the type of its column. SQLite converts it when it is stored."""

    name = "of_type"
    inherit_cache = False

    def __init__(self, value: str, kind: str) -> None:
        super().__init__(sa.literal(value, sa.Text()))
        self.kind = kind
        self.type = Raw(kind)


@compiles(of_type, "postgresql")
def _of_type_postgresql(element: of_type, compiler: SQLCompiler, **kw: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **kw)} AS {element.kind})"


@compiles(of_type, "sqlite")
def _of_type_sqlite(element: of_type, compiler: SQLCompiler, **kw: Any) -> str:
    return compiler.process(element.clauses, **kw)


class new_uuid(FunctionElement[str]):
    """A random UUID, as text with dashes."""

    name = "new_uuid"
    inherit_cache = True
    type = sa.Text()


@compiles(new_uuid, "postgresql")
def _new_uuid_postgresql(element: new_uuid, compiler: SQLCompiler, **kw: Any) -> str:
    return "pg_catalog.gen_random_uuid()::text"


@compiles(new_uuid, "sqlite")
def _new_uuid_sqlite(element: new_uuid, compiler: SQLCompiler, **kw: Any) -> str:
    halves = ("4", "2", "2", "2", "6")
    return "(" + " || '-' || ".join(f"lower(hex(randomblob({size})))" for size in halves) + ")"


class position_in(FunctionElement[int]):
    """Where the second text begins in the first one, from 1; 0: nowhere."""

    name = "position_in"
    inherit_cache = True
    type = sa.BigInteger()


@compiles(position_in, "postgresql")
def _position_in_postgresql(element: position_in, compiler: SQLCompiler, **kw: Any) -> str:
    return f"pg_catalog.strpos({compiler.process(element.clauses, **kw)})::bigint"


@compiles(position_in, "sqlite")
def _position_in_sqlite(element: position_in, compiler: SQLCompiler, **kw: Any) -> str:
    return f"instr({compiler.process(element.clauses, **kw)})"


def texts(columns: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[str]:
    """Key columns as one text for people: `7`, `7, 2`."""
    found: sa.ColumnElement[str] = sa.func.coalesce(as_text(columns[0]), "NULL")
    for column in columns[1:]:
        found = found.concat(", ").concat(sa.func.coalesce(as_text(column), "NULL"))
    return found


class InsertWithKeys(sa.Insert):
    """An INSERT … SELECT that writes the key of a row also where the database makes the keys (GENERATED ALWAYS)."""

    inherit_cache = True


@compiles(InsertWithKeys)
def _insert(element: InsertWithKeys, compiler: SQLCompiler, **kw: Any) -> str:
    return str(compiler.visit_insert(element, **kw))  # type: ignore[no-untyped-call]


@compiles(InsertWithKeys, "postgresql")
def _insert_postgresql(element: InsertWithKeys, compiler: SQLCompiler, **kw: Any) -> str:
    text = str(compiler.visit_insert(element, **kw))  # type: ignore[no-untyped-call]
    columns = ", ".join(compiler.preparer.quote(name) for name in element._select_names or ())
    head = f"INTO {compiler.preparer.format_table(element.table)} ({columns}) "
    before, found, after = text.partition(head)
    assert found, text
    return f"{before}{head}OVERRIDING SYSTEM VALUE {after}"
