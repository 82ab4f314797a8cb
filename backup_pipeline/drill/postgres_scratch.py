"""Where a PostgreSQL drill restores to: a server, and a database on it that is ours alone and is dropped always."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg import sql

from backup_pipeline import embedded
from backup_pipeline.embedded import THROW_AWAY_SETTINGS, EmbeddedPostgres
from backup_pipeline.errors import ToolMissing
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.schema import Schema
from backup_pipeline.restore.postgres.failure import explained
from backup_pipeline.restore.postgres.target import Server, create_database, drop_database

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
        yield Place(Server.of(scratch_url, default="postgres"), private=False)
        return
    with EmbeddedPostgres.create(major=_nearest(manifest), settings=_SETTINGS, enclosed=True) as server:
        yield Place(Server.of(server.url()), private=True, findings=_not_enclosed(server))


def _not_enclosed(server: EmbeddedPostgres) -> tuple[Finding, ...]:
    if not server.not_enclosed:
        return ()
    files = (
        "what every account may read"
        if server.owns_nothing
        else "the files of the account that runs the drill"
    )
    return (
        Finding(
            "info",
            "drill-not-enclosed",
            f"the drill's server was not shut in ({server.not_enclosed}): code in the backup that breaks out of its"
            f" database reaches the network and {files}",
            remedy="run drills where the kernel gives namespaces: as root, or with user namespaces allowed",
        ),
    )


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
    """A new database under a random name. It is dropped whatever happens in here, Ctrl-C included."""
    server = where.server.with_database(PREFIX + secrets.token_hex(8))
    sweep(where.server, now)
    if where.private:
        _make_roles(where.server, schema)
    try:
        findings = create_database(server, schema.settings, comment=MARK + timestamp(now))
        yield server, findings
    finally:
        drop_database(server)


def sweep(server: Server, now: datetime) -> int:
    """Drop what killed drills left behind: only by our prefix, our mark, and older than a day."""
    dropped = 0
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
    """On a server of our own the roles cost nothing, and ownership and rights are proven with the rest. They are
    superusers, because only such a one can own an event trigger; nobody can log in as them."""
    with server.maintenance() as connection, explained("making the roles of the backup"):
        there = {row[0] for row in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
        for role in schema.roles:
            if role not in there and not role.startswith("pg_"):
                connection.execute(sql.SQL("CREATE ROLE {} SUPERUSER NOLOGIN").format(sql.Identifier(role)))
