"""The settings and rights of the database, given to the scratch database and compared. Last of all: they may keep
everybody out. Comment and owner are the drill's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from psycopg import sql

from backup_pipeline.databases.postgres.drill.rows import open_session
from backup_pipeline.databases.postgres.export.connect import explained as reading
from backup_pipeline.databases.postgres.export.database import read_database
from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.databases.postgres.restore.screening import without_passwords
from backup_pipeline.databases.postgres.restore.surroundings import apply, steps
from backup_pipeline.databases.postgres.restore.target import Server
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.databases.same_schema import Lenience
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Database, Right, Schema, Setting


def prove_surroundings(server: Server, schema: Schema, lenience: Lenience) -> tuple[Finding, ...]:
    if schema.database is None:
        return ()
    severity: Literal["error", "warning"] = "warning" if lenience.other_version else "error"
    some = [step for step in steps(server, schema, Terms(), None, created=False) if step.kind != "comment"]
    # A session from before: it is not bound by what is set now.
    before = open_session(server)
    try:
        with server.maintenance() as connection, explained("giving the database its settings and rights"):
            refused = list(apply(connection, iter(some)))
        with reading("reading the settings and rights of the database", before):
            found = read_database(before, server.database)
    finally:
        before.close()
        _open_again(server, schema.database)
    findings = [
        Finding.of(
            "database-differs", statement=without_passwords(left.sql), reason=left.reason, severity=severity
        )
        for _, left in refused
        if not (lenience.roles_missing and "role " in left.reason)
    ]
    excused = {step.item for step, _ in refused}
    findings += [
        Finding.of("database-differs/kind", how=how, what=what, severity=severity)
        for how, what in _differences(schema.database, found, excused)
    ]
    return tuple(findings)


def _differences(
    ours: Database, theirs: Database, excused: set[Right | Setting | None]
) -> Iterator[tuple[str, str]]:
    # Rights of the owner need no GRANT; the scratch database belongs to the drill.
    owners = (ours.owner, theirs.owner)
    mine: set[Right | Setting] = {
        *(right for right in ours.rights if right.role not in owners),
        *ours.settings,
    }
    mine -= excused
    other: set[Right | Setting] = {
        *(right for right in theirs.rights if right.role not in owners),
        *theirs.settings,
    }
    for item in sorted(mine - other, key=str):
        yield "lacks", _words(item)
    for item in sorted(other - mine, key=str):
        yield "has", _words(item)
    if ours.connection_limit != theirs.connection_limit:
        yield "has", f"the connection limit {theirs.connection_limit}, and not {ours.connection_limit}"


def _words(item: Right | Setting) -> str:
    """Without the value of a setting, which may be a secret."""
    if isinstance(item, Right):
        return f"the right {item.privilege} for {item.role or 'everybody'}"
    return f"the setting {item.name}{f' for {item.role}' if item.role else ''}"


def _open_again(server: Server, database: Database) -> None:
    """So that it can be dropped under any setting."""
    name = sql.Identifier(server.database)
    with server.maintenance() as connection, explained("taking the settings of the database back"):
        connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))
        connection.execute(sql.SQL("ALTER DATABASE {} CONNECTION LIMIT -1").format(name))
        there = {row[0] for row in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
        for role in {setting.role for setting in database.settings} & there:
            connection.execute(
                sql.SQL("ALTER ROLE {} IN DATABASE {} RESET ALL").format(sql.Identifier(role), name)
            )
