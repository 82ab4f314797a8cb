"""Definitions of a source that is not trusted, as a drill makes them.

An ordinary login makes everything and owns it until the end. So all code on the way (checks, defaults, index
expressions, queries of materialised views) runs as that login. A superuser does what runs none of it: extensions,
before any code of
the source is there; what only a superuser may make; and last of all owners, rights and comments. On a server that is not
the drill's own there is one login for both.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import LiteralString

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.export.diagnostics import inside_something
from backup_pipeline.databases.postgres.restore.definitions import RUN, Verdict, raw
from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.runner import Runner
from backup_pipeline.databases.postgres.restore.statements import Statement, Token
from backup_pipeline.databases.postgres.restore.target import Connection, speaking
from backup_pipeline.databases.postgres.restore.terms import is_owner, kinds_of

#: Kinds that the superuser makes where the ordinary login may not. Nothing is evaluated when they are made (but see `_evaluates`).
_BY_SUPERUSER = frozenset(
    {
        "function", "procedure", "aggregate", "language", "cast", "operator class", "operator family", "access method",
        "transform", "text search parser", "text search template", "foreign data wrapper", "publication", "subscription",
        "type",
    }
)  # fmt: skip
_AT_THE_END = frozenset({"owner", "grant", "revoke", "default privileges"})
#: Kinds that PostgreSQL gives to a superuser only: the owner is one for that statement.
_OWNED_BY_SUPERUSERS = frozenset({"foreign data wrapper", "publication", "subscription"})
_FIRST = frozenset({"schema", "extension"})
_WITH_SCHEMA = frozenset(
    {
        "function", "procedure", "routine", "aggregate", "type", "operator class", "operator family", "text search parser",
        "text search template", "table", "sequence",
    }
)  # fmt: skip
#: On what rights are given by the superuser: not on parameters and tablespaces, and no membership of roles.
_GRANTED = frozenset(
    {
        "table", "sequence", "function", "procedure", "routine", "schema", "type", "domain", "language", "large", "foreign",
        "database",
    }
)  # fmt: skip
#: Extensions whose functions open connections: in a drill they are the superuser's alone. Where the kernel gives no network
#: namespace, that is what keeps the source's code from the network.
_CALLING_OUT = [
    "aws_lambda",
    "aws_s3",
    "dblink",
    "http",
    "pg_background",
    "pg_cron",
    "pg_curl",
    "pg_net",
    "plproxy",
]

# What follows each thing that the superuser makes. A routine of the source may be SECURITY DEFINER: it must not be the superuser's
# own. A wrapper without a handler reaches no server, with any options of servers and tables.
_AFTERWARDS: LiteralString = """
SELECT pg_catalog.format('ALTER ROUTINE %%s OWNER TO %%I', p.oid::pg_catalog.regprocedure, %(login)s::text)
  FROM pg_catalog.pg_proc p
 WHERE p.oid >= 16384 AND pg_catalog.pg_get_userbyid(p.proowner) = current_user AND current_user <> %(login)s::text
   AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.deptype = 'e' AND d.objid = p.oid
                      AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass)
UNION ALL
SELECT pg_catalog.format('ALTER FOREIGN DATA WRAPPER %%I NO HANDLER NO VALIDATOR', w.fdwname)
  FROM pg_catalog.pg_foreign_data_wrapper w WHERE w.fdwhandler <> 0 OR w.fdwvalidator <> 0
UNION ALL
SELECT pg_catalog.format('GRANT USAGE ON FOREIGN DATA WRAPPER %%I TO %%I', w.fdwname, %(login)s::text)
  FROM pg_catalog.pg_foreign_data_wrapper w
 WHERE NOT pg_catalog.has_foreign_data_wrapper_privilege(%(login)s::text, w.oid, 'USAGE')
UNION ALL
SELECT pg_catalog.format('GRANT ALL ON TABLE %%s TO %%I', c.oid::pg_catalog.regclass, %(login)s::text)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_depend d ON d.deptype = 'e' AND d.objid = c.oid
   AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
 WHERE c.relkind IN ('r', 'p', 'S') AND NOT pg_catalog.has_table_privilege(%(login)s::text, c.oid, 'UPDATE')
