"""What runs or reads with the rights of its owner, and must not get those of a stranger who restores it.

A SECURITY DEFINER function runs as its owner; a view reads, and a rule acts, as the owner of its table. Where the target
lacks that owner, such a thing would belong to the login, mostly a superuser: everyone who may call it would have the
superuser's rights. So the owner is made, without a login and without rights of its own. Where that cannot be, or with
--no-owner, the object is closed: nobody else may use it until a person gives it to someone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from backup_pipeline.model.findings import Finding
from backup_pipeline.restore.postgres.definitions import Facts
from backup_pipeline.restore.postgres.failure import explained
from backup_pipeline.restore.postgres.target import Connection
from backup_pipeline.restore.postgres.terms import Terms, is_owner, kinds_of
from backup_pipeline.restore.statements import Statement, Token

_ROUTINES = ("function", "procedure", "routine")
_RELATIONS = ("view", "table", "materialized")


@dataclass(frozen=True, slots=True)
class Definers:
    """By schema and name: overloads of a function are not told apart."""

    routines: frozenset[str] = frozenset()
    #: Views that do not ask for the rights of their reader, and tables with rules.
    relations: frozenset[str] = frozenset()
    #: Role → what of it others may use.
    owners: tuple[tuple[str, tuple[str, ...]], ...] = ()
    #: What the source has closed to everybody.
    revoked: frozenset[str] = frozenset()

    @classmethod
    def of(cls, statements: Iterable[Statement]) -> Definers:
        routines: set[str] = set()
        relations: set[str] = set()
        granted: set[str] = set()
        revoked: set[str] = set()
        owned: list[tuple[str, str, str]] = []
        for statement in statements:
            head = statement.text[:30].lower()
            definer = head.startswith("create ") and "definer" in statement.text.lower()
            if definer and _says(statement.tokens(), "security", "definer"):
                routines.add(_named(statement.tokens(), *_ROUTINES))
            if head.startswith(("create view", "create rule", "create or replace")):
                relations |= _relation(statement)
            elif head.startswith("grant "):
                granted.add(_named(statement.tokens(), "table"))
            elif head.startswith("revoke "):
                revoked.add(_named(statement.tokens(), *_ROUTINES))
            elif head.startswith("alter ") and is_owner(statement):
                tokens = statement.tokens()
                kind = "routine" if tokens[1].is_word(*_ROUTINES) else "relation"
                owned.append((kind, _named(tokens, *_ROUTINES, *_RELATIONS), tokens[-1].text))
        found: dict[str, list[str]] = {}
        for kind, name, owner in owned:
            if name and (name in routines if kind == "routine" else name in relations & granted):
                found.setdefault(owner, []).append(name)
        owners = tuple((owner, tuple(names)) for owner, names in sorted(found.items()))
        return cls(frozenset(routines), frozenset(relations), owners, frozenset(revoked))

    def left_to(self, statement: Statement, facts: Facts) -> str:
        """What would be the login's, and must be closed, when this ALTER … OWNER TO is not run."""
        tokens = statement.tokens()
        if tokens[-1].text == facts.login:
            return ""
        name = self.about(statement)
        return name if name in self.routines or facts.superuser else ""

    def about(self, statement: Statement) -> str:
        """What a GRANT or an ALTER … OWNER TO is about, if it is one of these."""
        name = _named(statement.tokens(), *_ROUTINES, *_RELATIONS)
        return name if name in self.routines or name in self.relations else ""

    def missing(self, facts: Facts) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return tuple(
            (owner, names)
            for owner, names in self.owners
            if owner not in facts.roles and not owner.startswith("pg_")
        )


def _says(tokens: Sequence[Token], *words: str) -> bool:
    return any(
        all(token.is_word(word) for token, word in zip(tokens[at:], words, strict=False))
        for at in range(len(tokens) - len(words) + 1)
    )


def _relation(statement: Statement) -> set[str]:
    kinds = kinds_of(statement)
    if "view" in kinds:
        tokens = statement.tokens()
        invoker = "security_invoker" in {token.text for token in tokens[:30]} and not _says(
            tokens[:30], "false"
        )
        return set() if invoker else {_named(tokens, "view")}
    if "rule" in kinds:
        tokens = statement.tokens()
        at = next((at for at, token in enumerate(tokens) if token.is_word("to")), len(tokens))
        return {_name(tokens, at + 1)}
    return set()


def _named(tokens: Sequence[Token], *kinds: str) -> str:
    """The name behind the first of these words."""
    at = next((at for at, token in enumerate(tokens) if token.is_word(*kinds)), -1)
    if at < 0:
        return ""
    while at + 1 < len(tokens) and tokens[at + 1].is_word("view", "only"):
        at += 1
    return _name(tokens, at + 1)


def _name(tokens: Sequence[Token], at: int) -> str:
    """Quoted, as one text: names may hold dots."""
    parts = [token for token in tokens[at : at + 3] if token.is_name or token.text == "."]
    return "".join(
        "." if token.text == "." and not token.is_name else '"' + token.text.replace('"', '""') + '"'
        for token in parts
    )


def able(facts: Facts, terms: Terms) -> bool:
    """Whether missing owners are made."""
    return facts.may_make_roles and terms.owner and terms.make_owners


def with_owners(facts: Facts, definers: Definers, terms: Terms) -> Facts:
    """As it is once they are made."""
    made = {owner for owner, _ in definers.missing(facts)} if able(facts, terms) else set()
    return replace(facts, roles=facts.roles | made, assumable=facts.assumable | made)


def make_owners(
    connection: Connection, facts: Facts, definers: Definers, terms: Terms, made: list[str]
) -> None:
    """Tells `made` of each, so that they can be dropped again."""
    for owner, _ in definers.missing(facts) if able(facts, terms) else ():
        with explained(f"making the role {owner}, without a login, for what runs with its rights"):
            role = sql.Identifier(owner)
            connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(role))
            made.append(owner)
            if not facts.superuser:
                connection.execute(sql.SQL("GRANT {} TO CURRENT_USER").format(role))


def drop_owners(connection: Connection, roles: Iterable[str]) -> None:
    """After a failure. One that something of others uses by now stays."""
    for role in roles:
        with suppress(psycopg.errors.DependentObjectsStillExist):
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))


def foreseen(facts: Facts, definers: Definers, terms: Terms) -> Iterator[Finding]:
    """Before the owners are made. What is closed is named where it is closed."""
    for owner, names in definers.missing(facts) if able(facts, terms) else ():
        yield Finding(
            "warning",
            "owner-made",
            f"the target has no role {owner}, and what runs or reads with its rights is here ({len(names)}): it is made, without a login",
            remedy="it has no rights but those that the backup gives it; --no-owner makes none and closes the objects",
            examples=names[:20],
        )
