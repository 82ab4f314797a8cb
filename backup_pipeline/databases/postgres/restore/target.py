"""The database that is restored to: how it is reached, whether it is there, whether it is empty, making and dropping it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.export.connect import address, parse
from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.errors import ConfigError, RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.postgres_session import row_text

Connection = psycopg.Connection[tuple[Any, ...]]

_INVALID_CATALOG_NAME = "3D000"


@dataclass(frozen=True)
class Server:
    """Where and as whom; the database is named at each call. It can be pickled into a worker process."""

    parameters: Mapping[str, str] = field(repr=False)
    database: str
    #: By which our sessions are known to the server, so that those of a restore that failed can be ended.
    application: str = "backup_pipeline"
    #: A superuser of the same server, who does what this login may not (`untrusted`).
    superuser: Mapping[str, str] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str, default: str = "") -> Server:
        parameters = parse(url)
        if default:
            parameters.setdefault("dbname", default)
        if not parameters.get("dbname"):
            raise ConfigError(
                "the address of the target names no database",
                remedy="write it behind the host: postgresql://user@host/new_database",
            )
        return cls(parameters, parameters["dbname"])

    def with_database(self, name: str) -> Server:
        return replace(self, parameters={**self.parameters, "dbname": name}, database=name)

    @property
    def by_superuser(self) -> Server:
        """The same database, as the superuser; or as it is, where there is none."""
        return self if self.superuser is None else replace(self, parameters=self.superuser, superuser=None)

    @property
    def address(self) -> str:
        return address({**self.parameters, "dbname": self.database})

    def connect(self) -> Connection:
        """In autocommit mode: transactions are begun by name. An unreachable server is a RestoreError."""
        # Sent as it is: a statement's bytes are not touched by the driver.
        parameters = {
            "connect_timeout": "15",
            **self.parameters,
            "application_name": self.application,
            "client_encoding": "UTF8",
        }
        parameters["dbname"] = self.database
        # Prepared statements do not survive a pooler between here and the server.
        connection = psycopg.connect(**parameters, autocommit=True, prepare_threshold=None)  # type: ignore[arg-type]
        # Before anything is asked: an operator that a user made in `public` fits better than the server's own.
        connection.execute("SET search_path = ''")
        # The login may have one that is too short for what is asked before `prepare_session`.
        connection.execute("SET statement_timeout = 0")
        # What the server writes down for us, as ALTER DATABASE … SET search_path, it writes as in the source.
        connection.execute("SET quote_all_identifiers = off")
        return connection

    def open(self) -> Connection:
        with explained(f"{self.address} cannot be reached"):
            return self.connect()

    def exists(self) -> bool:
        try:
            with self.connect():
                return True
        except psycopg.OperationalError as error:
            if _no_such_database(error, self.database):
                return False
            with explained(f"{self.address} cannot be reached"):
                raise

    def maintenance(self) -> Connection:
        """A session in a database that every server has (or in the one that was named), to create and drop others."""
        last: psycopg.Error | None = None
        for name in ("postgres", "template1", self.parameters.get("dbname", self.database)):
            try:
                return self.with_database(name).connect()
            except psycopg.OperationalError as error:
                last = error
        assert last is not None
        with explained(f"no session on {self.with_database('postgres').address}"):
            raise last


def _no_such_database(error: psycopg.Error, name: str) -> bool:
    # A failed connection has no SQLSTATE, and the server's words depend on its language; the quoted name does not.
    return error.sqlstate == _INVALID_CATALOG_NAME or (
        f'"{name}"' in str(error) and "does not exist" in str(error)
    )


def prepare_session(connection: Connection) -> None:
    """The settings under which the rows were written out, so that they are read in alike; but not those that make
    scans steady, for building indexes does without."""
    settings = row_text(connection.info.server_version // 10000)
    for name, value in (settings | {"client_min_messages": "warning"}).items():
        connection.execute("SELECT pg_catalog.set_config(%s, %s, false)", (name, value))


@contextmanager
def speaking(connection: Connection, encoding: str) -> Iterator[None]:
    """For the time of a dump's text or rows: they are in UTF-8 where that is exact, else in the encoding of the
    database that was backed up. Names that we write ourselves are always UTF-8."""
    if encoding == "UTF8":
        yield
        return
    connection.execute("SELECT pg_catalog.set_config('client_encoding', %s, false)", (encoding,))
    yield
    # After an error the transaction's end does it.
    connection.execute("SET client_encoding = 'UTF8'")


# ── whether it is empty

_NAMESPACED: tuple[tuple[LiteralString, LiteralString, LiteralString], ...] = (
    ("pg_class", "relnamespace", "o.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')"),
    (
        "pg_type",
        "typnamespace",
        "o.typtype <> 'm' AND NOT EXISTS (SELECT FROM pg_catalog.pg_type e WHERE e.typarray = o.oid)"
        " AND (o.typrelid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = o.typrelid AND c.relkind = 'c'))",
    ),
    ("pg_proc", "pronamespace", "true"),
    ("pg_operator", "oprnamespace", "true"),
    ("pg_opclass", "opcnamespace", "true"),
    ("pg_opfamily", "opfnamespace", "true"),
    ("pg_collation", "collnamespace", "true"),
    ("pg_conversion", "connamespace", "true"),
    ("pg_statistic_ext", "stxnamespace", "true"),
    ("pg_ts_config", "cfgnamespace", "true"),
    ("pg_ts_dict", "dictnamespace", "true"),
    ("pg_ts_parser", "prsnamespace", "true"),
    ("pg_ts_template", "tmplnamespace", "true"),
)
_GLOBAL: tuple[tuple[LiteralString, LiteralString], ...] = (
    ("pg_namespace", "o.nspname !~ '^pg_' AND o.nspname NOT IN ('information_schema', 'public')"),
    ("pg_cast", "true"),
    ("pg_language", "true"),
    ("pg_foreign_data_wrapper", "true"),
    ("pg_foreign_server", "true"),
    ("pg_event_trigger", "true"),
    ("pg_publication", "true"),
    ("pg_transform", "true"),
    ("pg_am", "true"),
    ("pg_default_acl", "true"),
)

# Objects that initdb made have numbers below 16384.
OBJECTS: LiteralString = " UNION ALL ".join(
    [
        f"SELECT 'pg_catalog.{catalog}'::pg_catalog.regclass::oid AS classid, o.oid AS objid"
        f" FROM pg_catalog.{catalog} o JOIN pg_catalog.pg_namespace n ON n.oid = o.{namespace}"
        f" WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND {condition}"
        for catalog, namespace, condition in _NAMESPACED
    ]
    + [
        f"SELECT 'pg_catalog.{catalog}'::pg_catalog.regclass::oid, o.oid FROM pg_catalog.{catalog} o WHERE {condition}"
        for catalog, condition in _GLOBAL
    ]
    # The one kind of object that goes by another catalog's name.
    + [
        "SELECT 'pg_catalog.pg_largeobject'::pg_catalog.regclass::oid, o.oid FROM pg_catalog.pg_largeobject_metadata o"
    ]
)
_FOUND: LiteralString = (
    f"SELECT o.classid, o.objid, i.type, coalesce(i.identity, '?') FROM ({OBJECTS}) o"
    " CROSS JOIN LATERAL pg_catalog.pg_identify_object(o.classid, o.objid, 0) i"
    " WHERE o.objid >= 16384 AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"
    "   WHERE d.classid = o.classid AND d.objid = o.objid AND d.deptype = 'e') ORDER BY 3, 4"
)


@dataclass(frozen=True, slots=True)
class Thing:
    """One object of a database."""

    classid: int
    oid: int
    #: As pg_identify_object says it: table, function, schema …
    kind: str
    identity: str


def what_is_there(connection: Connection) -> tuple[Thing, ...]:
    """Everything that is not the system's, not an extension's and not the `public` schema itself."""
    with explained("reading what the target holds"):
        return tuple(Thing(*row) for row in connection.execute(_FOUND))


def not_empty(server: Server, things: tuple[Thing, ...]) -> Finding:
    shown = ", ".join(f"{thing.kind} {thing.identity}" for thing in things[:5])
    more = f" and {len(things) - 5} more" if len(things) > 5 else ""
    return Finding.of(
        "target-not-empty",
        server=server.address,
        shown=shown,
        more=more,
        examples=(f"{thing.kind} {thing.identity}" for thing in things[:20]),
    )


# ── making and dropping it


def create_database(server: Server, settings: Mapping[str, str], *, comment: str) -> tuple[Finding, ...]:
    """Make the database as the backup's was (`Schema.settings`): encoding, locale provider, collation, where this
    server has them. `comment` marks it until the restore is done."""
    with server.maintenance() as connection:
        wishes = _wishes(settings, connection.info.server_version)
        refused: list[str] = []
        for options in wishes:
            statement = sql.SQL("CREATE DATABASE {} TEMPLATE template0 {}").format(
                sql.Identifier(server.database),
                sql.SQL(" ").join(sql.SQL(name + " = {}").format(sql.Literal(v)) for name, v in options),
            )
            try:
                connection.execute(statement)
                break
            except (psycopg.errors.InvalidParameterValue, psycopg.errors.WrongObjectType,
                    psycopg.errors.FeatureNotSupported, psycopg.errors.InvalidObjectDefinition,
                    psycopg.errors.UndefinedObject) as error:  # fmt: skip
                refused.append(told(error)[0])
            except psycopg.Error:
                with explained(f"{server.address} cannot be made"):
                    raise
        else:
            raise RestoreError(
                f"{server.address} cannot be made: {'; '.join(refused)}",
                remedy="make the database by hand with the encoding and collation that you want, and leave out --create",
            )
        with explained(f"{server.address} was made, but not marked"):
            connection.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(server.database), comment)
            )
    if not refused:
        return ()
    wanted = ", ".join(f"{name.lower()} {value}" for name, value in wishes[0])
    return (Finding.of("collation-not-available", wanted=wanted, examples=refused),)


_Options = tuple[tuple[LiteralString, str], ...]


def _wishes(settings: Mapping[str, str], server_version: int) -> list[_Options]:
    """What to ask for, the best first; then without the locale, then the plainest that takes any encoding."""
    encoding: _Options = (("ENCODING", settings.get("encoding", "UTF8")),)
    provider = {"c": "libc", "i": "icu", "b": "builtin"}.get(settings.get("locale_provider", "c"), "libc")
    locale = settings.get("icu_locale", "")
    libc: _Options = ()
    if settings.get("collation"):
        libc = (
            ("LC_COLLATE", settings["collation"]),
            ("LC_CTYPE", settings.get("ctype", settings["collation"])),
        )
    wishes: list[_Options] = []
    # A server that does not know the word says so with a syntax error, which is no answer to "have you got it?".
    if server_version < 150000 or (provider == "builtin" and server_version < 170000):
        wishes.append((*encoding, *libc))
    elif provider == "icu" and locale:
        wishes.append((*encoding, ("LOCALE_PROVIDER", "icu"), ("ICU_LOCALE", locale), *libc))
    elif provider == "builtin" and locale:
        wishes.append((*encoding, ("LOCALE_PROVIDER", "builtin"), ("BUILTIN_LOCALE", locale), *libc))
    else:
        wishes.append((*encoding, ("LOCALE_PROVIDER", "libc"), *libc))
    wishes.append(encoding)
    wishes.append((*encoding, ("LC_COLLATE", "C"), ("LC_CTYPE", "C")))
    return wishes


def set_comment(server: Server, comment: str | None) -> None:
    with server.open() as connection:
        connection.execute(
            sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(server.database), comment)
        )


def drop_database(server: Server) -> None:
    """Also with sessions connected; a restored subscription (switched off) would hold it."""
    if not server.exists():
        return
    with server.open() as connection:
        found = connection.execute(
            "SELECT subname FROM pg_catalog.pg_subscription WHERE subdbid ="
            " (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())"
        ).fetchall()
        for (name,) in found:
            subscription = sql.Identifier(name)
            connection.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(subscription))
            connection.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(subscription))
            connection.execute(sql.SQL("DROP SUBSCRIPTION {}").format(subscription))
    with server.maintenance() as connection, explained(f"{server.address} cannot be dropped"):
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(server.database))
        )
