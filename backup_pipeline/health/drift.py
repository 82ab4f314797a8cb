"""What changed between the schemas of two backups, in words: the first question after a deploy that went wrong.

Everything is a warning or an information, never an error: a schema may change. A warning is what can make an older backup
harder to restore (something is gone, a type is another one); the rest is information.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from backup_pipeline.model.findings import Finding, Severity
from backup_pipeline.model.schema import Column, Schema, TableId
from backup_pipeline.model.schema_diff import Change, compared, of_tables


def drift(previous: Schema, current: Schema) -> tuple[Finding, ...]:
    """Empty when they are the same."""
    if previous.engine != current.engine:
        return (Finding.of("engine-changed", before=previous.engine, now=current.engine),)
    tables = (one for change in of_tables(previous.tables, current.tables) for one in _told(change))
    # The two fields of a partition have one text.
    return (*dict.fromkeys(tables), *_sequences(previous, current), *_others(previous, current))


def _family(kind: str, verb: str, what: str, table: TableId | None) -> Finding:
    return replace(Finding.of(f"…-{verb}", table=table, what=what), code=f"{kind.replace(' ', '-')}-{verb}")


def _told(change: Change) -> Iterator[Finding]:
    table, what = change.table, change.what
    if what == "table":
        count = 0 if change.after is None else len(change.after.columns)
        yield Finding.of(f"table-{change.verb}", table=table, count=count)
    elif what == "column":
        yield from _column(change)
    elif what == "column order":
        yield Finding.of("column-order/backup", table=table)
    elif what == "primary key":
        keys = (change.before, change.after)
        before, after = (f"({', '.join(key.columns)})" if key else "none" for key in keys)
        if before != after:
            yield Finding.of("primary-key", table=table, before=before, now=after)
    elif what == "kind":
        yield Finding.of("table-changed/kind", table=table, before=change.before, now=change.after)
    elif what in _MEMBERS:
        word = _MEMBERS[what]
        yield _family(word, change.verb, f"{table}: the {word} {change.name}", table)
    elif what in _FIELDS:
        yield Finding.of("table-changed", table=table, what=_FIELDS[what])


_MEMBERS = {
    "unique constraint": "unique key",
    "foreign key": "foreign key",
    "check": "check",
    "index": "index",
}
_FIELDS = {
    "row security": "row security",
    "partition key": "its partitioning",
    "partition of": "the partition that it is",
    "partition bound": "the partition that it is",
    "inherits": "what it inherits",
    "unlogged": "whether it is unlogged",
    "options": "its options",
    "owner": "its owner",
}


def _column(change: Change) -> Iterator[Finding]:
    table, name = change.table, change.name
    old: Column | None = change.before
    new: Column | None = change.after
    if new is None:
        yield Finding.of("column-removed", table=table, column=name)
        return
    if old is None:
        # Old rows have no value for it: a restore of rows needs one from somewhere.
        needy = not new.nullable and new.default is None and not (new.identity or new.generated)
        note = ", NOT NULL and without a default" if needy else ""
        severity: Severity = "warning" if needy else "info"
        yield Finding.of(
            "column-added", severity=severity, table=table, column=name, type=new.type, note=note
        )
        return
    if old.type != new.type:
        yield Finding.of("column-type", table=table, column=name, before=old.type, now=new.type)
    if old.nullable != new.nullable:
        now = "may be NULL now" if new.nullable else "must not be NULL any more"
        severity = "info" if new.nullable else "warning"
        yield Finding.of("column-null", severity=severity, table=table, column=name, change=now)
    for what, before, after in (
        ("default", old.default, new.default),
        ("identity", old.identity, new.identity),
        ("generation expression", old.generated, new.generated),
        ("collation", old.collation, new.collation),
    ):
        if before != after:
            yield Finding.of(
                "column-changed",
                table=table,
                column=name,
                what=what,
                before=before or "none",
                now=after or "none",
            )


def _sequences(previous: Schema, current: Schema) -> Iterator[Finding]:
    old = {sequence.id: sequence for sequence in previous.sequences}
    new = {sequence.id: sequence for sequence in current.sequences}
    for verb, name in compared(old, new):
        yield Finding.of(f"sequence-{verb}", name=name)


def _others(previous: Schema, current: Schema) -> Iterator[Finding]:
    """Views, functions, triggers, types, grants …: by their definitions."""
    old, new = _objects(previous), _objects(current)
    for verb, (kind, schema, name, table) in compared(old, new):
        full = f"{schema}.{name}" if schema else name
        on = f" on {table}" if table else ""
        yield _family(kind, verb, f"the {kind} {full}{on}", table)
    for verb, setting in compared(previous.settings, current.settings):
        before, after = previous.settings.get(setting, "none"), current.settings.get(setting, "none")
        yield Finding.of(f"setting-{verb}", setting=setting, before=before, now=after)


def _objects(
    schema: Schema,
) -> Mapping[tuple[str, str | None, str, TableId | None], tuple[str, ...]]:
    found: dict[tuple[str, str | None, str, TableId | None], tuple[str, ...]] = {}
    for item in schema.objects:
        key = (item.kind, item.schema, item.name, item.table)
        # One name may stand for several: grants to different roles, overloaded operators.
        found[key] = tuple(sorted((*found.get(key, ()), item.definition)))
    return found
