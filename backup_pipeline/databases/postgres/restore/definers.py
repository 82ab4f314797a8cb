"""What runs or reads with the rights of its owner, and must not get those of a stranger who restores it.

A SECURITY DEFINER function runs as its owner; a view reads, and a rule acts, as the owner of its table. Where the target
lacks that owner, such a thing would belong to the login, mostly a superuser: everyone who may call it would have the
superuser's rights. So the owner is made, without a login and without rights of its own. Where that cannot be, or with
--no-owner, the object is closed: no other role may use it until a person grants it. A routine then runs with the
rights of its caller, for triggers and aggregates check no right to execute it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import psycopg
from psycopg import sql

from backup_pipeline.databases.postgres.restore.definitions import Facts
from backup_pipeline.databases.postgres.restore.failure import explained
from backup_pipeline.databases.postgres.restore.statements import Statement, Token
from backup_pipeline.databases.postgres.restore.target import Connection
from backup_pipeline.databases.postgres.restore.terms import Terms, is_owner, kinds_of
from backup_pipeline.model.findings import Finding

_ROUTINES = ("function", "procedure", "routine")
_RELATIONS = ("view", "table", "materialized")
_YES = ("true", "on", "yes", "1")


@dataclass(frozen=True, slots=True)
class Definers:
    """By schema and name: overloads of a function are not told apart."""

    routines: frozenset[str] = frozenset()
    #: Views that do not ask for the rights of their reader, and tables with rules; of these, what others may use.
    relations: frozenset[str] = frozenset()
    #: `FUNCTION public.f(a integer)`: these are told apart.
    definer: frozenset[str] = frozenset()
    #: The owners of tables and views.
    holders: frozenset[str] = frozenset()
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
        things: set[str] = set()
        behind_definer = False
        for statement in statements:
            head = statement.text[:30].lower()
            if head.startswith("create "):
                definer = "definer" in statement.text.lower()
                behind_definer = definer and _says(statement.tokens(), "security", "definer")
            if behind_definer and head.startswith("create "):
                routines.add(_named(statement.tokens(), *_ROUTINES))
            if head.startswith(("create view", "create rule", "create or replace", "create materialized")):
                relations |= _relation(statement)
            elif head.startswith("grant "):
                granted.add(_thing(statement)[1])
            elif head.startswith("revoke "):
                revoked.add(_thing(statement)[1])
            elif head.startswith("alter ") and is_owner(statement):
                kind, name = _thing(statement)
                owned.append((kind, name, statement.tokens()[-1].text))
                if behind_definer and kind == "routine":
                    things.add(owned_thing(statement))
                behind_definer = False
        relations &= granted
        found: dict[str, list[str]] = {}
        for kind, name, owner in owned:
            if name and name in (routines if kind == "routine" else relations):
                found.setdefault(owner, []).append(name)
        return cls(
            routines=frozenset(routines),
            relations=frozenset(relations),
            definer=frozenset(things),
            holders=frozenset(owner for kind, _, owner in owned if kind == "relation"),
            owners=tuple((owner, tuple(names)) for owner, names in sorted(found.items())),
            revoked=frozenset(revoked),
        )

    def left_to(self, statement: Statement, facts: Facts, terms: Terms) -> str:
        """What would be the login's, and must be closed, when this ALTER … OWNER TO is not run."""
        name, its_own = self.about(statement), statement.tokens()[-1].text == facts.login
        routine = self.is_routine(statement)
        if not routine and not terms.privileges:
            return ""  # no other role has a right on it
        if not name or routine or facts.superuser:
            return "" if its_own else name
        # Who gets the tables of one owner reads through that one's views what he had read; of several, more.
        kept = (facts.assumable if terms.owner else frozenset()) | {facts.login}
        alone = len(self.holders) == 1 and not facts.reads_all_rows
        return "" if alone or self.holders <= kept else name

    def about(self, statement: Statement) -> str:
        """What a GRANT or an ALTER … OWNER TO is about, if it is one of these."""
        kind, name = _thing(statement)
        return name if name in (self.routines if kind == "routine" else self.relations) else ""

    @staticmethod
    def is_routine(statement: Statement) -> bool:
        return _thing(statement)[0] == "routine"

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


def owned_thing(statement: Statement) -> str:
    """`FUNCTION public.f(a integer)` of its ALTER … OWNER TO."""
    return statement.text.partition(" ")[2].rpartition(" OWNER TO ")[0]


def _thing(statement: Statement) -> tuple[str, str]:
    """(routine or relation, its name) of a GRANT, a REVOKE, an ALTER … OWNER TO."""
    tokens = statement.tokens()
    # Behind ON, for a column may be called `function`.
    at = (
        1
        if tokens[0].is_word("alter")
        else next((i + 1 for i, one in enumerate(tokens) if one.is_word("on")), 0)
    )
    kind = tokens[at] if at < len(tokens) else tokens[0]
    if kind.is_word(*_ROUTINES):
        return "routine", _named(tokens[at:], *_ROUTINES)
    return ("relation", _named(tokens[at:], *_RELATIONS)) if kind.is_word(*_RELATIONS) else ("", "")


def _asks_its_reader(tokens: Sequence[Token]) -> bool:
    """WITH (security_invoker='true') before AS: a column may be called so, too."""
    end = next((at for at, token in enumerate(tokens) if token.is_word("as")), 0)
    words = [token.text.strip("'").lower() for token in tokens[:end]]
    return any(
        words[at] == "security_invoker" and words[at + 1 : at + 3] in (["=", yes] for yes in _YES)
        for at in range(end)
    )


def _relation(statement: Statement) -> set[str]:
    kinds = kinds_of(statement)
    if kinds & {"view", "materialized view"}:
        tokens = statement.tokens()
        return set() if _asks_its_reader(tokens) else {_named(tokens, "view")}
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
        yield Finding.of("owner-made", owner=owner, count=len(names), examples=names[:20])
