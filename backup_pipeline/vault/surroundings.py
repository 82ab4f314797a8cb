"""The SQL that gives a database what it had besides its objects, and its server the roles that it speaks of.

For RECOVER.md, for a restore and for a drill; each says in its own way what was refused.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from backup_pipeline.errors import Damaged
from backup_pipeline.model.schema import Database, Membership, Right, Role, Setting
from backup_pipeline.vault.quoting import identifier, literal

#: Settings whose value is a list of names, each with its own quotes (GUC_LIST_QUOTE; pg_dump has the same list).
_LISTS = frozenset(
    {
        "local_preload_libraries", "search_path", "session_preload_libraries", "shared_preload_libraries",
        "temp_tablespaces", "unix_socket_directories",
    }
)  # fmt: skip

#: What stands in the SQL without quotes. The server said it, and it could say anything: `CONNECT ON …; \! rm -rf /`.
_PRIVILEGES = re.compile(r"CONNECT|CREATE|TEMPORARY")
_ATTRIBUTES = re.compile(
    r"SUPERUSER|NOINHERIT|CREATEROLE|CREATEDB|LOGIN|REPLICATION|BYPASSRLS|CONNECTION LIMIT -?\d+"
    r"|VALID UNTIL '[\w :+.-]+'"
)

Kind = Literal["close", "right", "setting", "limit", "comment", "owner"]


@dataclass(frozen=True, slots=True)
class Step:
    kind: Kind
    sql: str
    item: Right | Setting | None = None


def database_steps(database: Database, name: str) -> Iterator[Step]:
    """`name` is quoted already. The owner comes last: who gives a database away can change nothing of it any more."""
    yield Step("close", f"REVOKE ALL ON DATABASE {name} FROM PUBLIC")
    for right in database.rights:
        option = " WITH GRANT OPTION" if right.grantable else ""
        to = identifier(right.role) if right.role else "PUBLIC"
        privilege = _known(right.privilege, _PRIVILEGES, "a right on a database")
        yield Step("right", f"GRANT {privilege} ON DATABASE {name} TO {to}{option}", right)
    for setting in database.settings:
        whose = f"ROLE {identifier(setting.role)} IN DATABASE {name}" if setting.role else f"DATABASE {name}"
        yield Step("setting", _set(whose, setting), setting)
    if database.connection_limit != -1:
        yield Step("limit", f"ALTER DATABASE {name} CONNECTION LIMIT {database.connection_limit}")
    if database.comment is not None:
        yield Step("comment", f"COMMENT ON DATABASE {name} IS {literal(database.comment)}")
    yield Step("owner", f"ALTER DATABASE {name} OWNER TO {identifier(database.owner)}")


def role_statements(roles: Iterable[Role], missing: Iterable[str] | None = None) -> Iterator[str]:
    """Of those that are `missing` (None: all): they themselves first, then what they are members of."""
    wanted = None if missing is None else set(missing)
    made = [role for role in roles if wanted is None or role.name in wanted]
    for role in made:
        attributes = [_known(one, _ATTRIBUTES, "an attribute of a role") for one in role.attributes]
        yield f"CREATE ROLE {identifier(role.name)} {' '.join(attributes)}".rstrip()
    for role in made:
        for membership in role.member_of:
            yield f"GRANT {identifier(membership.role)} TO {identifier(role.name)}{_options(membership)}"
        for setting in role.settings:
            yield _set(f"ROLE {identifier(role.name)}", setting)
        if role.comment is not None:
            yield f"COMMENT ON ROLE {identifier(role.name)} IS {literal(role.comment)}"


def _known(text: str, known: re.Pattern[str], what: str) -> str:
    if known.fullmatch(text) is None:
        raise Damaged(
            f"the server that was backed up names what is not {what}: {text[:80]!r}",
            remedy="no honest server does: see who could change its catalog (pg_catalog), and restore an older backup",
        )
    return text


def _options(membership: Membership) -> str:
    if membership.inherits and membership.settable:
        return " WITH ADMIN OPTION" if membership.admin else ""
    said = {"ADMIN": membership.admin, "INHERIT": membership.inherits, "SET": membership.settable}
    return " WITH " + ", ".join(f"{word} {str(value).upper()}" for word, value in said.items())


def _set(whose: str, setting: Setting) -> str:
    # `app.tenant` is two names.
    name = ".".join(map(identifier, setting.name.split(".")))
    values = [setting.value]
    if setting.name.lower() in _LISTS:
        values = next(csv.reader([setting.value], skipinitialspace=True), [""])
    return f"ALTER {whose} SET {name} TO {', '.join(map(literal, values))}"
