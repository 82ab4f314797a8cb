"""Two schemas, compared: each difference a finding that names what it is about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding, Severity
from backup_pipeline.model.schema import Check, ForeignKey, Schema, SchemaObject, Table, TableId
from backup_pipeline.model.schema_diff import PARTS, Change, compared, of_tables


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
    severity: Severity = "warning" if lenience.other_version else "error"
    absent = lenience.left_out - {table.id for table in found.tables}
    there = {table.id: table for table in found.tables}
    if lenience.roles_missing:
        there = {name: replace(table, owner=None) for name, table in there.items()}
    ours = [_excused(one, there.get(one.id), absent, lenience) for one in expected.tables]
    findings = []
    for change in of_tables((one for one in ours if one.id not in absent), there.values()):
        table = expected.table(change.table)
        inherits = table is not None and bool(table.inherits or table.partition_of)
        findings.append(
            _order(change) if inherits and change.what == "column order" else _told(change, severity)
        )
    sequences = {str(one.id): one for one in expected.sequences if one.owned_by not in absent}
    findings += _sets("sequence", sequences, {str(one.id): one for one in found.sequences}, "error")
    mine, other = _objects(expected, absent, lenience), _objects(found, absent, lenience)
    return (*findings, *_sets("object", mine, other, severity))


def _excused(ours: Table, theirs: Table | None, absent: frozenset[TableId], lenience: Lenience) -> Table:
    """The table as a restore that is right makes it here."""
    if theirs is None:
        return ours
    restored = {key.name: key.validated for key in theirs.foreign_keys}
    keys = (_as_restored(key, lenience.hollow, restored) for key in ours.foreign_keys)
    names = {
        name for table, name in lenience.broken if table == ours.id or ours.inherits or ours.partition_of
    }
    return replace(
        ours,
        foreign_keys=tuple(key for key in keys if key and key.references not in absent),
        checks=tuple(_as_checked(check, theirs, names) for check in ours.checks),
        owner=None if lenience.roles_missing else ours.owner,
    )


def _as_restored(
    key: ForeignKey, hollow: frozenset[TableId], restored: Mapping[str, bool]
) -> ForeignKey | None:
    """A key to rows that the backup was asked to leave out is made NOT VALID; before PostgreSQL 18 not even that on a
    partitioned table. The restore names each of them (`foreign-key-not-checked`)."""
    if key.references not in hollow or not key.validated:
        return key
    return replace(key, validated=restored[key.name]) if key.name in restored else None


def _as_checked(check: Check, theirs: Table, broken: Iterable[str]) -> Check:
    """A check that the rows break, as it was restored: NOT VALID, and in no other way different."""
    unchecked = replace(check, expression=f"{check.expression} NOT VALID")
    return unchecked if check.name in broken and unchecked in theirs.checks else check


def _order(change: Change) -> Finding:
    """pg_dump makes the columns of a parent first: one that the parent got later moves. Rows are restored by name."""
    examples = (f"backup: {', '.join(change.before)}", f"restored: {', '.join(change.after)}")
    return Finding.of("column-order", table=change.table, examples=examples)


def _told(change: Change, severity: Severity) -> Finding:
    kind, name, table = change.what, change.name, change.table
    if kind in PARTS.values():
        name = f"{table}.{name}"
    if change.verb != "changed":
        code = "definition-missing" if change.verb == "removed" else "definition-surplus"
        return Finding.of(code, table=table, kind=kind, name=name)
    subject = f"{kind} {name}" if kind in PARTS.values() else f"the {kind} of {name}"
    return _different(subject, change.before, change.after, severity, table)


def _different(
    subject: str, ours: object, theirs: object, severity: Severity, table: TableId | None = None
) -> Finding:
    examples = (f"backup: {_short(ours)}", f"restored: {_short(theirs)}")
    return Finding.of(
        "definition-differs", severity=severity, table=table, subject=subject, examples=examples
    )


def _objects(schema: Schema, absent: frozenset[TableId], lenience: Lenience) -> dict[str, SchemaObject]:
    skipped = _OF_ROLES if lenience.roles_missing else ()
    return {
        _object_name(item): item
        for item in schema.objects
        if item.kind not in skipped and item.table not in absent and not _not_tried(item, lenience)
    }


def _not_tried(item: SchemaObject, lenience: Lenience) -> bool:
    kinds = ("event trigger", "function", "materialized view")
    return item.kind in kinds and (item.schema, item.name.partition("(")[0]) in lenience.not_tried


def _object_name(item: SchemaObject) -> str:
    """Of a right or a comment there can be several with one name; each is its own."""
    name = f"{item.kind} {item.schema or ''}{'.' if item.schema else ''}{item.name}"
    on = f" on {item.table}" if item.table else ""
    return f"{name}{on}{f' ({item.definition})' if item.kind in _NAMELESS and item.definition else ''}"


_OF_ROLES = ("grant", "policy", "default privileges", "owner")
_NAMELESS = ("grant", "comment", "owner")


def _sets(
    kind: str, ours: Mapping[str, object], theirs: Mapping[str, object], severity: Severity
) -> Iterator[Finding]:
    for verb, name in compared(dict(sorted(ours.items())), dict(sorted(theirs.items()))):
        if verb == "changed":
            yield _different(f"{kind} {name}", ours[name], theirs[name], severity)
        else:
            code = "definition-missing" if verb == "removed" else "definition-surplus"
            yield Finding.of(code, kind=kind, name=name)


def _short(value: object) -> str:
    text = canonical.encode(value).decode("utf-8", "replace").strip()
    return text if len(text) <= 600 else text[:600] + "…"
