"""What a restore leaves out and what it forgives: rules over the kinds of statements that a dump is made of."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import psycopg

from backup_pipeline.databases.postgres.export.diagnostics import told
from backup_pipeline.databases.postgres.restore.own_names import NOT_FOUND, OwnPath
from backup_pipeline.databases.postgres.restore.statements import Statement

#: What runs, or is made of what runs.
CODE = frozenset(
    {
        "function", "procedure", "routine", "aggregate", "trigger", "event trigger", "rule", "language", "operator",
        "operator class", "operator family", "cast", "transform", "access method", "conversion", "unknown",
    }
)  # fmt: skip
#: The field of `Terms` → the kinds that are left out where it is off.
LEFT_OUT: Mapping[str, frozenset[str]] = {
    "owner": frozenset({"owner"}),
    # What was taken from everybody stays taken (`revoke`): a restore opens nothing that was closed.
    "privileges": frozenset({"grant", "default privileges"}),
    "code": CODE,
    "trusted": frozenset({"event trigger"}),
}

#: SQLSTATEs of a statement that speaks of something which is not there.
_DEPENDS = (*NOT_FOUND, "42830", "42P17", "42803")
#: Missing because of the login's rights, and never because code was left out.
_WITHOUT_CODE = frozenset({"extension", "server", "user mapping", "foreign table"})
#: Classes that say something of the server or the session and not of the statement: never forgiven.
_NOT_OF_THE_STATEMENT = ("08", "25", "40", "53", "57", "58", "XX")


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    owner: bool = True
    privileges: bool = True
    code: bool = True
    #: Off in a drill: no event trigger is made, no language that is not trusted runs, and no foreign server is reached.
    trusted: bool = True
    #: What fails is left out and listed; the rows are committed.
    keep_going: bool = False
    #: Where functions find what they name without a schema.
    path: OwnPath = field(default_factory=OwnPath)
    #: The owners that the target lacks are made where something runs with their rights (`definers`).
    make_owners: bool = True
    #: The backup lacks the definitions of tables that others may refer to, or a rule was left out: what needs it is left out and listed.
    partial: bool = False
    #: Roles that the target lacks are made as they were, without passwords.
    roles: bool = False
    #: What the database had besides its objects is given to it: settings, rights, comment, owner.
    surroundings: bool = True

    def leave_out(self, statement: Statement) -> str:
        """The name of the field for which it is left out; nothing where it is not."""
        if self.owner and self.privileges and self.code and self.trusted:
            return ""
        kinds = kinds_of(statement)
        return next((name for name, some in LEFT_OUT.items() if not getattr(self, name) and kinds & some), "")

    @property
    def forgiving(self) -> bool:
        return self.keep_going or self.partial or not self.code

    def forgives(self, sqlstate: str | None) -> bool:
        """Whether a statement that failed so is left out and listed."""
        state = sqlstate or "08"
        if self.keep_going:
            return not state.startswith(_NOT_OF_THE_STATEMENT)
        return (self.partial or not self.code) and state in _DEPENDS

    def reason(self, error: psycopg.Error, statement: Statement) -> str:
        """What was said, and that code was left out where that can be why: something was not found."""
        blamed = not self.code and error.sqlstate in _DEPENDS and not kinds_of(statement) & _WITHOUT_CODE
        return f"{told(error)[0]} (--no-code)" if blamed else told(error)[0]


_OBJECT = (
    r"(event trigger|materialized view|text search \w+|foreign table|foreign data wrapper|user mapping|access method"
    r"|operator class|operator family|default privileges|large object|\w+)"
)
_BEFORE_IT = r"(?:(?:trusted|procedural|constraint|unlogged|unique|recursive) )*"
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern))
    for kind, pattern in (
        ("", rf"create (?:or replace )?{_BEFORE_IT}{_OBJECT}"),
        ("trigger", r"alter (?:foreign )?table .*\b(?:enable|disable) (?:always |replica )?trigger\b"),
        ("rule", r"alter table .*\b(?:enable|disable) (?:always |replica )?rule\b"),
        ("", rf"(?:alter|comment on) {_BEFORE_IT}{_OBJECT}"),
        ("setting", r"(?:set|reset) |select pg_catalog \. (?:set_config|setval)\b"),
        ("security label", r"security label\b"),
    )
)


def kinds_of(statement: Statement) -> frozenset[str]:
    """What it makes or changes (`table`, `function` …), and `owner` or `grant` where that is what it says of it; `unknown`
    where pg_dump writes no such thing."""
    tokens = statement.tokens(14)
    words = " ".join(token.text if token.kind != "name" else '""' for token in tokens) + " "
    if words.startswith(("grant ", "revoke ")):
        about = re.search(r" on (function|procedure|routine|language) ", words)
        return frozenset({words.partition(" ")[0], about[1] if about else "table"})
    kind = next((kind or found[1] for kind, rule in _RULES if (found := rule.match(words))), "unknown")
    return frozenset({kind, "owner"}) if is_owner(statement) else frozenset({kind})


def code_of(statements: Iterable[Statement]) -> dict[str, int]:
    """What of a dump is code that its source wrote, by kind."""
    made = (statement for statement in statements if statement.text[:7].lower() == "create ")
    return dict(Counter(kind for statement in made for kind in sorted(kinds_of(statement) & CODE)))


def is_owner(statement: Statement) -> bool:
    """ALTER … OWNER TO …"""
    if not statement.text[:6].lower().startswith("alter "):
        return False
    ending = statement.tokens()[-3:]
    return len(ending) == 3 and ending[0].is_word("owner") and ending[1].is_word("to")
