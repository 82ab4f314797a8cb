"""Functions that name things without a schema, as `unaccent($1)`: they find them by the search_path that their sessions
had, and a restore has an empty one. What fails so is tried once more with the database's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backup_pipeline.model.schema import Schema
from backup_pipeline.restore.postgres.target import Connection

#: SQLSTATEs of a name that was not found.
NOT_FOUND = ("42883", "42P01", "42703", "42704", "3F000")
_NAME = re.compile(r'"((?:[^"]|"")+)"|([^",\s]+)')


@dataclass(frozen=True, slots=True)
class OwnPath:
    """The schemas before and behind the one that a table is in."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def at(self, schema: str) -> str:
        """As a value of search_path."""
        names = dict.fromkeys((*self.before, schema, *self.after))
        return ", ".join('"' + name.replace('"', '""') + '"' for name in names)


def own_path(schema: Schema, recorded: str | None = None) -> OwnPath:
    """`recorded`: the setting of the database that was backed up. Without one, a table's own schema comes first, as in a
    session of the application that made it."""
    extensions = dict.fromkeys(
        item.schema for item in schema.objects if item.kind == "extension" and item.schema
    )
    if recorded is None:
        return OwnPath((), ("public", *extensions))
    names = tuple(quoted.replace('""', '"') or plain for quoted, plain in _NAME.findall(recorded))
    return OwnPath(tuple(name for name in names if name != "$user"), tuple(extensions))


@contextmanager
def searching(connection: Connection, path: str) -> Iterator[None]:
    """A transaction, or a part of the one around it, with this search_path. A failure takes it back with the rest."""
    with connection.transaction():
        if path:
            connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
        yield
        if path:
            connection.execute("SELECT pg_catalog.set_config('search_path', '', true)")
