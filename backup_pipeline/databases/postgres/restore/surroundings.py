"""What a database has besides its objects (settings, rights, comment, owner), and its roles, on the target.

Settings come last of all: a database that is read-only for every session, or that takes two connections, could not be
restored. Each statement stands for itself: what the login may not say is part of the remainder, and the rows stay.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.export.database import read_database
from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.restore.definitions import Facts, raw
from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.screening import without_passwords
from backup_pipeline.databases.postgres.restore.target import Connection, Server
from backup_pipeline.databases.postgres.restore.terms import Terms
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Database, Right, Schema
from backup_pipeline.vault.surroundings import Step, database_steps, role_statements


def close(server: Server, schema: Schema) -> None:
    """A new database lets everybody in. One that did not must not stand open while it is filled."""
    if schema.database is None or any(
        not right.role and right.privilege == "CONNECT" for right in schema.database.rights
    ):
        return
    with server.maintenance() as connection, explained(f"closing {server.address} to everybody"):
        connection.execute(
            sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(server.database))
        )


def steps(
    server: Server, schema: Schema, terms: Terms, there: Database | None, *, created: bool
) -> Iterator[Step]:
    """What is not so already (`there`; None: nothing is known). Whose a database is that was there before, its owner has
    decided; and what was taken from everybody stays taken."""
    if schema.database is None or not terms.surroundings:
        return
    wanted, has = schema.database, there or Database("")
    known: set[object] = {*has.rights, *has.settings}
    open_to_all = {right for right in has.rights if not right.role}
    closes = there is None or not open_to_all <= set(wanted.rights)
    done = {
        "close": not closes,
        "limit": wanted.connection_limit == has.connection_limit,
        "comment": has.comment is not None,
        "owner": not created or not terms.owner or wanted.owner == has.owner,
    }
    for step in database_steps(wanted, sql.Identifier(server.database).as_string()):
        if done.get(step.kind) or step.item in (known - open_to_all if closes else known):
            continue
        # Rights of the owner need no GRANT. (An empty text is PUBLIC, and no owner.)
        if isinstance(step.item, Right) and (not terms.privileges or step.item.role == (has.owner or None)):
            continue
        # A library that the server loads into each session is code.
        if step.kind == "setting" and not terms.code and "preload_libraries" in step.sql:
            continue
        yield step


def apply(connection: Connection, some: Iterator[Step]) -> Iterator[tuple[Step, Left]]:
    """What was refused. In autocommit mode."""
    for step in some:
        left = _run(connection, step.sql)
        if left is not None:
            yield step, left


@contextmanager
def around(
    server: Server, schema: Schema, terms: Terms, *, created: bool, dry_run: bool
) -> Iterator[list[Left]]:
    """A restore: the roles are made before it, and dropped again when it fails; the surroundings come after it. What was
    refused is in the list, in the end."""
    left: list[Left] = []
    made: tuple[str, ...] = ()
    if terms.roles and not dry_run:
        with server.maintenance() as connection:
            made = _make_roles(connection, schema, left)
    try:
        yield left
    except BaseException:
        _drop_roles(server, made)
        raise
    if not dry_run:
        with server.maintenance() as connection:
            with explained("reading the settings and rights of the database"):
                there = read_database(connection, server.database)
            some = steps(server, schema, terms, there, created=created)
            left += [one for _, one in apply(connection, some)]


def _run(connection: Connection, text: str) -> Left | None:
    try:
        connection.execute(raw(text))
        return None
    except psycopg.Error as error:
        if connection.broken:
            raise
        return Left(told(error)[0], text)


# ── roles


def missing_roles(schema: Schema, facts: Facts) -> tuple[str, ...]:
    return tuple(role.name for role in schema.role_definitions if role.name not in facts.roles)


def roles_foreseen(schema: Schema, facts: Facts, terms: Terms) -> Iterator[Finding]:
    missing = missing_roles(schema, facts)
    if not missing:
        return
    names = ", ".join(missing[:10]) + (f" and {len(missing) - 10} more" if len(missing) > 10 else "")
    statements = tuple(
        f"{without_passwords(text)};" for text in role_statements(schema.role_definitions, missing)
    )
    if terms.roles:
        said = "are made as they were, without passwords"
        yield Finding.of("roles-made", how=said, roles=names, examples=statements)
    else:
        yield Finding.of("roles-as-they-were", roles=names, examples=statements)


def _make_roles(connection: Connection, schema: Schema, left: list[Left]) -> tuple[str, ...]:
    facts = Facts.of(connection)
    missing = missing_roles(schema, facts)
    for text in role_statements(schema.role_definitions, missing):
        refused = _run(connection, text)
        left += [refused] if refused is not None else []
    there = {row[0] for row in connection.execute("SELECT rolname FROM pg_catalog.pg_roles")}
    made = tuple(name for name in missing if name in there)
    for name in () if facts.superuser else made:
        # Before version 16, who makes a role may not give it anything.
        _run(connection, sql.SQL("GRANT {} TO CURRENT_USER").format(sql.Identifier(name)).as_string())
    return made


def _drop_roles(server: Server, roles: tuple[str, ...]) -> None:
    """A role that is used meanwhile stays."""
    if not roles:
        return
    with server.maintenance() as connection:
        for role in roles:
            _run(connection, sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)).as_string())
