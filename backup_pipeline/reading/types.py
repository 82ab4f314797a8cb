"""What a PostgreSQL schema says of the types of its columns: the type under a domain, the labels of an enum.

The schema keeps a type as the engine writes it (`numeric(10,2)`, `public."Order status"[]`) and every user's definition
as the engine's own SQL; this is the one place that reads either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from backup_pipeline.model.schema import Column, Schema

_DOMAIN = re.compile(
    r"CREATE DOMAIN .+? AS (?P<base>.+?)(?P<collate> COLLATE .+?)?(?: DEFAULT .*| NOT NULL.*| CONSTRAINT .*| CHECK .*|;.*)?",
    re.DOTALL,
)


#: Behind the type, and before the first constraint: no text of a user stands in between but a default.
_NOT_NULL = re.compile(r"^CREATE DOMAIN (?:(?! CONSTRAINT ).)*? NOT NULL(?: CONSTRAINT |;)", re.DOTALL)

#: As quote_literal writes them: E in front, and backslashes twice, where there is one.
_LITERAL = re.compile(r"(E?)'((?:[^']|'')*)'")


@dataclass(frozen=True)
class Types:
    schema: Schema

    def base(self, column: Column) -> str:
        """The type under the domains, without its modifiers: "numeric(10,2)" is "numeric"."""
        return self.base_and_collation(column)[0]

    def full(self, column: Column) -> str:
        """The type under the domains, with its modifiers."""
        return self._resolved(column.type)[0]

    def forbids_null(self, column: Column) -> bool:
        """The column is of a domain that is NOT NULL, or over one."""
        name = column.type
        for _ in range(32):
            bare = _bare(name)
            if bare not in self._domains:
                return False
            if bare in self._filled:
                return True
            name = self._domains[bare][0]
        return False

    def labels(self, column: Column) -> tuple[str, ...] | None:
        """The values of an enum, in their order; None for another type."""
        return self._enums.get(self.base_and_collation(column)[0])

    def base_and_collation(self, column: Column) -> tuple[str, bool]:
        """The base type, and whether its equality is surely that of its bytes, as far as collations go."""
        # A collation of a user may say that two different texts are equal.
        sure = column.collation is None or column.collation.startswith("pg_catalog.")
        name, plain_collation = self._resolved(column.type)
        return _bare(name), sure and plain_collation

    def _resolved(self, name: str) -> tuple[str, bool]:
        sure = True
        for _ in range(32):  # domains over domains; a loop is not possible in a real schema
            found = self._domains.get(_bare(name))
            if found is None:
                break
            name, plain_collation = found
            sure = sure and plain_collation
        return name, sure

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
    def _filled(self) -> frozenset[str]:
        return frozenset(
            spelling
            for item in self.schema.objects
            if item.kind == "domain" and _NOT_NULL.search(item.definition)
            for spelling in _spellings(item.schema, item.name)
        )

    @cached_property
    def _enums(self) -> Mapping[str, tuple[str, ...]]:
        found = {}
        for item in self.schema.objects:
            if item.kind == "enum":
                labels = tuple(
                    _literal(prefix, text)
                    for prefix, text in _LITERAL.findall(item.definition.partition(" AS ENUM ")[2])
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


def _literal(prefix: str, text: str) -> str:
    text = text.replace("''", "'")
    return text.replace("\\\\", "\\") if prefix else text


def _spellings(schema: str | None, name: str) -> tuple[str, ...]:
    """A type as the catalog may write it: quoted or not, and with or without its schema."""
    names = (name, _quoted(name))
    schemas = ("",) if schema is None else (f"{schema}.", f"{_quoted(schema)}.")
    return tuple(prefix + spelling for prefix in schemas for spelling in names)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
