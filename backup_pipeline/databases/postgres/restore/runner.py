"""Running the dump's SQL, statement by statement, and keeping account of what was not run, always with its text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.restore.definers import Definers, owned_thing
from backup_pipeline.databases.postgres.restore.definitions import RUN, Facts, Verdict, judge, raw, savepoint
from backup_pipeline.databases.postgres.restore.failure import failure
from backup_pipeline.databases.postgres.restore.pieces import make_in_pieces
from backup_pipeline.databases.postgres.restore.remainder import Left
from backup_pipeline.databases.postgres.restore.rules import again
from backup_pipeline.databases.postgres.restore.screening import without_passwords
from backup_pipeline.databases.postgres.restore.statements import Statement
from backup_pipeline.databases.postgres.restore.target import Connection, speaking
from backup_pipeline.databases.postgres.restore.terms import Terms, is_owner
from backup_pipeline.errors import RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.register import TEMPLATES

#: So many statements are sent at once: a round trip for each would take longer than most of them.
_BATCH = 100
#: Skipped, and no part of the remainder: the target has it, or needs no such thing.
_NO_LOSS = ("exists", "asked", "setting-unknown", "tablespace-missing", "extension-comment")
#: The field of `Terms` → the reason that stands in the remainder.
_ASKED = {"code": "--no-code", "trusted": "it would run in the drill's own sessions"}


@dataclass
class Runner:
    """Runs statements on one connection and keeps account of what it skipped."""

    connection: Connection
    facts: Facts
    terms: Terms = field(default_factory=Terms)
    definers: Definers = field(default_factory=Definers)
    #: What is left for the last transaction: (session authorization at the time, statement, verdict).
    later: list[tuple[str, Statement, Verdict]] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    told: list[Finding] = field(default_factory=list)
    skipped: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    _as: str = ""
    _silent_until_reset: bool = False
    _silent: Verdict = RUN
    _closed: set[str] = field(default_factory=set)

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
            return replace(self._silent, action="skip")
        asked = self.terms.leave_out(statement)
        verdict = Verdict("skip", "asked", asked) if asked else self._judge(statement)
        if verdict.action == "skip" and is_owner(statement):
            self._closing(statement)
        elif is_owner(statement) and statement.tokens()[-1].text == self.facts.login:
            self._closed.add(self.definers.left_to(statement, self.facts, self.terms))
        elif lowered.startswith("grant ") and (self.definers.about(statement) or None) in self._closed:
            return Verdict("skip", "definer-closed", self.facts.login)
        if lowered.startswith("set session authorization"):
            self._as = verdict.subject or statement.tokens(4)[3].text.strip("'")
            self._silent_until_reset = verdict.action == "skip"
            self._silent = verdict
        return verdict

    def _judge(self, statement: Statement) -> Verdict:
        try:
            return judge(statement, self.facts)
        except RestoreError as error:
            if not self.terms.keep_going:
                raise
            return Verdict("skip", "not-made", error.message)

    def _run_together(self, statements: list[Statement], section: str) -> None:
        """In one round trip. Which one failed is found by running them again, one by one."""
        try:
            with savepoint(self.connection):
                self.connection.execute(raw(";\n".join(statement.text for statement in statements)))
        except psycopg.Error:
            if self.connection.broken:
                raise
            for statement in statements:
                self._execute(statement, section)

    def _run(self, statement: Statement, verdict: Verdict, section: str) -> None:
        if verdict.action == "later":
            self.later.append((self._as, statement, verdict))
        elif verdict.action == "skip":
            self._skip(verdict, statement)
        elif verdict.action == "try":
            self._try(statement, section, verdict)
        else:
            self._execute(statement, section)

    def _execute(self, statement: Statement, section: str) -> None:
        partial = self.terms.partial or any(one.needed for one in self.left)
        terms = replace(self.terms, partial=partial)
        found = attempt(self.connection, statement, section, terms)
        if any(isinstance(one, Left) for one in found):
            pieces = make_in_pieces(self.connection, statement, self.terms)
            found = found if pieces is None else tuple(pieces)
        for one in found:
            if isinstance(one, Left):
                self.left.append(one)
            else:
                self.told.append(one)

    def _skip(self, verdict: Verdict, statement: Statement) -> None:
        if is_owner(statement) and self.definers.left_to(statement, self.facts, self.terms):
            self._close(verdict, statement)
        if verdict.code == "tablespace-missing":
            self.connection.execute("SET default_tablespace = ''")
        if verdict.code == "asked" and verdict.subject in _ASKED:
            self.left.append(Left(_ASKED[verdict.subject], statement.text, asked=True))
        if verdict.code == "not-made":
            self.left.append(Left(verdict.subject, statement.text))
        self.note(verdict, statement)
        if verdict.code not in (*_NO_LOSS, "not-made"):
            self.left.append(Left(_reason(verdict.code, verdict.subject), statement.text))

    def _closing(self, statement: Statement) -> None:
        if name := self.definers.left_to(statement, self.facts, self.terms):
            self._closed.add(name)
            self.note(Verdict("skip", "definer-closed", self.facts.login), statement)

    def _close(self, verdict: Verdict, statement: Statement) -> None:
        """It belongs to the login, and would give everyone the login's rights."""
        reason = _reason("definer-closed", self.facts.login)
        thing = owned_thing(statement)
        if self.definers.is_routine(statement):
            # Triggers and aggregates ask for no EXECUTE.
            self.connection.execute(raw(f"ALTER {thing} SECURITY INVOKER"))
            self.connection.execute(raw(f"REVOKE ALL ON {thing} FROM PUBLIC"))
            if thing in self.definers.definer:
                self.left.append(Left(reason, f"ALTER {thing} SECURITY DEFINER"))
            if self.definers.about(statement) not in self.definers.revoked:
                self.left.append(Left(reason, f"GRANT EXECUTE ON {thing} TO PUBLIC"))
        if verdict.code == "asked":
            self.left.append(Left(reason, statement.text))

    def note(self, verdict: Verdict, statement: Statement) -> None:
        if verdict.code in ("exists", "asked", "not-made"):
            return
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
            if is_owner(statement):
                self._closing(statement)
            self._skip(verdict, statement)
        except psycopg.Error as error:
            self.left.append(forgiven(error, statement, section, self.terms))

    def run_later(self, encoding: str) -> None:
        """The statements that change what was there before us."""
        with speaking(self.connection, encoding):
            self._run_later()

    def _run_later(self) -> None:
        section = "rights on what was there"
        # A new owner must be allowed to make things in the schema already. (A superuser may give to anyone; event triggers
        # stay last.)
        ordered = self.later if self.facts.superuser else sorted(self.later, key=lambda one: is_owner(one[1]))
        for role, statement, verdict in ordered:
            if role:
                self.connection.execute(sql.SQL("SET SESSION AUTHORIZATION {}").format(sql.Identifier(role)))
            if verdict.code:
                self._try(statement, section, verdict)
            else:
                self._execute(statement, section)
            if role:
                self.connection.execute("RESET SESSION AUTHORIZATION")
        self.later.clear()

    def findings(self) -> tuple[Finding, ...]:
        skipped = (_finding(code, subject, texts) for (code, subject), texts in self.skipped.items())
        return (*skipped, *self.told)


