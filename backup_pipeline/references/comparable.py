"""When are two values equal that are given as row text? By the types of their columns, and never too sure.

Equal values of most types have equal text. The exceptions (1.0 and 1 as numeric, padded characters, negative zero)
are normalised; types whose equality only the engine knows (citext, jsonb, interval, ranges, extension types, collations
that ignore case) are compared as text and marked uncertain: a match proves equality, a mismatch proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from backup_pipeline.model.schema import Column
from backup_pipeline.reading.types import Types

#: How values are brought into one form before they are compared.
Form = Literal["integer", "text", "decimal", "float", "padded"]

INTEGERS = frozenset({"smallint", "integer", "bigint"})
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


@dataclass(frozen=True, slots=True)
class Comparison:
    form: Form
    #: False: a mismatch may still be a match for the engine.
    certain: bool


def compare(types: Types, child: Column, parent: Column) -> Comparison:
    one, sure = types.base_and_collation(child)
    other, sure_too = types.base_and_collation(parent)
    certain = sure and sure_too
    if {one, other} <= INTEGERS:
        return Comparison("integer", certain)
    if {one, other} <= INTEGERS | {"numeric"}:
        return Comparison("decimal", certain)
    if {one, other} <= _TEXTS:
        return Comparison("text", certain)
    if "character" in (one, other) and {one, other} <= _TEXTS | {"character"}:
        return Comparison("padded", certain and one == other)
    if one == other:
        if one in _FLOATS:
            return Comparison("float", certain)
        return Comparison("text", certain and (one in _PLAIN or types.labels(child) is not None))
    if {one, other} <= _FLOATS | INTEGERS | {"numeric"}:
        return Comparison("decimal", certain=False)
    return Comparison("text", certain=False)
