"""Looks at definitions before they are stored or shown: what a faithful dump does not hold is refused, and passwords are
taken out where others can read them.

Where passwords stand in PostgreSQL's definitions: the options of foreign servers, user mappings and foreign tables, and
the connection of a subscription. Roles have none there: pg_dump does not ask for them, and we do not either.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from backup_pipeline.databases.postgres.restore.statements import Statement, Token, split
from backup_pipeline.errors import NotSupported, RestoreError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Schema, Setting

#: (section, made by, SQL text), as `sources.base.Snapshot.ddl` gives them.
Section = tuple[str, str, bytes]

#: Stands in the place of a password. A subscription or a server that needs one can be made with it, and does not connect.
TAKEN_OUT = "not-in-this-backup"

#: The options and settings whose value is a secret.
SECRET = re.compile(
    r"(?i)passw|pwd$|secret|token|credential|(?:api|access|private|service|sa)_?key(?!_?id)|jwt"
)
#: Of settings, whose names are the applications' own: `myapp.key` as well.
_SECRET_SETTING = re.compile(rf"{SECRET.pattern}|[._]keys?$")
#: postgres_fdw: password_required 'false'.
_NO_SECRET = ("", "true", "false", "on", "off", "yes", "no", "0", "1")
#: How a statement begins that may hold one.
_HOLDERS = (
    ("create", "server"), ("alter", "server"), ("create", "user", "mapping"), ("alter", "user", "mapping"),
    ("create", "subscription"), ("alter", "subscription"), ("create", "foreign"), ("alter", "foreign"),
)  # fmt: skip
_MAY_HOLD = (b"USER MAPPING", b"SUBSCRIPTION", b"OPTIONS")
#: password=… of a connection string, with quotes of its own or without; and the passwords of a URL.
_IN_CONNECTION = re.compile(
    r"(?i)\b((?:ssl)?password|oauth_client_secret)(\s*=\s*)(?:'(?:[^'\\]|\\.)*'|(?:[^\s\\']|\\.)(?:[^\s\\]|\\.)*)"
)
_IN_URL = re.compile(r"(\w[\w+.-]*://[^:/?#@\s]*):\S*@")
_IN_QUERY = re.compile(r"(?i)([?&](?:ssl)?(?:password|oauth_client_secret)=)[^&\s]*")


@dataclass(frozen=True, slots=True)
class Screened:
    """What may be stored, and what is to be said of it."""

    sections: tuple[Section, ...]
    schema: Schema
    findings: tuple[Finding, ...] = ()


def screened(sections: tuple[Section, ...], schema: Schema, *, encrypted: bool) -> Screened:
    if schema.engine != "postgres":
        return Screened(sections, schema)
    _refuse_commands(sections)
    if encrypted:
        return Screened(sections, schema)
    kept, named = _without_passwords(sections)
    about, more = _without_secret_settings(schema)
    return Screened(kept, about, tuple(_finding([*named, *more])))


def _refuse_commands(sections: tuple[Section, ...]) -> None:
    r"""The text of a view is what the server says it is. One that says `SELECT 1; \! rm -rf /` has the second part run
    by psql, as the user who restores (CVE-2025-8714)."""
    for name, _, text in sections:
        if b"\\" not in text:
            continue
        try:
            for _ in split(_decoded(text)):
                pass
        except RestoreError as error:
            raise NotSupported(
                f"{name}, {error.message}",
                remedy="no honest server writes such a line: see which view, rule or function it stands in, who could "
                "change what the server says of it, and do not run a dump of this database with psql",
            ) from None


def _without_passwords(sections: tuple[Section, ...]) -> tuple[tuple[Section, ...], list[str]]:
    kept: list[Section] = []
    named: list[str] = []
    for name, made_by, raw in sections:
        text = _decoded(raw)
        if any(word in raw for word in _MAY_HOLD):
            position = 0
            for statement in split(text):
                position = text.index(statement.text, position)
                said = hidden(statement)
                if said != statement.text:
                    text = text[:position] + said + text[position + len(statement.text) :]
                    named.append(_named(statement))
                position += len(said)
        kept.append((name, made_by, text.encode("utf-8", "surrogateescape")))
    return tuple(kept), named


def _without_secret_settings(schema: Schema) -> tuple[Schema, list[str]]:
    """`ALTER DATABASE shop SET app.jwt_secret = …`: left out as a whole, for a secret that everybody can read here is worse
    than none. The server's own settings (`password_encryption`) have no dot, and are no secrets."""
    named: list[str] = []

    def kept(settings: Iterable[Setting], whose: str) -> tuple[Setting, ...]:
        secret = {one.name for one in settings if "." in one.name and _SECRET_SETTING.search(one.name)}
        named.extend(f"SETTING {name} OF {whose}" for name in sorted(secret))
        return tuple(one for one in settings if one.name not in secret)

    database = schema.database
    if database is not None:
        database = replace(database, settings=kept(database.settings, "THE DATABASE"))
    roles = tuple(
        replace(role, settings=kept(role.settings, f"ROLE {role.name}")) for role in schema.role_definitions
    )
    return replace(schema, database=database, role_definitions=roles), named


