"""Where a PostgreSQL drill restores to: a server, and a database on it that is ours alone and is dropped always."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import LiteralString

from psycopg import sql

from backup_pipeline.databases.postgres import server as embedded
from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.databases.postgres.restore.target import Server, create_database, drop_database
from backup_pipeline.databases.postgres.server import THROW_AWAY_SETTINGS, EmbeddedPostgres
from backup_pipeline.errors import ToolMissing
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.schema import Schema

PREFIX = "bp_drill_"
MARK = "scratch database of a backup_pipeline drill, begun "
#: A drill that still runs after a day was killed.
LEFT_BEHIND = timedelta(days=1)

_SETTINGS = {
    **THROW_AWAY_SETTINGS,
    "autovacuum": "off",
    "max_wal_size": "4GB",
    # For definitions of a few thousand tables in one transaction.
    "max_locks_per_transaction": "512",
    "shared_buffers": "256MB",
}


@dataclass(frozen=True)
class Place:
    server: Server
    #: Ours alone: roles may be made on it.
    private: bool
    #: What does not hold there against code of the source.
    findings: tuple[Finding, ...] = ()


@contextmanager
def place(manifest: Manifest, scratch_url: str | None) -> Iterator[Place]:
    if scratch_url is not None:
        given = Server.of(scratch_url, default="postgres")
        yield Place(given, private=False, findings=(_as_login(given),))
        return
    with EmbeddedPostgres.create(major=_nearest(manifest), settings=_SETTINGS, enclosed=True) as server:
        yield Place(_two_logins(server), private=True, findings=_not_enclosed(server))


def _not_enclosed(server: EmbeddedPostgres) -> tuple[Finding, ...]:
    if not server.not_enclosed:
        return ()
    files = (
        "what every account may read"
        if server.owns_nothing
        else "the files of the account that runs the drill"
    )
    return (Finding.of("drill-not-enclosed/private", not_enclosed=server.not_enclosed, files=files),)


def _as_login(server: Server) -> Finding:
    """A server of the user's: what its login may do, code in the backup may do."""
    with server.maintenance() as connection:
        row = connection.execute(
            "SELECT rolname, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user"
        ).fetchone()
    assert row is not None
    login = f"{row[0]}, a superuser" if row[1] else row[0]
    return Finding.of("drill-not-enclosed", server=server.address, login=login)


def _two_logins(private: EmbeddedPostgres) -> Server:
    """An ordinary login for everything in which code of the source may run, and the superuser that serves it."""
    superuser = Server.of(private.url())
    name, password = f"bp_{secrets.token_hex(8)}", secrets.token_hex(24)
    with superuser.maintenance() as connection:
        # It reads all rows, as the superuser would: those under row level security, too.
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN BYPASSRLS PASSWORD {}").format(sql.Identifier(name), password)
        )
    ordinary = {**superuser.parameters, "user": name, "password": password}
    return replace(superuser, parameters=ordinary, superuser=superuser.parameters)


def major_of(version: str) -> int:
    head = version.split(".")[0].split(" ")[0]
    return int(head) if head.isdigit() else 0


def _nearest(manifest: Manifest) -> int:
    """The same major version, else the next newer one: never an older one."""
    wanted = major_of(manifest.engine.version)
    available = embedded.servers()
    usable = [major for major in available if major >= wanted]
    if not usable:
        have = ", ".join(map(str, sorted(available))) or "none"
        raise ToolMissing(
            f"a drill of this backup needs a PostgreSQL {wanted} server or a newer one; on this machine: {have}",
            remedy=f"install PostgreSQL {wanted}, or name a server on which a scratch database may be made: --scratch URL",
        )
    return min(usable)


@contextmanager
def scratch_database(
    where: Place, schema: Schema, now: datetime
) -> Iterator[tuple[Server, tuple[Finding, ...]]]:
    """A new database under a random name. It is dropped at every end, Ctrl-C included."""
    server = where.server.with_database(PREFIX + secrets.token_hex(8))
    sweep(where.server, now)
    if where.private:
        _make_roles(where.server.by_superuser, schema)
    try:
        findings = create_database(server.by_superuser, schema.settings, comment=MARK + timestamp(now))
        if where.private:
            _give(server)
        yield server, findings
    finally:
        # A private server goes as a whole. DROP DATABASE would first write every row to the disk, in a checkpoint.
        if not where.private:
            drop_database(server.by_superuser)


def _give(server: Server) -> None:
    with server.by_superuser.maintenance() as connection:
        database, login = sql.Identifier(server.database), sql.Identifier(server.parameters["user"])
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, login))


_ROUTINES: LiteralString = """
SELECT pg_catalog.format('GRANT EXECUTE ON ROUTINE %%s TO %%I', p.oid::pg_catalog.regprocedure, %s::text) FROM pg_catalog.pg_proc p
 WHERE p.oid >= 16384 AND NOT pg_catalog.has_function_privilege(%s::text, p.oid, 'EXECUTE')
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e' AND d.objid = p.oid
                      AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
"""


def open_to_login(server: Server) -> None:
    """After owners and rights were restored (and compared): the login that compares rows and writes may do so again."""
    if server.superuser is None:
        return
    with server.by_superuser.open() as connection, explained("giving the drill's login its rights"):
        schemas = connection.execute(
            "SELECT nspname FROM pg_catalog.pg_namespace"
            " WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
        ).fetchall()
        for (name,) in schemas:
            schema, login = sql.Identifier(name), sql.Identifier(server.parameters["user"])
            connection.execute(sql.SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, login))
            for things in ("TABLES", "SEQUENCES"):
                connection.execute(
                    sql.SQL("GRANT ALL ON ALL " + things + " IN SCHEMA {} TO {}").format(schema, login)
                )
        for (text,) in connection.execute(_ROUTINES, (server.parameters["user"],) * 2).fetchall():
            connection.execute(text)


def sweep(server: Server, now: datetime) -> int:
    """Drop what killed drills left behind: only by our prefix, our mark, and older than a day."""
    dropped = 0
    server = server.by_superuser
    with server.maintenance() as connection, explained("looking for databases of killed drills"):
        found = connection.execute(
            "SELECT datname, pg_catalog.shobj_description(oid, 'pg_database') FROM pg_catalog.pg_database"
            " WHERE pg_catalog.starts_with(datname, %s)",
            (PREFIX,),
        ).fetchall()
    for name, comment in found:
        begun = _begun(comment)
        if begun is not None and now - begun > LEFT_BEHIND:
            drop_database(server.with_database(name))
            dropped += 1
    return dropped


def _begun(comment: str | None) -> datetime | None:
    if comment is None or not comment.startswith(MARK):
        return None
    try:
        return parse_timestamp(comment.removeprefix(MARK))
    except ValueError:
        return None


def _make_roles(server: Server, schema: Schema) -> None:
    """On a server of our own the roles cost nothing, and ownership and rights are proven with the rest. They have no
    rights, also those that have them in the source (`postgres` is an ordinary role here), and are members of nothing."""
    with server.maintenance() as connection, explained("making the roles of the backup"):
        there = {row[0] for row in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
        for role in schema.roles:
            if role not in there and not role.startswith("pg_"):
                connection.execute(sql.SQL("CREATE ROLE {} NOSUPERUSER NOLOGIN").format(sql.Identifier(role)))
