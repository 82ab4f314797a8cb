"""What the login may read, asked before anything is read; every missing right at once, as SQL to run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from backup_pipeline.databases.postgres.export import catalog, connect
from backup_pipeline.errors import PermissionMissing
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.selection import Selection

#: Why a table is left out that nothing in the configuration leaves out.
HOLLOW = "unlogged: a standby has none of its rows"


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
    #: Of a partition: the partitioned tables that it is a part of.
    roots: tuple[TableId, ...] = ()
    #: Unlogged, on a standby.
    hollow: bool = False

    def reason_to_leave_out(self, selection: Selection) -> str | None:
        if self.kind == "f":
            return "a foreign table: its rows live on another server, back them up there"
        if self.extension is not None:
            return f"belongs to the extension {self.extension}, which makes it and fills it"
        reason = _reason(selection, (self.id, *self.roots))
        return HOLLOW if reason is None and self.hollow else reason


def _reason(selection: Selection, names: Sequence[TableId]) -> str | None:
    """Who names a partitioned table means its rows, and those are in its partitions: each goes by all of its names."""
    excluding, including = Selection(exclude=selection.exclude), Selection(include=selection.include)
    for name in names:
        reason = excluding.reason_to_leave_out(name)
        if reason is not None:
            return reason
    if all(including.reason_to_leave_out(name) is not None for name in names):
        return including.reason_to_leave_out(names[0])
    asked = Selection(only=selection.only)
    return next(
        (None for name in names if asked.reason_to_leave_out(name) is None),
        asked.reason_to_leave_out(names[0]),
    )


@dataclass(frozen=True, slots=True)
class SequenceRight:
    oid: int
    id: TableId
    readable: bool
    schema_usable: bool


def candidates(connection: connect.Connection) -> list[Candidate]:
    with connect.explained("listing the tables", connection):
        found = connect.rows(connection, catalog.CANDIDATES)
    names = {row[0]: TableId(row[1], row[2]) for row in found}
    return [
        Candidate(
            oid=row[0],
            id=names[row[0]],
            kind=row[3],
            readable=row[4],
            filtered=row[5],
            extension=row[6],
            extension_config=row[7],
            schema_usable=row[8],
            roots=tuple(names[oid] for oid in row[9] if oid in names),
            hollow=row[10],
        )
        for row in found
    ]


def sequences(connection: connect.Connection) -> list[SequenceRight]:
    with connect.explained("listing the sequences", connection):
        found = connect.rows(connection, catalog.SEQUENCES)
    return [SequenceRight(row[13], TableId(row[0], row[1]), row[12], row[14]) for row in found if not row[18]]


def selected(found: Iterable[Candidate], selection: Selection) -> list[Candidate]:
    """Those that hold rows themselves and are wanted. A partitioned root holds none: its leaves do."""
    return [c for c in found if c.kind == "r" and c.reason_to_leave_out(selection) is None]


def hollow(found: Iterable[Candidate]) -> Iterator[Finding]:
    names = [str(candidate.id) for candidate in found if candidate.hollow and candidate.kind == "r"]
    if names:
        yield Finding.of("unlogged-on-standby", count=len(names), examples=names[:20])


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


def lesser_role(connection: connect.Connection) -> list[str]:
    """SQL that makes a login with the rights that a backup needs, and no more."""
    (database,) = connect.row(connection, "SELECT pg_catalog.current_database()")
    said = [
        "CREATE ROLE backup LOGIN PASSWORD '…';",
        f"GRANT CONNECT ON DATABASE {connect.quoted(connection, database)} TO backup;",
    ]
    if connection.server_version >= 140000:
        said.append("GRANT pg_read_all_data TO backup;")
    else:
        schemas = sorted({candidate.id.schema for candidate in candidates(connection)})
        for schema in (connect.quoted(connection, name) for name in schemas):
            said.append(f"GRANT USAGE ON SCHEMA {schema} TO backup;")
            for kind in ("TABLES", "SEQUENCES"):
                said.append(f"GRANT SELECT ON ALL {kind} IN SCHEMA {schema} TO backup;")
                said.append(f"ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON {kind} TO backup;")
    if connect.rows(connection, "SELECT FROM pg_catalog.pg_class c WHERE c.relrowsecurity LIMIT 1"):
        said.append("ALTER ROLE backup BYPASSRLS;")
    return [*said, "-- and name it in the database's address: postgresql://backup@…"]


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
    if unreadable and connection.server_version >= 140000:
        (user,) = connect.row(connection, "SELECT current_user")
        role = connect.quoted(connection, user)
        grants.append(
            f"-- or once for all tables, those that come later too: GRANT pg_read_all_data TO {role};"
        )
    raise PermissionMissing(
        "; ".join(problems),
        remedy="as an owner or superuser, run:\n" + "\n".join(grants) + "\nor exclude these tables",
    )


def _some(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