def hidden(statement: Statement) -> str:
    """The statement without its passwords: the same text where it holds none."""
    words = tuple(token.text if token.kind == "word" else "" for token in statement.tokens(3))
    if words[:2] in (("alter", "database"), ("alter", "role")):
        return _setting_hidden(statement)
    if not any(words[: len(holder)] == holder for holder in _HOLDERS):
        return statement.text
    text, moved = statement.text, 0
    before: Token | None = None
    for token, place in statement.placed():
        if token.kind == "string" and token.text.endswith("'") and before is not None:
            said = _value(before, token.text)
            text = text[: place.start + moved] + said + text[place.stop + moved :]
            moved += len(said) - len(token.text)
        before = token
    return text


def _setting_hidden(statement: Statement) -> str:
    """ALTER DATABASE … SET "app"."jwt_secret" TO '…'"""
    placed = list(statement.placed())
    at = next((i for i, (token, _) in enumerate(placed) if token.is_word("set")), len(placed))
    name = "".join(token.text for token, _ in placed[at + 1 : -1])
    if "." not in name or not _SECRET_SETTING.search(name):
        return statement.text
    return statement.text[: placed[-1][1].start] + f"'{TAKEN_OUT}'"


def without_passwords(statement: str) -> str:
    """For messages and findings of every vault: they are written down elsewhere."""
    return hidden(Statement(statement, 1))


def _value(before: Token, string: str) -> str:
    escaped = string[0] in "eE"
    value = string[string.index("'") + 1 : -1].replace("''", "'")
    value = value.replace("\\\\", "\\") if escaped else value
    if before.is_name and SECRET.search(before.text) and value.lower() not in _NO_SECRET:
        return f"'{TAKEN_OUT}'"
    said = _IN_QUERY.sub(rf"\1{TAKEN_OUT}", _IN_URL.sub(rf"\1:{TAKEN_OUT}@", value))
    if "://" not in value:
        said = _IN_CONNECTION.sub(rf"\1\2{TAKEN_OUT}", said)
    if said == value:
        return string
    said = said.replace("'", "''")
    return "E'" + said.replace("\\", "\\\\") + "'" if escaped else f"'{said}'"


def _named(statement: Statement) -> str:
    """`USER MAPPING FOR app SERVER crm`: the head of the statement, up to what may hold the password."""
    head = re.split(
        r"\s+(?:OPTIONS|CONNECTION|FOREIGN DATA WRAPPER|TYPE|VERSION|\()", statement.text, maxsplit=1
    )[0]
    return " ".join(head.split()).removeprefix("CREATE ")


def _finding(named: list[str]) -> list[Finding]:
    if not named:
        return []
    return [Finding.of("password-taken-out", count=len(named), examples=named)]


#: What a restore has to say of such a finding of a backup, and RECOVER.md after the definitions.
TO_SET = {
    "password-taken-out": "passwords that this backup does not hold have to be set again",
    "mapping-options-unread": "options of user mappings, which the login of the backup could not read, have to be set again",
}


def to_be_set(findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    return tuple(
        replace(one, message=f"{asked}: {len(one.examples)}")
        for one in findings
        if (asked := TO_SET.get(one.code))
    )


def _decoded(text: bytes) -> str:
    return text.decode("utf-8", "surrogateescape")