UNION ALL
SELECT pg_catalog.format('REVOKE ALL ON ROUTINE %%s FROM %%s', p.oid::pg_catalog.regprocedure,
         CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(x.grantee)) END)
  FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_depend d ON d.deptype = 'e' AND d.objid = p.oid
   AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
  JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND e.extname = ANY (%(calling_out)s)
 CROSS JOIN LATERAL pg_catalog.aclexplode(coalesce(p.proacl, pg_catalog.acldefault('f', p.proowner))) x
 WHERE x.grantee <> p.proowner AND current_user <> %(login)s::text
"""


@dataclass
class UntrustedRunner(Runner):
    #: None: the connection's own login is all there is.
    superuser: Connection | None = None
    encoding: str = "UTF8"
    login: str = ""
    _trusted: dict[str, bool] = field(default_factory=dict)

    def run_some(self, statements: Iterable[Statement], section: str) -> None:
        super().run_some(map(self._tamed, statements), section)

    def decide(self, statement: Statement) -> Verdict:
        verdict = super().decide(statement)
        if self.superuser is None or verdict.action == "skip":
            return verdict
        head = statement.text[:40].lower()
        if head.startswith(("set session auth", "reset session auth")):
            return Verdict("skip", "exists")
        if _of_the_server(statement):
            # Someone may read files by a function of the server, in the source.
            said = kinds_of(statement) & {"grant", "revoke"} and " pg_catalog." in statement.text
            return Verdict("skip", "asked", "trusted") if said else RUN
        last = head.startswith("comment ") or kinds_of(statement) & _AT_THE_END
        return Verdict("later") if last else verdict

    def _execute(self, statement: Statement, section: str) -> None:
        making = statement.text[:7].lower() == "create " and kinds_of(statement)
        if self.connection is self.superuser:
            self._give(statement, section)
        elif self.superuser is not None and making and "extension" in making:
            self._by_superuser(statement, section)
        elif (
            self.superuser is not None
            and kinds_of(statement) & _BY_SUPERUSER
            and not _of_the_server(statement)
        ):
            try:
                self.connection.execute(raw(statement.text))
            except psycopg.errors.InsufficientPrivilege as error:
                if inside_something(error) or _evaluates(statement):
                    # It may be code of the source that says so, to be run as the superuser.
                    super()._execute(statement, section)
                else:
                    self._by_superuser(statement, section)
            except psycopg.Error:
                super()._execute(statement, section)
        else:
            super()._execute(statement, section)
            if making and making & {"extension", "foreign data wrapper"} and self.facts.superuser:
                self._afterwards(self.connection)

    def _by_superuser(self, statement: Statement, section: str) -> None:
        assert self.superuser is not None
        with self.superuser.transaction(), speaking(self.superuser, self.encoding):
            _alone(self.superuser, statement, section)
            self._afterwards(self.superuser)

    def _afterwards(self, connection: Connection) -> None:
        login = self.login
        for (text,) in connection.execute(
            _AFTERWARDS, {"login": login, "calling_out": _CALLING_OUT}
        ).fetchall():
            connection.execute(raw(text))

    def _give(self, statement: Statement, section: str) -> None:
        """Among the last statements: owners, rights, comments."""
        if not _needs_superuser(statement):
            _alone(self.connection, statement, section)
            return
        role = sql.Identifier(statement.tokens()[-1].text)
        self.connection.execute(sql.SQL("ALTER ROLE {} SUPERUSER").format(role))
        _alone(self.connection, statement, section)
        self.connection.execute(sql.SQL("ALTER ROLE {} NOSUPERUSER").format(role))

    def _run_later(self) -> None:
        """In the order of the dump; as many as can be are sent without waiting for each answer."""
        waiting, self.later = self.later, []
        for simple, some in groupby(
            waiting, lambda one: not (one[0] or one[2].code or _needs_superuser(one[1]))
        ):
            self.later = list(some)
            if simple and self.connection is self.superuser and self._sent(self.superuser, self.later):
                self.later = []
            super()._run_later()

    def _sent(self, superuser: Connection, some: list[tuple[str, Statement, Verdict]]) -> bool:
        try:
            # In a pipeline each is one statement for the server, too (see `_alone`).
            with superuser.transaction(), superuser.pipeline():
                for _, statement, _ in some:
                    superuser.execute(raw(statement.text))
        except psycopg.Error:
            if superuser.broken:
                raise
            return False
        return True

    def run_later(self, encoding: str) -> None:
        ordinary = self.connection
        self.connection = self.superuser or ordinary
        try:
            super().run_later(encoding)
            if self.superuser is not None:
                self._afterwards(self.superuser)
        finally:
            self.connection = ordinary

    def _run_together(self, statements: list[Statement], section: str) -> None:
        if self.superuser is not None and any(kinds_of(one) & {"extension"} for one in statements):
            for statement in statements:
                self._execute(statement, section)
        else:
            super()._run_together(statements, section)

    def _tamed(self, statement: Statement) -> Statement:
        """A routine in a language that is not trusted keeps its name and its arguments, and loses its body: what refers to it can
        be made, and nothing of it runs."""
        if statement.text[:7].lower() != "create " or not kinds_of(statement) & {"function", "procedure"}:
            return statement
        parts = list(statement.placed())
        at = next((i for i, (token, _) in enumerate(parts) if token.is_word("language")), 0)
        if not at or self._trusts(parts[at + 1][0].text):
            return statement
        language = parts[at + 1]
        body = next((part for part in parts[at:] if part[0].is_word("as")), None)
        if body is None:
            return statement
        self.left.append(
            Left(f"written in {language[0].text}, which is not run in a drill", statement.text, asked=True)
        )
        text = statement.text
        stub = "AS 'BEGIN RAISE ''this routine has no body in a drill''; END'"
        return replace(
            statement,
            text=f"{text[: language[1].start]}plpgsql{text[language[1].stop : body[1].start]}{stub}",
        )

    def _trusts(self, language: str) -> bool:
        if language not in self._trusted:
            row = self.connection.execute(
                "SELECT lanpltrusted FROM pg_catalog.pg_language WHERE lanname = %s", (language,)
            ).fetchone()
            self._trusted[language] = row is not None and row[0]
        return self._trusted[language]


def _alone(connection: Connection, statement: Statement, section: str) -> None:
    """One statement and never two: what is one by our lexer's rules could be two by the server's. The protocol of `binary` takes
    one."""
    with explained(f"{section}, line {statement.line}", statement.text):
        connection.execute(raw(statement.text), binary=True)


def _evaluates(statement: Statement) -> bool:
    """The first value of an aggregate is read as its type is: by the checks of a domain."""
    return any("initcond" in token.text.lower() for token in statement.tokens(10_000))


def _needs_superuser(statement: Statement) -> bool:
    return is_owner(statement) and bool(kinds_of(statement) & _OWNED_BY_SUPERUSERS)


def _of_the_server(statement: Statement) -> bool:
    """Whether it speaks of the server itself: its own functions, roles, settings. The superuser does not do that for a dump, whose
    text its source's superuser may have written. pg_dump qualifies every name; one that is not could be of pg_catalog."""
    kinds, tokens = kinds_of(statement), statement.tokens(40)
    if kinds & {"grant", "revoke"}:
        on = next((i for i, token in enumerate(tokens) if token.is_word("on")), len(tokens) - 2)
        kind, tokens = tokens[on + 1].text, tokens[on + 1 :]
        if kind not in _GRANTED or _is_list(tokens):
            return True
        kinds = frozenset({kind})
    if "subscription" in kinds and tokens[0].is_word("create"):
        return "connect = false" not in statement.text
    if "schema" in kinds:
        at = next((i + 1 for i, token in enumerate(tokens) if token.is_word("schema")), 0)
        return tokens[at].text.startswith("pg_") or tokens[at].text == "information_schema"
    if not kinds & _WITH_SCHEMA:
        return False
    dot = next((i for i, token in enumerate(tokens[:8]) if token.text == "."), 0)
    return not dot or tokens[dot - 1].text.startswith("pg_")


def _is_list(tokens: Sequence[Token]) -> bool:
    """Whether a GRANT is about several things; pg_dump names one."""
    depth = 0
    for token in tokens:
        depth += {"(": 1, ")": -1}.get(token.text if token.kind == "other" else "", 0)
        if depth == 0 and (token.text == "," or token.is_word("to", "from")):
            return token.text == ","
    return False


def extensions_first(statements: Iterable[Statement]) -> Iterator[Statement]:
    """The settings of a dump's head, schemas and extensions, then everything else: what an extension's script runs as a superuser
    must not find anything that the source's users have made."""
    rest: list[Statement] = []
    head = True
    for statement in statements:
        head = head and "setting" in kinds_of(statement)
        if head or (statement.text[:7].lower() == "create " and kinds_of(statement) & _FIRST):
            yield statement
        else:
            rest.append(statement)
    yield from rest
