"""What changed between the schemas of two backups, in words: the first question after a deploy that went wrong.

Everything is a warning or an information, never an error: a schema may change. A warning is what can make an older backup
harder to restore (something is gone, a type is another one); the rest is information.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.schema import Column, ForeignKey, Key, Schema, Table, TableId

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


def drift(previous: Schema, current: Schema) -> tuple[Finding, ...]:
    """Empty when they are the same."""
    if previous.engine != current.engine:
        return (Finding.of("engine-changed", before=previous.engine, now=current.engine),)
    return (*_tables(previous, current), *_sequences(previous, current), *_others(previous, current))


def _family(kind: str, verb: str, what: str, table: TableId | None) -> Finding:
    return replace(Finding.of(f"…-{verb}", table=table, what=what), code=f"{kind.replace(' ', '-')}-{verb}")


def _tables(previous: Schema, current: Schema) -> Iterator[Finding]:
    old = {table.id: table for table in previous.tables}
    new = {table.id: table for table in current.tables}
    for identifier in sorted(old.keys() - new.keys()):
        yield Finding.of("table-removed", table=identifier)
    for identifier in sorted(new.keys() - old.keys()):
        count = len(new[identifier].columns)
        yield Finding.of("table-added", table=identifier, count=count)
    for identifier in sorted(old.keys() & new.keys()):
        yield from _table(old[identifier], new[identifier])


def _table(old: Table, new: Table) -> Iterator[Finding]:
    name = new.id
    if old.kind != new.kind:
        yield Finding.of("table-changed/kind", table=name, before=old.kind, now=new.kind)
    yield from _columns(old, new)
    yield from _primary_key(old, new)
    for word, one, other in (
        ("unique key", _by_name(old.uniques), _by_name(new.uniques)),
        ("foreign key", _by_name(old.foreign_keys), _by_name(new.foreign_keys)),
        ("check", {c.name: c.expression for c in old.checks}, {c.name: c.expression for c in new.checks}),
        ("index", {i.name: i.definition for i in old.indexes}, {i.name: i.definition for i in new.indexes}),
    ):
        yield from _members(name, word, one, other)
    for what, before, after in (
        ("row security", old.row_security, new.row_security),
        ("its partitioning", old.partition_key, new.partition_key),
        (
            "the partition that it is",
            (old.partition_of, old.partition_bound),
            (new.partition_of, new.partition_bound),
        ),
        ("what it inherits", old.inherits, new.inherits),
        ("whether it is unlogged", old.unlogged, new.unlogged),
        ("its options", old.options, new.options),
        ("its owner", old.owner, new.owner),
    ):
        if before != after:
            yield Finding.of("table-changed", table=name, what=what)


def _columns(old: Table, new: Table) -> Iterator[Finding]:
    name = new.id
    one = {column.name: column for column in old.columns}
    other = {column.name: column for column in new.columns}
    for gone in (column for column in one if column not in other):
        yield Finding.of("column-removed", table=name, column=gone)
    for added in (column for column in other if column not in one):
        column = other[added]
        # Old rows have no value for it: a restore of rows needs one from somewhere.
        needy = not column.nullable and column.default is None and not (column.identity or column.generated)
        note = ", NOT NULL and without a default" if needy else ""
        yield Finding.of(
            "column-added",
            table=name,
            column=added,
            type=column.type,
            note=note,
            severity="warning" if needy else "info",
        )
    for both in (column for column in one if column in other):
        yield from _column(name, one[both], other[both])
    kept = [c for c in one if c in other]
    if kept != [c for c in other if c in one]:
        yield Finding.of("column-order/backup", table=name)


def _column(table: TableId, old: Column, new: Column) -> Iterator[Finding]:
    if old.type != new.type:
        yield Finding.of("column-type", table=table, column=new.name, before=old.type, now=new.type)
    if old.nullable != new.nullable:
        now = "may be NULL now" if new.nullable else "must not be NULL any more"
        yield Finding.of(
            "column-null",
            table=table,
            column=new.name,
            change=now,
            severity="info" if new.nullable else "warning",
        )
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
                column=new.name,
                what=what,
                before=before or "none",
                now=after or "none",
            )


def _primary_key(old: Table, new: Table) -> Iterator[Finding]:
    before = old.primary_key.columns if old.primary_key else ()
    after = new.primary_key.columns if new.primary_key else ()
    if before != after:
        shown = [f"({', '.join(columns)})" if columns else "none" for columns in (before, after)]
        yield Finding.of("primary-key", table=new.id, before=shown[0], now=shown[1])


def _by_name(keys: Iterable[Key] | Iterable[ForeignKey]) -> Mapping[str, object]:
    return {key.name: key for key in keys}


def _members(table: TableId, word: str, old: Mapping[str, V], new: Mapping[str, V]) -> Iterator[Finding]:
    for verb, names in _changes(old, new):
        for name in names:
            yield _family(word, verb, f"{table}: the {word} {name}", table)


def _changes(old: Mapping[K, V], new: Mapping[K, V]) -> Iterator[tuple[str, list[K]]]:
    yield "removed", [key for key in old if key not in new]
    yield "added", [key for key in new if key not in old]
    yield "changed", [key for key in old if key in new and old[key] != new[key]]


def _sequences(previous: Schema, current: Schema) -> Iterator[Finding]:
    old = {sequence.id: sequence for sequence in previous.sequences}
    new = {sequence.id: sequence for sequence in current.sequences}
    for verb, names in _changes(old, new):
        for name in names:
            yield Finding.of(f"sequence-{verb}", name=name)


def _others(previous: Schema, current: Schema) -> Iterator[Finding]:
    """Views, functions, triggers, types, grants …: by their definitions."""
    old, new = _objects(previous), _objects(current)
    for verb, keys in _changes(old, new):
        for kind, schema, name, table in keys:
            full = f"{schema}.{name}" if schema else name
            on = f" on {table}" if table else ""
            yield _family(kind, verb, f"the {kind} {full}{on}", table)
    for verb, names in _changes(previous.settings, current.settings):
        for setting in names:
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
