"""What is to be done with each statement of a dump, given what the target has.

Skipped are three sorts of statements. Another server cannot have it: a role, a tablespace, a setting of a newer
version, a label provider. The login may not set an owner or a right. The caller does not want it (`terms`). `runner`
runs the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from psycopg import pq

from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.databases.postgres.restore.statements import Statement, Token
from backup_pipeline.databases.postgres.restore.target import Connection
from backup_pipeline.databases.postgres.restore.terms import is_owner
from backup_pipeline.errors import RestoreError

#: Roles that are words of the language.
_NO_ROLE = ("public", "current_user", "session_user", "current_role", "user")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the target's server has, asked once."""

    roles: frozenset[str]
    settings: frozenset[str]
    #: Extensions that could be installed.
    extensions: frozenset[str]
    tablespaces: frozenset[str]
    #: Schemas and extensions that were there before us, and stay as they are if the restore fails.
    schemas: frozenset[str]
    installed: frozenset[str]
    max_locks: int
    login: str = ""
    superuser: bool = True
    may_make_roles: bool = True
    #: Policies do not hold for it, not even where they are forced upon the owner.
    reads_all_rows: bool = True
    #: Roles that an object can be given to; a superuser can give it to any.
    assumable: frozenset[str] = frozenset()

    @classmethod
    def of(cls, connection: Connection, *, with_superuser: bool = False) -> Facts:
        def names(query: Any) -> frozenset[str]:
            return frozenset(row[0] for row in connection.execute(query))

        with explained("asking the target what it has"):
            locks = connection.execute(
                "SELECT current_setting('max_locks_per_transaction')::bigint * (current_setting('max_connections')::bigint"
                " + current_setting('max_prepared_transactions')::bigint)"
            ).fetchone()
            assert locks is not None
            login = connection.execute(
                "SELECT rolname, rolsuper, rolsuper OR rolcreaterole, rolsuper OR rolbypassrls FROM pg_catalog.pg_roles WHERE rolname = current_user"
            ).fetchone()
            assert login is not None
            right = "SET" if connection.info.server_version >= 160000 else "MEMBER"
            return cls(
                roles=names("SELECT rolname FROM pg_catalog.pg_roles"),
                settings=names("SELECT lower(name) FROM pg_catalog.pg_settings"),
                extensions=names("SELECT name FROM pg_catalog.pg_available_extensions"),
                tablespaces=names("SELECT spcname FROM pg_catalog.pg_tablespace"),
                schemas=names("SELECT nspname FROM pg_catalog.pg_namespace"),
                installed=names("SELECT extname FROM pg_catalog.pg_extension"),
                max_locks=int(locks[0]),
                login=login[0],
                superuser=login[1] or with_superuser,
                may_make_roles=login[2],
                reads_all_rows=login[3],
                assumable=names(
                    f"SELECT rolname FROM pg_catalog.pg_roles WHERE pg_catalog.pg_has_role(current_user, oid, '{right}')"
                ),
            )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done with a statement."""

    #: run · skip · try (run, and skip it where the target refuses) · later (in the last transaction)
    action: str = "run"
    code: str = ""
    #: The role, tablespace, setting that is missing.
    subject: str = ""


RUN = Verdict()

#: How statements begin that are looked at closely; most of a dump does not.
_LOOKED_AT = ("set", "comment", "security", "alter", "grant", "revoke")
_CREATED = ("schema", "extension", "policy", "user", "event")


def judge(statement: Statement, facts: Facts) -> Verdict:
    begin = [token.text for token in statement.tokens(2)]
    if begin[0] not in _LOOKED_AT and not (begin[0] == "create" and begin[1:] and begin[1] in _CREATED):
        return RUN
    tokens = statement.tokens()
    first = tokens[0].text if tokens and tokens[0].kind == "word" else ""
    second = tokens[1].text if len(tokens) > 1 and tokens[1].kind == "word" else ""
    if first == "set" and second != "session":
        return _judge_setting(tokens, facts)
    if first == "create" and second == "schema" and len(tokens) > 2 and tokens[2].text in facts.schemas:
        return Verdict("skip", "exists", tokens[2].text)
    if first == "create" and second == "extension":
        return _judge_extension(tokens, facts)
    if first == "comment" and [t.text for t in tokens[1:3]] == ["on", "extension"]:
        return Verdict(
            "skip" if tokens[3].text in facts.installed else "try", "extension-comment", tokens[3].text
        )
    if first == "security":
        return Verdict("try", "label-provider-missing", statement.text.split("ON", 1)[0].strip())
    named = roles_named(tokens)
    missing = [role for role in named if role not in facts.roles]
    if missing:
        return Verdict("skip", "role-missing", missing[0])
    if not facts.superuser:
        to_be = named if first == "set" or is_owner(statement) else []
        not_ours = [role for role in to_be if first == "set" or role not in facts.assumable]
        if not_ours:
            return Verdict("skip", "role-not-member", not_ours[0])
        if to_be:
            # Last of all: what belongs to another role already could not be filled.
            return Verdict("later", "right-refused", facts.login)
    # An event trigger would fire for everything that we still make, so it comes after all of it.
    about_event_trigger = any(
        tokens[at].is_word("event") and tokens[at + 1].is_word("trigger")
        for at in range(1, min(3, len(tokens) - 1))
    )
    soft = "" if facts.superuser or first not in ("grant", "revoke", "comment", "alter") else "right-refused"
    if about_event_trigger or _touches_what_was_there(tokens, facts):
        return Verdict("later", soft, facts.login)
    return Verdict("try", soft, facts.login) if soft and (first != "alter" or second == "default") else RUN


def _judge_setting(tokens: list[Token], facts: Facts) -> Verdict:
    name = tokens[1].text
    if name in ("local", "constraints", "transaction", "role", "time"):
        return RUN
    dotted = len(tokens) > 2 and tokens[2].text == "."
    if not dotted and name not in facts.settings:
        return Verdict("skip", "setting-unknown", name)
    if name == "default_tablespace" and len(tokens) > 3:
        tablespace = tokens[3].text.strip("'")
        if tablespace and tablespace not in facts.tablespaces:
            return Verdict("skip", "tablespace-missing", tablespace)
    return RUN


def _judge_extension(tokens: list[Token], facts: Facts) -> Verdict:
    words = [token.text for token in tokens[2:5]]
    name = tokens[5].text if words == ["if", "not", "exists"] else tokens[2].text
    if name not in facts.extensions and name not in facts.installed:
        raise RestoreError(
            f"the target's server does not have the extension {name}, which the backup needs",
            remedy=f"install it there (a package such as postgresql-NN-{name}), or restore to a server that has it",
        )
    return Verdict("skip", "exists", name) if name in facts.installed else RUN


def _touches_what_was_there(tokens: list[Token], facts: Facts) -> bool:
    """Rights and comments of a schema that existed, and default privileges: they are changed last of all, so that a
    restore that fails has not changed them."""
    texts = [token.text if token.kind == "word" else "" for token in tokens[:3]]
    if texts[:3] == ["alter", "default", "privileges"]:
        return True
    if texts[:2] == ["alter", "schema"] or texts[:3] == ["comment", "on", "schema"]:
        at = 2 if texts[1] == "schema" else 3
    elif texts[0] in ("grant", "revoke"):
        at = next(
            (i + 2 for i, t in enumerate(tokens[:-2]) if t.is_word("on") and tokens[i + 1].is_word("schema")),
            0,
        )
    else:
        return False
    return 0 < at < len(tokens) and tokens[at].text in facts.schemas


def roles_named(tokens: list[Token]) -> list[str]:
    """The roles in a statement that only concerns roles; nothing for any other."""
    first = tokens[0].text if tokens and tokens[0].kind == "word" else ""
    second = tokens[1].text if len(tokens) > 1 and tokens[1].kind == "word" else ""
    found: list[Token] = []
    if first == "set" and second == "session":
        found = tokens[3:4]
    elif first == "alter" and second == "default":
        at = _last(tokens, "to", "from")
        found = _role_list(tokens, _after(tokens, "role", "user")) + (
            _role_list(tokens, at + 1) if at else []
        )
    elif first == "alter" and len(tokens) > 3 and tokens[-3].is_word("owner") and tokens[-2].is_word("to"):
        found = tokens[-1:]
    elif first == "grant" or first == "revoke":
        at = _last(tokens, "to" if first == "grant" else "from")
        found = _role_list(tokens, at + 1) if at else []
    elif first == "create" and second == "policy":
        at = _at_top(tokens, "to")
        found = _role_list(tokens, at + 1) if at else []
    elif first == "create" and second == "user":
        at = _after(tokens, "for")
        found = _role_list(tokens, at) if at else []
    # A role that is called "user" is quoted.
    return [
        token.text.strip("'") if token.kind == "string" else token.text
        for token in found
        if not token.is_word(*_NO_ROLE)
    ]


def _last(tokens: list[Token], *words: str) -> int:
    return next((i for i in range(len(tokens) - 1, 0, -1) if tokens[i].is_word(*words)), 0)


def _after(tokens: list[Token], *words: str) -> int:
    return next((i + 1 for i, token in enumerate(tokens) if token.is_word(*words)), 0)


def _at_top(tokens: list[Token], word: str) -> int:
    depth = 0
    for index, token in enumerate(tokens):
        depth += {"(": 1, ")": -1}.get(token.text if token.kind == "other" else "", 0)
        if depth == 0 and token.is_word(word):
            return index
    return 0


def _role_list(tokens: list[Token], start: int) -> list[Token]:
    """`a, "B", GROUP c` from `start` on."""
    found: list[Token] = []
    index = start
    while start and index < len(tokens):
        if tokens[index].is_word("group"):
            index += 1
            continue
        found.append(tokens[index])
        if index + 1 >= len(tokens) or tokens[index + 1].text != ",":
            break
        index += 2
    return found


def raw(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def execute(connection: Connection, statement: Statement, section: str) -> None:
    with explained(f"{section}, line {statement.line}", statement.text):
        connection.execute(raw(statement.text))


@contextmanager
def savepoint(connection: Connection) -> Iterator[None]:
    """What fails in here leaves the transaction around it usable; without one, nothing is needed."""
    if connection.info.transaction_status == pq.TransactionStatus.IDLE:
        yield
        return
    with connection.transaction():
        yield
