"""Addresses, connections, and what the driver's errors mean to us."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

import psycopg2
import psycopg2.errors
import psycopg2.extensions
from psycopg2 import sql
from psycopg2.extensions import TRANSACTION_STATUS_ACTIVE

from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.errors import (
    ConfigError,
    NotSupported,
    PermissionMissing,
    SourceChanged,
    SourceError,
    SourceUnavailable,
)
from backup_pipeline.processes import interruption

LockNotAvailable = psycopg2.errors.LockNotAvailable

#: psycopg2 has no types of its own.
Connection = Any
Row = tuple[Any, ...]

_PREFIXES = ("postgresql", "postgres", "postgresql+psycopg", "postgresql+psycopg2")
_SECRETS = frozenset({"password", "sslpassword", "oauth_client_secret"})
#: A connection that died silently (a firewall, a lost machine) is noticed in about a minute and not in two hours.
_DEFAULTS = {
    "connect_timeout": "15",
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "4",
    "application_name": "backup_pipeline",
}


def parse(url: str) -> dict[str, str]:
    """libpq's parameters from any spelling of the address."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in _PREFIXES:
        raise ConfigError(
            "this is not how a PostgreSQL address begins",  # not quoted: it may be anything, a password too
            remedy="write postgresql://user:password@host:5432/database",
        )
    unreadable = ConfigError(
        "the PostgreSQL address cannot be read",
        remedy="percent-encode special characters in the password (@ is %40, / is %2F, # is %23)",
    )
    # libpq takes what stands behind the first @ or / of a password for the host or the database, and we would show it.
    authority, _, path = rest.partition("?")[0].partition("/")
    if authority.count("@") > 1 or "@" in path:
        raise unreadable
    try:
        # libpq is the judge of its own format. Its message may quote the address, password and all: not passed on.
        found: dict[str, str] = psycopg2.extensions.parse_dsn(f"postgresql://{rest}")
    except psycopg2.Error:
        raise unreadable from None
    return found


def address(parameters: Mapping[str, str]) -> str:
    """For people: who, where, which; nothing secret."""
    user = f"{quote(parameters['user'])}@" if "user" in parameters else ""
    host = parameters.get("host") or parameters.get("hostaddr") or ""
    where = "" if host.startswith("/") else host
    port = f":{parameters['port']}" if "port" in parameters and where else ""
    query = f"?host={host}" if host.startswith("/") else ""
    if query and "port" in parameters:
        query += f"&port={parameters['port']}"
    return f"postgresql://{user}{where}{port}/{quote(parameters.get('dbname', ''))}{query}"


#: The same server on the same port.
_HERE = ("", "localhost", "127.0.0.1", "::1", "/var/run/postgresql", "/tmp")


def location(parameters: Mapping[str, str]) -> str:
    host = (parameters.get("host") or parameters.get("hostaddr") or "").lower()
    name = parameters.get("dbname") or parameters.get("user", "")
    return f"{'localhost' if host in _HERE else host}:{parameters.get('port', '5432')}/{name}"


def public(parameters: Mapping[str, str]) -> dict[str, str]:
    """The parameters that may stand on a command line."""
    return {key: value for key, value in parameters.items() if key not in _SECRETS}


def connect(parameters: Mapping[str, str]) -> Connection:
    """A session in autocommit mode: transactions are begun and ended by name, where that is meant."""
    settings = {**_DEFAULTS, **parameters, "client_encoding": "UTF8"}
    # Names and definitions are wanted in UTF-8, against the environment.
    try:
        connection = psycopg2.connect(**settings)
    except psycopg2.Error as error:
        raise _cannot_connect(error, parameters) from error
    connection.autocommit = True
    interruption.watch(connection, _cancel)
    return connection


def _cancel(connection: Connection) -> None:
    """Asked for from another thread, when the user interrupts, in every wait of the session."""
    with suppress(psycopg2.Error):
        if not connection.closed and connection.info.transaction_status == TRANSACTION_STATUS_ACTIVE:
            connection.cancel()


