"""Functions that name things without a schema, as `unaccent($1)`: they find them by the search_path that their sessions
had, and a restore has an empty one. What fails so is tried once more with the database's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from backup_pipeline.databases.postgres.restore.target import Connection
from backup_pipeline.model import search_path
from backup_pipeline.model.schema import Schema

#: SQLSTATEs of a name that was not found.
NOT_FOUND = ("42883", "42P01", "42703", "42704", "3F000")


@dataclass(frozen=True, slots=True)
class OwnPath:
    """The schemas before and behind the one that a table is in."""

    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    def at(self, schema: str) -> str:
        """As a value of search_path."""
        names = dict.fromkeys((*self.before, schema, *self.after))
        return ", ".join('"' + name.replace('"', '""') + '"' for name in names)


def own_path(schema: Schema) -> OwnPath:
    """Without a recorded one, a table's own schema comes first, as in a session of the application that made it."""
    names, extensions = search_path.recorded(schema), search_path.of_extensions(schema)
    return OwnPath((), ("public", *extensions)) if names is None else OwnPath(names, extensions)


@contextmanager
def searching(connection: Connection, path: str) -> Iterator[None]:
    """A transaction, or a part of the one around it, with this search_path. A failure takes it back with the rest."""
    with connection.transaction():
        if path:
            connection.execute("SELECT pg_catalog.set_config('search_path', %s, true)", (path,))
        yield
        if path:
            connection.execute("SELECT pg_catalog.set_config('search_path', '', true)")
