"""When are two values equal that are given as row text? By the types of their columns, and never too sure.

Equal values of most types have equal text. The exceptions (1.0 and 1 as numeric, padded characters, negative zero)
are normalised; types whose equality only the engine knows (citext, jsonb, interval, ranges, extension types, collations
that ignore case) are compared as text and marked uncertain: a match proves equality, a mismatch proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from backup_pipeline.model.schema import Column, Schema

#: How values are brought into one form before they are compared.
Form = Literal["integer", "text", "decimal", "float", "padded"]

_INTEGERS = frozenset({"smallint", "integer", "bigint"})
_TEXTS = frozenset({"text", "character varying", "name"})
_FLOATS = frozenset({"real", "double precision"})
_PLAIN = frozenset(
    {
        "uuid",
        "boolean",
        "date",
        "time without time zone",
        "timestamp without time zone",
        "timestamp with time zone",
        "bytea",
        "inet",
        "cidr",
        "macaddr",
        "macaddr8",
        "bit",
        "bit varying",
        "money",
        "oid",
        "pg_lsn",
        "xid8",
        '"char"',
    }
)
_DOMAIN = re.compile(
    r"CREATE DOMAIN .+? AS (?P<base>.+?)(?P<collate> COLLATE .+?)?(?: DEFAULT .*| NOT NULL.*| CONSTRAINT .*| CHECK .*|;.*)?",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Comparison:
    form: Form
    #: False: a mismatch may still be a match for the engine.
    certain: bool


@dataclass(frozen=True)
class Types:
    """What a schema says of the types of its columns."""

    schema: Schema

    def compare(self, child: Column, parent: Column) -> Comparison:
        one, sure = self._base(child)
        other, sure_too = self._base(parent)
        certain = sure and sure_too
        if {one, other} <= _INTEGERS:
            return Comparison("integer", certain)
        if {one, other} <= _INTEGERS | {"numeric"}:
            return Comparison("decimal", certain)
        if {one, other} <= _TEXTS:
            return Comparison("text", certain)
        if "character" in (one, other) and {one, other} <= _TEXTS | {"character"}:
            return Comparison("padded", certain and one == other)
        if one == other:
            if one in _FLOATS:
                return Comparison("float", certain)
            return Comparison("text", certain and (one in _PLAIN or one in self._enums))
        if {one, other} <= _FLOATS | _INTEGERS | {"numeric"}:
            return Comparison("decimal", certain=False)
        return Comparison("text", certain=False)

    def base(self, column: Column) -> str:
        """The type under the domains, without its modifiers: "numeric(10,2)" is "numeric"."""
        return self._base(column)[0]

    def labels(self, column: Column) -> tuple[str, ...] | None:
        """The values of an enum, in their order; None for another type."""
        return self._enums.get(self._base(column)[0])

    def _base(self, column: Column) -> tuple[str, bool]:
        # A collation that somebody made may say that two different texts are equal.
        sure = column.collation is None or column.collation.startswith("pg_catalog.")
        name = column.type
        for _ in range(32):  # domains over domains; a loop is not possible in a real schema
            found = self._domains.get(_bare(name))
            if found is None:
                break
            name, plain_collation = found
            sure = sure and plain_collation
        return _bare(name), sure

    @cached_property
    def _domains(self) -> Mapping[str, tuple[str, bool]]:
        found = {}
        for item in self.schema.objects:
            if item.kind == "domain" and (match := _DOMAIN.fullmatch(item.definition)):
                collate = match["collate"] or ""
                base = match["base"], not collate or "pg_catalog." in collate
                found.update(dict.fromkeys(_spellings(item.schema, item.name), base))
        return found

    @cached_property
    def _enums(self) -> Mapping[str, tuple[str, ...]]:
        found = {}
        for item in self.schema.objects:
            if item.kind == "enum":
                labels = tuple(
                    text.replace("''", "'")
                    for text in re.findall(r"'((?:[^']|'')*)'", item.definition.partition(" AS ENUM ")[2])
                )
                found.update(dict.fromkeys(_spellings(item.schema, item.name), labels))
        return found


def _bare(name: str) -> str:
    """Without modifiers: "timestamp(3) without time zone", "character varying(20)[]"."""
    if '"' in name:
        # A quoted name may hold a bracket; what stands behind the quote may be a modifier.
        head, quote, tail = name.rpartition('"')
        return head + quote + re.sub(r"\([^)]*\)", "", tail)
    return re.sub(r"\([^)]*\)", "", name)


def _spellings(schema: str | None, name: str) -> tuple[str, ...]:
    """A type as the catalog may write it: quoted or not, and with or without its schema."""
    names = (name, _quoted(name))
    schemas = ("",) if schema is None else (f"{schema}.", f"{_quoted(schema)}.")
    return tuple(prefix + spelling for prefix in schemas for spelling in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
