"""What the login may read, asked before anything is read; every missing right at once, as SQL to run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from backup_pipeline.errors import PermissionMissing
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import Selection
from backup_pipeline.sources.postgres import catalog, connect


@dataclass(frozen=True, slots=True)
class Candidate:
    """A table that a backup could take."""

    oid: int
    id: TableId
    #: r, p or f, as in pg_class
    kind: str
    readable: bool
    filtered: bool
    extension: str | None
    #: The extension says that its users keep rows of their own in it.
    extension_config: bool
    schema_usable: bool

    def reason_to_leave_out(self, selection: Selection) -> str | None:
        if self.kind == "f":
            return "a foreign table: its rows live on another server, back them up there"
        if self.extension is not None:
            return f"belongs to the extension {self.extension}, which makes it and fills it"
        return selection.reason_to_leave_out(self.id)


@dataclass(frozen=True, slots=True)
class SequenceRight:
    oid: int
    id: TableId
    readable: bool
    schema_usable: bool


def candidates(connection: connect.Connection) -> list[Candidate]:
    with connect.explained("listing the tables", connection):
        found = connect.rows(connection, catalog.CANDIDATES)
    return [
        Candidate(row[0], TableId(row[1], row[2]), row[3], row[4], row[5], row[6], row[7], row[8])
        for row in found
    ]


def sequences(connection: connect.Connection) -> list[SequenceRight]:
    with connect.explained("listing the sequences", connection):
        found = connect.rows(connection, catalog.SEQUENCES)
    return [SequenceRight(row[13], TableId(row[0], row[1]), row[12], row[14]) for row in found]


def selected(found: Iterable[Candidate], selection: Selection) -> list[Candidate]:
    """Those that hold rows themselves and are wanted. A partitioned root holds none: its leaves do."""
    return [c for c in found if c.kind == "r" and c.reason_to_leave_out(selection) is None]


def missing_grants(
    connection: connect.Connection, tables: Sequence[Candidate], sequences: Sequence[SequenceRight]
) -> list[str]:
    """SQL that would make everything readable."""
    (user,) = connect.row(connection, "SELECT current_user")
    role = connect.quoted(connection, user)
    schemas = {c.id.schema for c in tables if not c.schema_usable}
    schemas |= {s.id.schema for s in sequences if not s.schema_usable}
    grants = [
        f"GRANT USAGE ON SCHEMA {connect.quoted(connection, schema)} TO {role};" for schema in sorted(schemas)
    ]
    for candidate in tables:
        if not candidate.readable:
            name = connect.quoted(connection, candidate.id.schema, candidate.id.name)
            grants.append(f"GRANT SELECT ON TABLE {name} TO {role};")
    for sequence in sequences:
        if not sequence.readable:
            name = connect.quoted(connection, sequence.id.schema, sequence.id.name)
            grants.append(f"GRANT SELECT ON SEQUENCE {name} TO {role};")
    if any(candidate.filtered for candidate in tables):
        grants.append(f"ALTER ROLE {role} BYPASSRLS;")
    return grants


def require(
    connection: connect.Connection, tables: Sequence[Candidate], sequences: Sequence[SequenceRight]
) -> None:
    unreadable = [str(c.id) for c in tables if not c.readable]
    unreadable += [str(s.id) for s in sequences if not s.readable]
    filtered = [str(c.id) for c in tables if c.filtered]
    if not unreadable and not filtered:
        return
    problems = []
    if unreadable:
        problems.append(f"no right to read {_some(unreadable)}")
    if filtered:
        problems.append(f"row-level security would hide rows of {_some(filtered)}")
    grants = missing_grants(connection, tables, sequences)
    raise PermissionMissing(
        "; ".join(problems),
        remedy="as an owner or superuser, run:\n" + "\n".join(grants) + "\nor exclude these tables",
    )


def _some(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
