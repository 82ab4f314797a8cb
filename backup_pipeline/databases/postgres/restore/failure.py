"""What the driver's errors mean to a restore: an error of ours, with the statement and with what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.restore.screening import without_passwords
from backup_pipeline.errors import RestoreError

_RIGHTS = "42501"
_REMEDIES = {
    _RIGHTS: "connect as a superuser; or say --no-owner --no-privileges; or --keep-going, which lists what it may not make",
    "53200": "raise max_locks_per_transaction on the target and restart it, or restore with more than one job",
    "53100": "the target's disk is full: make room, and restore again",
    "53300": "raise max_connections on the target, or restore with fewer jobs",
    "0A000": "the target was built without something that the backup uses: restore to a server like the one backed up",
    "22P05": "the target's encoding cannot hold this text: make the database with the backup's encoding (--create)",
    "22021": "the target's encoding cannot hold this text: make the database with the backup's encoding (--create)",
    "55006": "end the other sessions in that database",
}

_REFUSED = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "role ")


@contextmanager
def explained(doing: str, statement: str = "") -> Iterator[None]:
    """An exception of the driver comes out as a RestoreError that names the step."""
    try:
        yield
    except psycopg.Error as error:
        raise failure(error, doing, statement) from error


def failure(error: psycopg.Error, doing: str, statement: str = "", *, own: bool = False) -> RestoreError:
    """`own`: it was restored without owners and rights already."""
    text, values = told(error)
    shown = f"\n{_shortened(statement)}" if statement else ""
    remedy = _REMEDIES.get(error.sqlstate or "", _by_class(error))
    if own and error.sqlstate == _RIGHTS:
        remedy = "connect as a superuser; or say --keep-going, which lists what this login may not make"
    return RestoreError(
        f"{doing}: {text}{shown}",
        remedy=remedy,
        values=values,
    )


def _by_class(error: psycopg.Error) -> str:
    state = error.sqlstate or ""
    # libpq gives no SQLSTATE for a login that was refused, so the server's words have to do.
    if not state and any(sign in str(error) for sign in _REFUSED):
        return "check the user, the password and the server's pg_hba.conf"
    if state.startswith(("08", "57")) or (not state and isinstance(error, psycopg.OperationalError)):
        return "check that the server runs and can be reached, and restore again"
    if state.startswith("23"):
        return "the backup's rows break a rule that its definitions make: `verify` and a drill say which rows"
    return "the server's log may say more; RECOVER.md beside the manifest restores step by step with psql"


def _shortened(statement: str) -> str:
    statement = without_passwords(statement)
    return statement if len(statement) <= 2000 else statement[:2000] + " …"