def _finding(code: str, subject: str, texts: list[str]) -> Finding:
    statements = "1 statement was" if len(texts) == 1 else f"{len(texts)} statements were"
    examples = (without_passwords(text) + ";" for text in texts)
    return Finding.of(code, subject=subject, statements=statements, examples=examples)


def _reason(code: str, subject: str) -> str:
    """The message without the count of statements."""
    return TEMPLATES[code].message.partition(": {statements}")[0].format(subject=subject)


def attempt(
    connection: Connection, statement: Statement, section: str, terms: Terms
) -> tuple[Finding | Left, ...]:
    """Run it. What is tolerated leaves the transaction as it was, and comes back."""
    try:
        with savepoint(connection):
            connection.execute(raw(statement.text))
        return ()
    except psycopg.Error as error:
        return tolerated(connection, error, statement, section, terms)


def tolerated(
    connection: Connection, error: psycopg.Error, statement: Statement, section: str, terms: Terms
) -> tuple[Finding | Left, ...]:
    """What became of a statement that failed; raised where neither its kind nor the terms let it fail."""
    found = again(connection, statement, error, terms.path) if section != "pre-data" and terms.code else None
    return found if found is not None else (forgiven(error, statement, section, terms),)


def forgiven(error: psycopg.Error, statement: Statement, section: str, terms: Terms) -> Left:
    """As an item of the remainder, or raised."""
    if not terms.forgives(error.sqlstate):
        own = not terms.owner and not terms.privileges
        raise failure(error, f"{section}, line {statement.line}", statement.text, own=own) from error
    return Left(terms.reason(error, statement), statement.text)


def combined(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings of both sections about the same thing, as one."""
    found: dict[tuple[str, str | None, str], Finding] = {}
    for finding in findings:
        key = (finding.code, finding.table, finding.message)
        if key in found:
            finding = replace(finding, examples=tuple(dict.fromkeys(found[key].examples + finding.examples)))
        found[key] = finding
    return tuple(found.values())