def _cannot_connect(error: psycopg2.Error, parameters: Mapping[str, str]) -> SourceError:
    # libpq gives no SQLSTATE for a refused connection, so the server's words have to do. A server that speaks
    # another language ends in the last line, which is retried: harmless.
    text = str(error).strip()
    where = address(parameters)
    if any(
        sign in text for sign in ("authentication failed", "no password supplied", "no pg_hba.conf entry")
    ):
        return SourceError(
            f"{where} refuses the login: {text}", remedy="check user, password and pg_hba.conf"
        )
    if "does not exist" in text and ("database" in text or "role" in text):
        return SourceError(f"{where}: {text}", remedy="check the name of the database and of the user")
    if "permission denied for database" in text:
        return PermissionMissing(
            f"{where}: {text}",
            remedy=f"GRANT CONNECT ON DATABASE {_spelled(parameters, 'dbname')} TO {_spelled(parameters, 'user')};",
        )
    return SourceUnavailable(
        f"{where} does not answer: {text}", remedy="check that the server runs and can be reached from here"
    )


def _spelled(parameters: Mapping[str, str], name: str) -> str:
    """Quoted without a session, for a login that got none."""
    return '"' + parameters.get(name, "").replace('"', '""') + '"'


@contextmanager
def explained(doing: str, connection: Connection | None = None) -> Iterator[None]:
    """An exception of the driver comes out as one of our errors, with the step that failed."""
    try:
        yield
    except psycopg2.Error as error:
        raise translated(error, doing, connection) from error
    except UnicodeDecodeError as error:
        raise NotSupported(
            f"{doing}: the catalog holds a name or a definition that is not UTF-8 ({error.object[:60]!r})",
            remedy="rename it; this database has the encoding SQL_ASCII and lets any bytes in",
        ) from error


_UNAVAILABLE = ("08", "57P01", "57P02", "57P03", "57P05", "53300", "40001", "40P01", "25P03", "25P04")
_CHANGED = ("42P01", "3F000", "42703", "42704", "42809")


def translated(error: psycopg2.Error, doing: str, connection: Connection | None = None) -> SourceError:
    text, values = told(error)
    found = _meaning(error, text, doing, connection)
    found.values = values
    return found


def _meaning(
    error: psycopg2.Error, text: str, doing: str, connection: Connection | None = None
) -> SourceError:
    state = error.pgcode or ""
    gone = connection is not None and connection.closed
    if gone or state.startswith(_UNAVAILABLE) or (not state and type(error) in _CONNECTION_ERRORS):
        return SourceUnavailable(f"{doing}: the connection was lost: {text}", remedy=_again(state))
    if state == "42501":
        return PermissionMissing(f"{doing}: {text}", remedy="`doctor` prints the GRANTs that are missing")
    if (
        state in _CHANGED
        or (state == "XX000" and ("cache lookup failed" in text or "could not open relation" in text))
        or (
            state == "55000" and "is restricted" in text
        )  # a view has taken the place of a table: `snapshot.GUARD`
    ):
        return SourceChanged(
            f"{doing}: something was dropped or altered: {text}", remedy="run the backup again"
        )
    if state == "55P03":
        return SourceUnavailable(
            f"{doing}: {text}", remedy="wait for the other session, then run the backup again"
        )
    if state in ("22021", "22P05"):
        return NotSupported(
            f"{doing}: a text is not valid in the database's encoding: {text}",
            remedy="find and correct the text; no faithful copy of it can be made in UTF-8",
        )
    if state == "53200" and "max_locks_per_transaction" in str(error):
        return SourceError(
            f"{doing}: {text}", remedy="raise max_locks_per_transaction on the server and restart it"
        )
    if state in ("XX001", "XX002"):
        return SourceError(
            f"{doing}: the database itself is damaged: {text}",
            remedy="keep the last good backup, and restore the table from it after the disk was checked",
        )
    return SourceError(f"{doing}: {text}", remedy="the server's log may say more")


#: By exact type: their subclasses without a SQLSTATE are mistakes in our own calls.
_CONNECTION_ERRORS = (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.DatabaseError)


def _again(state: str) -> str:
    if state == "40001":
        return "on a standby: set hot_standby_feedback = on, or raise max_standby_streaming_delay"
    if state == "53300":
        return "raise max_connections, or lower `workers`"
    return "the backup is tried again; if this goes on, look at the server's log"


def rows(connection: Connection, statement: str, parameters: Sequence[object] | None = None) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        found: list[Row] = cursor.fetchall()
        return found


def row(connection: Connection, statement: str, parameters: Sequence[object] | None = None) -> Row:
    return rows(connection, statement, parameters)[0]


def run(connection: Connection, statement: str | bytes) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def quoted(connection: Connection, *names: str) -> str:
    """`"public"."orders"`, as libpq quotes it."""
    return str(sql.Identifier(*names).as_string(connection))


def literal(connection: Connection, value: str) -> str:
    """For utility statements, which take no parameters."""
    return str(sql.Literal(value).as_string(connection))
