"""Two schemas, compared: each difference a finding that names what it is about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Check, ForeignKey, Schema, SchemaObject, Table, TableId


@dataclass(frozen=True, slots=True)
class Lenience:
    """What cannot be equal here, and why that is no difference."""

    #: In the source, and not in the backup: their definitions may be missing, and what points to them.
    left_out: frozenset[TableId] = frozenset()
    #: Tables that lack rows, themselves or in a partition: what points to them was restored NOT VALID, or not at all.
    hollow: frozenset[TableId] = frozenset()
    #: Roles that the scratch server lacks: ownership and rights are then not compared.
    roles_missing: bool = False
    #: By schema and name: event triggers, routines and materialised views that a drill does not make or fill.
    not_tried: frozenset[tuple[str | None, str]] = frozenset()
    #: Checks that rows of the backup break today, by table and name: they were restored NOT VALID, and that was told.
    broken: frozenset[tuple[TableId, str]] = frozenset()
    #: Another major version writes some definitions in other words.
    other_version: bool = False


def compare(expected: Schema, found: Schema, lenience: Lenience) -> tuple[Finding, ...]:
    severity: Literal["error", "warning"] = "warning" if lenience.other_version else "error"
    there = {table.id for table in found.tables}
    absent = lenience.left_out - there
    findings = list(_tables(expected, found, absent, lenience, severity))
    findings += _sequences(expected, found, absent)
    findings += _objects(expected, found, absent, lenience, severity)
    return tuple(findings)


def _tables(
    expected: Schema,
    found: Schema,
    absent: frozenset[TableId],
    lenience: Lenience,
    severity: Literal["error", "warning"],
) -> Iterator[Finding]:
    ours = {table.id: table for table in expected.tables if table.id not in absent}
    theirs = {table.id: table for table in found.tables}
    for table in sorted(ours.keys() - theirs.keys()):
        yield _missing("table", str(table), table)
    for table in sorted(theirs.keys() - ours.keys()):
        yield _surplus("table", str(table), table)
    for table in sorted(ours.keys() & theirs.keys()):
        yield from _one_table(ours[table], theirs[table], absent, lenience, severity)


def _one_table(
    ours: Table,
    theirs: Table,
    absent: frozenset[TableId],
    lenience: Lenience,
    severity: Literal["error", "warning"],
) -> Iterator[Finding]:
    restored = {key.name: key.validated for key in theirs.foreign_keys}
    keys = (_as_restored(key, lenience.hollow, restored) for key in ours.foreign_keys)
    ours = replace(ours, foreign_keys=tuple(key for key in keys if key and key.references not in absent))
    names = {
        name for table, name in lenience.broken if table == ours.id or ours.inherits or ours.partition_of
    }
    ours = replace(ours, checks=tuple(_told(check, theirs, names) for check in ours.checks))
    a, b = canonical.plain(ours), canonical.plain(theirs)
    if ours.inherits or ours.partition_of:
        yield from _column_order(ours, theirs)
    for part in ("columns", "uniques", "foreign_keys", "checks", "indexes"):
        mine, other = a.pop(part, []), b.pop(part, [])
        if part == "indexes":
            # The definition says the same as the parts, which a backup of an older version lacks.
            mine, other = _defined(mine), _defined(other)
        if part == "columns" and not (ours.inherits or ours.partition_of):
            # The place counts: rows are written without the names of their columns.
            mine, other = _placed(mine), _placed(other)
        yield from _parts(ours.id, _SINGULAR[part], _named(mine), _named(other), severity)
    if lenience.roles_missing:
        a.pop("owner", None)
        b.pop("owner", None)
    for key in sorted(a.keys() | b.keys()):
        if a.get(key) != b.get(key):
            yield _different(key.replace("_", " "), str(ours.id), a.get(key), b.get(key), severity, ours.id)


_SINGULAR = {
    "columns": "column",
    "uniques": "unique constraint",
    "foreign_keys": "foreign key",
    "checks": "check",
    "indexes": "index",
}


def _as_restored(
    key: ForeignKey, hollow: frozenset[TableId], restored: Mapping[str, bool]
) -> ForeignKey | None:
    """A key to rows that the backup was asked to leave out is made NOT VALID; before PostgreSQL 18 not even that on a
    partitioned table. The restore names each of them (`foreign-key-not-checked`)."""
    if key.references not in hollow or not key.validated:
        return key
    return replace(key, validated=restored[key.name]) if key.name in restored else None


def _told(check: Check, theirs: Table, broken: Iterable[str]) -> Check:
    """A check that the rows break, as it was restored: NOT VALID, and in no other way different."""
    unchecked = replace(check, expression=f"{check.expression} NOT VALID")
    return unchecked if check.name in broken and unchecked in theirs.checks else check


def _column_order(ours: Table, theirs: Table) -> Iterator[Finding]:
    """pg_dump makes the columns of a parent first: one that the parent got later moves. Rows are restored by name."""
    before, after = ([column.name for column in table.columns] for table in (ours, theirs))
    if before != after and sorted(before) == sorted(after):
        yield Finding.of(
            "column-order",
            table=ours.id,
            examples=(f"backup: {', '.join(before)}", f"restored: {', '.join(after)}"),
        )


def _placed(columns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**column, "place": place} for place, column in enumerate(columns)]


def _defined(indexes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {key: index[key] for key in ("name", "definition", "unique") if key in index} for index in indexes
    ]


def _named(items: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {item["name"]: item for item in items}


def _parts(
    table: TableId,
    kind: str,
    ours: Mapping[str, dict[str, Any]],
    theirs: Mapping[str, dict[str, Any]],
    severity: Literal["error", "warning"],
) -> Iterator[Finding]:
    for name in sorted(ours.keys() - theirs.keys()):
        yield _missing(kind, f"{table}.{name}", table)
    for name in sorted(theirs.keys() - ours.keys()):
        yield _surplus(kind, f"{table}.{name}", table)
    for name in sorted(ours.keys() & theirs.keys()):
        a, b = ours[name], theirs[name]
        if a != b:
            yield _different(kind, f"{table}.{name}", a, b, severity, table)


def _sequences(expected: Schema, found: Schema, absent: frozenset[TableId]) -> Iterator[Finding]:
    ours = {s.id: s for s in expected.sequences if s.owned_by not in absent}
    theirs = {s.id: s for s in found.sequences}
    yield from _sets("sequence", ours, theirs, "error", lambda key: str(key))


def _objects(
    expected: Schema,
    found: Schema,
    absent: frozenset[TableId],
    lenience: Lenience,
    severity: Literal["error", "warning"],
) -> Iterator[Finding]:
    skipped = _OF_ROLES if lenience.roles_missing else ()

    def relevant(schema: Schema) -> dict[tuple[str, ...], SchemaObject]:
        return {
            # Of a right or a comment there can be several with one name; each is its own.
            (
                item.kind,
                item.schema or "",
                str(item.table or ""),
                item.name,
                item.definition if item.kind in _NAMELESS else "",
            ): item
            for item in schema.objects
            if item.kind not in skipped and item.table not in absent and not _not_tried(item, lenience)
        }

    yield from _sets(
        "object",
        relevant(expected),
        relevant(found),
        severity,
        _object_name,
    )


def _not_tried(item: SchemaObject, lenience: Lenience) -> bool:
    kinds = ("event trigger", "function", "materialized view")
    return item.kind in kinds and (item.schema, item.name.partition("(")[0]) in lenience.not_tried


def _object_name(key: tuple[str, ...]) -> str:
    kind, schema, table, name, definition = key
    return f"{kind} {schema}{'.' if schema else ''}{name}{f' on {table}' if table else ''}" + (
        f" ({definition})" if definition else ""
    )


_OF_ROLES = ("grant", "policy", "default privileges", "owner")
_NAMELESS = ("grant", "comment", "owner")


def _sets(
    kind: str,
    ours: Mapping[Any, object],
    theirs: Mapping[Any, object],
    severity: Literal["error", "warning"],
    named: Callable[[Any], str],
) -> Iterator[Finding]:
    for key in sorted(ours.keys() - theirs.keys()):
        yield _missing(kind, named(key))
    for key in sorted(theirs.keys() - ours.keys()):
        yield _surplus(kind, named(key))
    for key in sorted(ours.keys() & theirs.keys()):
        a, b = canonical.plain(ours[key]), canonical.plain(theirs[key])
        if a != b:
            yield _different(kind, named(key), a, b, severity)


def _missing(kind: str, name: str, table: TableId | None = None) -> Finding:
    return Finding.of("definition-missing", table=table, kind=kind, name=name)


def _surplus(kind: str, name: str, table: TableId | None = None) -> Finding:
    return Finding.of("definition-surplus", table=table, kind=kind, name=name)


def _different(
    kind: str,
    name: str,
    ours: object,
    theirs: object,
    severity: Literal["error", "warning"],
    table: TableId | None = None,
) -> Finding:
    return Finding.of(
        "definition-differs",
        table=table,
        subject=f"the {kind} of {name} differs"
        if table and kind not in _SINGULAR.values()
        else f"{kind} {name} differs",
        severity=severity,
        examples=(f"backup: {_short(ours)}", f"restored: {_short(theirs)}"),
    )


def _short(value: object) -> str:
    text = canonical.encode(value).decode("utf-8", "replace").strip()
    return text if len(text) <= 600 else text[:600] + "…"
