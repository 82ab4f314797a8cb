"""How a row of a table is known: its natural keys, the kind of its generated key, and the moment of its birth.

Belongs here: what the definitions of the target tell. Whether a key is unique in the data is asked later.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from backup_pipeline.databases.merge.fitting import base, domain_base
from backup_pipeline.databases.merge.graph import Reference
from backup_pipeline.model.affinity import affinity
from backup_pipeline.model.schema import Column, Schema, Table


@dataclass(frozen=True, slots=True)
class KeyCandidate:
    #: In the target.
    columns: tuple[str, ...]
    #: For people: "users_email_key", "the rule".
    name: str
    #: Only rows that meet this condition of a partial index; "": all.
    where: str = ""
    #: The target itself takes no second row with these values.
    enforced: bool = True
    #: Two rows with NULL are two rows with the same values.
    nulls_equal: bool = False


@dataclass(frozen=True, slots=True)
class Keys:
    found: tuple[KeyCandidate, ...]
    #: Keys that do not count, and why: "users_lower_idx is on an expression".
    unused: tuple[str, ...]


def usable_keys(
    table: Table,
    given: Collection[str],
    *,
    generated: str = "",
    natural: Sequence[tuple[str, ...]] = (),
    no_key: Collection[str] = (),
) -> Keys:
    """`given`: columns of the target that the backup has values for. `generated`: the kind of the primary key. `natural`
    and `no_key` are of the rules. Rule keys come first, then the primary key, then the shortest. A generated key is one only
    where a rule says so: the settings of an application name such a row by its number."""
    own = table.primary_key.columns if generated and table.primary_key else ()
    found: dict[tuple[frozenset[str], str], KeyCandidate] = {}
    unused = [
        f"{index.name} is on an expression"
        for index in table.indexes
        if index.unique and not all(part.column for part in index.parts)
    ]
    for key in _candidates(table, natural):
        why = _why_unused(table, key, given, own, no_key)
        if why:
            unused.append(f"{key.name} {why}")
        elif key.columns != own or key.columns in natural:
            found.setdefault((frozenset(key.columns), key.where), key)
    return Keys(tuple(found.values()), tuple(unused))


def generated_key(table: Table, schema: Schema, references: Iterable[Reference] = ()) -> str:
    """identity · sequence · rowid · uuid; "": the primary key is no generated key.

    A key that refers to a parent is none: it is the key of the parent.
    """
    key = table.primary_key.columns if table.primary_key else ()
    column = next((one for one in table.columns if (one.name,) == key), None)
    parents = {one.columns for one in table.foreign_keys}
    parents |= {one.columns for one in references if one.table == table.id}
    if column is None or key in parents:
        return ""
    if column.identity is not None:
        return "rowid" if schema.engine == "sqlite" else "identity"
    owned = any((one.owned_by, one.owned_by_column) == (table.id, column.name) for one in schema.sequences)
    if owned or "nextval(" in (column.default or ""):
        return "sequence"
    return "uuid" if _is_uuid(column, schema) else ""


#: A column of one of these names is set when a row is made, and never again. The first that a table has counts.
BIRTH = (
    *("created_at", "created", "date_joined", "inserted_at", "created_on", "date_created", "registered_at"),
    *("creation_date", "create_date", "created_date", "creation_time", "created_time", "create_time"),
    *("joined_at", "date_added", "added_at", "signed_up_at"),
)


def birth_column(table: Table, schema: Schema, rule: str = "") -> str:
    """The column with the moment at which a row was made; "": none is known. `rule` names it where a rule does."""
    columns = {one.name: one for one in table.columns}
    if rule:
        return rule if rule in columns else ""
    plain = {name.lower().replace("_", ""): one for name, one in reversed(columns.items())}
    named = (plain.get(name.replace("_", "")) for name in BIRTH)
    return next(
        (
            one.name
            for one in named
            if one and _has_time_of_day(one, schema) and not _touched(one, table, schema)
        ),
        "",
    )


def _candidates(table: Table, natural: Sequence[tuple[str, ...]]) -> Iterator[KeyCandidate]:
    for columns in natural:
        yield KeyCandidate(columns, f"the rule's key ({', '.join(columns)})", enforced=False)
    if table.primary_key:
        yield KeyCandidate(table.primary_key.columns, table.primary_key.name or "the primary key")
    made = [KeyCandidate(one.columns, one.name, nulls_equal=one.nulls_equal) for one in table.uniques]
    made += [
        KeyCandidate(
            tuple(part.column for part in one.parts),
            one.name,
            one.predicate or "",
            nulls_equal=one.nulls_equal,
        )
        for one in table.indexes
        if one.unique and all(part.column for part in one.parts)
    ]
    yield from sorted(made, key=lambda one: (len(one.columns), one.columns, one.where, one.name))


def _why_unused(
    table: Table, key: KeyCandidate, given: Collection[str], own: tuple[str, ...], no_key: Collection[str]
) -> str:
    lost = [name for name in key.columns if name not in given]
    lost += [one.name for one in table.columns if one.name not in given and _mentions(key.where, one.name)]
    if lost:
        return f"has {', '.join(dict.fromkeys(lost))}, which the backup has not"
    if own and set(own) < set(key.columns):
        return f"has {own[0]}, a generated key, and names a row in this database only"
    if barred := [name for name in key.columns if name in no_key and key.enforced]:
        return f"has {', '.join(barred)}, which names no row by its rule"
    return ""


def _mentions(sql: str, column: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(column)}(?!\w)", sql, re.IGNORECASE) is not None


def _declared(column: Column, schema: Schema) -> str:
    """The type; of a domain, the type that it is made of."""
    if schema.engine == "sqlite":
        return column.type.lower()
    for one in schema.objects:
        if one.kind == "domain" and f"{one.schema}.{one.name}" == base(column.type):
            return domain_base(one.definition).lower()
    return column.type.lower()


def _is_uuid(column: Column, schema: Schema) -> bool:
    """The type is one; or a text or a blob is called so, or is made so. Django keeps a UUID as char(32) in SQLite."""
    declared = _declared(column, schema)
    if declared in ("uuid", "guid", "uniqueidentifier"):
        return True
    words = ("uuid", "guid", "randomblob(16)")
    said = any(word in f"{column.name} {column.default or ''}".lower() for word in words)
    fixed = re.fullmatch(r"char(?:acter)?\((?:32|36)\)", declared) is not None
    holds = affinity(declared) in ("TEXT", "BLOB") or declared == "bytea" or declared.startswith("binary")
    return holds and (said or (fixed and column.name.lower() == "id"))


def _has_time_of_day(column: Column, schema: Schema) -> bool:
    declared = _declared(column, schema)
    if column.generated is not None:
        return False
    if schema.engine == "sqlite":
        return declared.startswith(("datetime", "timestamp")) or affinity(declared) == "TEXT"
    return declared.startswith("timestamp")


def _touched(column: Column, table: Table, schema: Schema) -> bool:
    """Whether a trigger sets the column when a row is updated, as far as its text tells. One that puts the old value back
    does not count."""
    name = rf'"?{re.escape(column.name)}"?'
    assigned = rf"(?:\bnew\.{name}\s*:?=|\bset\b(?:(?!\bwhere\b)[^;])*?(?<![\w.]){name}\s*=)"
    sets = re.compile(rf"{assigned}(?!\s*old\.)", re.IGNORECASE)
    for trigger in schema.objects:
        if trigger.kind != "trigger" or trigger.table != table.id:
            continue
        head, _, rest = re.sub(r'"[^"]*"', "", trigger.definition).partition(" ON ")
        if not re.search(r"\bupdate\b", head, re.IGNORECASE):
            continue
        text = trigger.definition + "".join(_functions(trigger.definition, schema))
        if sets.search(text) or f"'{column.name}'" in rest:
            return True
    return False


def _functions(trigger: str, schema: Schema) -> Iterator[str]:
    called = re.search(r'EXECUTE (?:FUNCTION|PROCEDURE) ([\w."]+)\(', trigger)
    for one in schema.objects if called else ():
        if (
            called
            and one.kind == "function"
            and f"{one.schema}.{one.name.partition('(')[0]}" == called[1].replace('"', "")
        ):
            yield one.definition
