"""Which table a type means, where a column holds the name of a class: `Comment` is `comments`, as Rails names them.

A table gets every name that its class may have. A name too many harms nothing: no row holds it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from backup_pipeline.model.schema import Table

#: Plural → singular, as Rails' inflections have them. An ending stands for all words that end so.
_ENDINGS = (
    ("ies", "y"), ("ves", "f"), ("ves", "fe"), ("ices", "ex"), ("ices", "ix"), ("ses", "sis"), ("xes", "x"),
    ("zzes", "z"), ("es", ""), ("s", ""), ("a", "um"), ("a", "on"), ("i", "us"), ("people", "person"),
    ("children", "child"), ("men", "man"), ("mice", "mouse"), ("oxen", "ox"), ("", ""),
)  # fmt: skip


def spelled_tables(tables: Iterable[Table], spelled: str, beside: str) -> dict[str, str]:
    """Name → table. A table in the schema `beside` goes before one of the same name elsewhere."""
    found: dict[str, str] = {}
    for table in sorted(tables, key=lambda one: one.id.schema != beside):
        for name in _names_of(table.id.name, spelled):
            found.setdefault(name, str(table.id))
    return found


def _names_of(table: str, spelled: str) -> Iterator[str]:
    if "{Class}" not in spelled:
        return
    words = table.split("_")
    for plural, singular in _ENDINGS:
        if words[-1].endswith(plural):
            stem = words[-1].removesuffix(plural) + singular
            parts = [part.capitalize() for part in (*words[:-1], stem) if part]
            # A class in a module: admin_users is AdminUser or Admin::User.
            plain = [("",) * (len(parts) - 1)]
            for joints in product(("", "::"), repeat=len(parts) - 1) if len(parts) <= 5 else plain:
                yield spelled.replace(
                    "{Class}", "".join(a + b for a, b in zip(parts, (*joints, ""), strict=True))
                )
