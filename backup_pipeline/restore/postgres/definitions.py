"""Running the dump's SQL, statement by statement; and what of it may be skipped, always with its name and text.

Skipped is only what another server cannot have: a role, a tablespace, a setting of a newer version, a label provider.
Whatever else fails is an error that shows the statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
from psycopg import pq, sql

from backup_pipeline.errors import RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.restore.postgres.failure import explained, failure
from backup_pipeline.restore.postgres.target import Connection, speaking
from backup_pipeline.restore.statements import Statement, Token

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

    @classmethod
    def of(cls, connection: Connection) -> Facts:
        def names(query: Any) -> frozenset[str]:
            return frozenset(row[0] for row in connection.execute(query))

        with explained("asking the target what it has"):
            locks = connection.execute(
                "SELECT current_setting('max_locks_per_transaction')::bigint * (current_setting('max_connections')::bigint"
                " + current_setting('max_prepared_transactions')::bigint)"
            ).fetchone()
            assert locks is not None
            return cls(
                roles=names("SELECT rolname FROM pg_catalog.pg_roles"),
                settings=names("SELECT lower(name) FROM pg_catalog.pg_settings"),
                extensions=names("SELECT name FROM pg_catalog.pg_available_extensions"),
                tablespaces=names("SELECT spcname FROM pg_catalog.pg_tablespace"),
                schemas=names("SELECT nspname FROM pg_catalog.pg_namespace"),
                installed=names("SELECT extname FROM pg_catalog.pg_extension"),
                max_locks=int(locks[0]),
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


#: So many statements are sent at once: a round trip for each would take longer than most of them.
_BATCH = 100
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
    missing = [role for role in roles_named(tokens) if role not in facts.roles]
    if missing:
        return Verdict("skip", "role-missing", missing[0])
    # An event trigger would fire for everything that we still make, so it comes after all of it.
    about_event_trigger = any(
        tokens[at].is_word("event") and tokens[at + 1].is_word("trigger")
        for at in range(1, min(3, len(tokens) - 1))
    )
    return Verdict("later") if about_event_trigger or _touches_what_was_there(tokens, facts) else RUN


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
    found: list[str] = []
    if first == "set" and second == "session":
        found = [tokens[3].text.strip("'")] if len(tokens) > 3 else []
    elif first == "alter" and second == "default":
        at = _last(tokens, "to", "from")
        found = _role_list(tokens, _after(tokens, "role", "user")) + (
            _role_list(tokens, at + 1) if at else []
        )
    elif first == "alter" and len(tokens) > 3 and tokens[-3].is_word("owner") and tokens[-2].is_word("to"):
        found = [tokens[-1].text]
    elif first == "grant" or first == "revoke":
        at = _last(tokens, "to" if first == "grant" else "from")
        found = _role_list(tokens, at + 1) if at else []
    elif first == "create" and second == "policy":
        at = _at_top(tokens, "to")
        found = _role_list(tokens, at + 1) if at else []
    elif first == "create" and second == "user":
        at = _after(tokens, "for")
        found = _role_list(tokens, at) if at else []
    return [role for role in found if role not in _NO_ROLE]


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


def _role_list(tokens: list[Token], start: int) -> list[str]:
    """`a, "B", GROUP c` from `start` on."""
    found: list[str] = []
    index = start
    while start and index < len(tokens):
        if tokens[index].is_word("group"):
            index += 1
            continue
        found.append(tokens[index].text)
        if index + 1 >= len(tokens) or tokens[index + 1].text != ",":
            break
        index += 2
    return found


@dataclass
class Runner:
    """Runs statements on one connection and keeps account of what it skipped."""

    connection: Connection
    facts: Facts
    #: What is left for the last transaction: (session authorization at the time, statement).
    later: list[tuple[str, Statement]] = field(default_factory=list)
    skipped: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _as: str = ""
    _silent_until_reset: bool = False

    def run_all(self, statements: Iterable[Statement], section: str) -> None:
        self.run_some(statements, section)
        # The dump's head sets its own.
        self.connection.execute("SET client_encoding = 'UTF8'")

    def run_some(self, statements: Iterable[Statement], section: str) -> None:
        """A part of a section, in the encoding that the parts before it have set."""
        batch: list[Statement] = []
        for statement in statements:
            verdict = self.decide(statement)
            together = verdict.action == "run" and not statement.text[:4].lower().startswith(("set ", "sele"))
            if batch and (not together or len(batch) >= _BATCH):
                self._run_together(batch, section)
                batch = []
            if together:
                batch.append(statement)
            else:
                self._run(statement, verdict, section)
        self._run_together(batch, section)

    def decide(self, statement: Statement) -> Verdict:
        """`judge`, and what follows from the statements before: what would have run as a role that is missing is
        skipped with it."""
        lowered = statement.text[:40].lower()
        if lowered.startswith("reset session authorization"):
            skipped, self._silent_until_reset, self._as = self._silent_until_reset, False, ""
            return Verdict("skip", "exists") if skipped else RUN
        if self._silent_until_reset:
            return Verdict("skip", "role-missing", self._as)
        verdict = judge(statement, self.facts)
        if lowered.startswith("set session authorization"):
            self._as = verdict.subject or statement.tokens(4)[3].text.strip("'")
            self._silent_until_reset = verdict.action == "skip"
        return verdict

    def _run_together(self, statements: list[Statement], section: str) -> None:
        """In one round trip. Which one failed is found by running them again, one by one."""
        try:
            with savepoint(self.connection):
                self.connection.execute(raw(";\n".join(statement.text for statement in statements)))
        except psycopg.Error:
            if self.connection.broken:
                raise
            for statement in statements:
                execute(self.connection, statement, section)

    def _run(self, statement: Statement, verdict: Verdict, section: str) -> None:
        if verdict.action == "later":
            self.later.append((self._as, statement))
        elif verdict.action == "skip":
            self._skip(verdict, statement)
        elif verdict.action == "try":
            self._try(statement, section, verdict)
        else:
            execute(self.connection, statement, section)

    def _skip(self, verdict: Verdict, statement: Statement) -> None:
        if verdict.code == "tablespace-missing":
            self.connection.execute("SET default_tablespace = ''")
        if verdict.code != "exists":
            self.note(verdict, statement)

    def note(self, verdict: Verdict, statement: Statement) -> None:
        self.skipped.setdefault((verdict.code, verdict.subject), []).append(statement.text)

    def _try(self, statement: Statement, section: str, verdict: Verdict) -> None:
        try:
            with savepoint(self.connection):
                self.connection.execute(raw(statement.text))
        except (
            psycopg.errors.InsufficientPrivilege,
            psycopg.errors.InvalidParameterValue,
            psycopg.errors.UndefinedObject,
            psycopg.errors.FeatureNotSupported,
        ):
            self._skip(verdict, statement)
        except psycopg.Error as error:
            raise failure(error, f"{section}, line {statement.line}", statement.text) from error

    def run_later(self, encoding: str) -> None:
        """The statements that change what was there before us."""
        with speaking(self.connection, encoding):
            self._run_later()

    def _run_later(self) -> None:
        for role, statement in self.later:
            if role:
                self.connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(role)))
            execute(self.connection, statement, "rights on what was there")
            if role:
                self.connection.execute("RESET SESSION AUTHORIZATION")
        self.later.clear()

    def findings(self) -> tuple[Finding, ...]:
        return tuple(_finding(code, subject, texts) for (code, subject), texts in self.skipped.items())


_SAID = {
    "role-missing": (
        "warning",
        "the target has no role {0}: {1} statements that name it were left out",
        "CREATE ROLE it on the target and run them: psql -c",
    ),
    "tablespace-missing": ("warning", "the target has no tablespace {0}: its default one was used", ""),
    "setting-unknown": ("info", "the target does not know the setting {0}, which was left out", ""),
    "label-provider-missing": (
        "warning",
        "security labels were left out ({0}): the target has no such provider",
        "",
    ),
    "extension-comment": (
        "info",
        "the comment on the extension {0} was left out: it belongs to another role",
        "",
    ),
}


def _finding(code: str, subject: str, texts: list[str]) -> Finding:
    severity, message, remedy = _SAID[code]
    return Finding(
        severity,  # type: ignore[arg-type]
        code,
        message.format(subject, len(texts)),
        remedy=remedy,
        examples=tuple(text + ";" for text in texts),
    )


def combined(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of both sections about the same thing, as one."""
    found: dict[tuple[str, str | None, str], Finding] = {}
    for finding in findings:
        key = (finding.code, finding.table, finding.message)
        if key in found:
            finding = replace(finding, examples=tuple(dict.fromkeys(found[key].examples + finding.examples)))
        found[key] = finding
    return tuple(found.values())


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
