"""What a table has become since the backup, column by column, and what a merge does about it.

Belongs here: the comparison of two definitions. Not here: rows, such as values that a dropped column still has in the backup.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from backup_pipeline.databases.merge.fitting import FITTING, Fit, base, comparable, domain_base
from backup_pipeline.databases.merge.graph import named
from backup_pipeline.databases.merge.plan import ColumnDrift
from backup_pipeline.model.schema import Column, Schema, Table

#: Kinds of types, besides enums, whose values of then may be none of now.
_TYPES = ("composite", "range")
#: A label as the catalog quotes it: E'' where it has a backslash.
_LABEL = re.compile(r"(E?)'((?:[^']|'')*)'")


@dataclass(frozen=True, slots=True)
class StagedColumn:
    """A column of the backup."""

    name: str
    #: The type in staging, as the engine spells it; "": its type for text.
    type: str
    #: In the target; None: the value goes nowhere.
    target: str | None
    #: The type that the staged value is cast to; "": it fits.
    cast: str = ""
    comparable: bool = True
    #: The value in place of NULL, where the target takes none any more; as the rule writes it.
    fill: str = ""
    #: Labels that the target's enum lacks: a row with one of them cannot be written.
    lost_labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Columns:
    #: In the order of the backup.
    columns: tuple[StagedColumn, ...]
    #: Column of the target that gets no value → why that is right: "it has a default".
    omitted: Mapping[str, str]
    #: Column of the target that the backup has not → its value in new rows, as the rule writes it.
    filled: Mapping[str, str]
    #: GENERATED ALWAYS AS IDENTITY: an INSERT with a value has to say OVERRIDING SYSTEM VALUE.
    overriding: bool
    drift: tuple[ColumnDrift, ...]

    @property
    def refused(self) -> str:
        """Why the table cannot be merged; "": it can."""
        return "; ".join(one.refused for one in self.drift if one.refused)


@dataclass(frozen=True)  # no slots: the types are compared when they are first asked for
class Schemas:
    before: Schema
    now: Schema

    @cached_property
    def lost_labels(self) -> Mapping[str, tuple[str, ...]]:
        """Enum → the labels that it no longer has."""
        before, now = _definitions(self.before, "enum"), _definitions(self.now, "enum")
        lost = {
            name: tuple(label for label in labels_of(text) if label not in labels_of(now[name]))
            for name, text in before.items()
            if name in now
        }
        return {name: labels for name, labels in lost.items() if labels}

    @cached_property
    def altered(self) -> frozenset[str]:
        """The types that read a value otherwise now. An enum with more labels takes all of its old ones."""
        found = set(self.lost_labels)
        for kind in _TYPES:
            before, now = _definitions(self.before, kind), _definitions(self.now, kind)
            found |= {name for name, text in before.items() if now.get(name, text) != text}
        return frozenset(found)

    @cached_property
    def domains(self) -> tuple[Mapping[str, str], Mapping[str, str]]:
        return _definitions(self.before, "domain"), _definitions(self.now, "domain")


def labels_of(definition: str) -> tuple[str, ...]:
    """The labels of CREATE TYPE … AS ENUM ('a', E'b\\\\c')."""
    found = _LABEL.findall(definition[definition.find(" AS ENUM (") :])
    return tuple(
        (text.replace("\\\\", "\\") if escaped else text).replace("''", "'") for escaped, text in found
    )


def compare_table(
    before: Table, now: Table, schemas: Schemas, renamed: Mapping[str, str], fill: Mapping[str, str]
) -> Columns:
    """`renamed`: column of the backup → of the target. `fill`: column of the target → its value, where there is none."""
    return _Comparison(before, now, schemas, renamed, fill).columns()


def table_gone(before: Table, schemas: Schemas) -> ColumnDrift:
    """A table of the backup that the target lacks: refused. A table with another name is only suggested."""
    why = f"the target has no table {named(before.id)}"
    view = any(
        "view" in one.kind and (one.schema, one.name) == (before.id.schema, before.id.name)
        for one in schemas.now.objects
    )
    shape = {(column.name, column.type) for column in before.columns}
    alike = [
        table.id
        for table in schemas.now.tables
        if schemas.before.table(table.id) is None and {(one.name, one.type) for one in table.columns} == shape
    ]
    if view:
        why += " but a view of that name"
    elif len(alike) == 1:
        why += f", and {named(alike[0])} has the same columns: perhaps it was renamed"
    remedy = f"leave it out with --skip {named(before.id)}, or restore it into a new database"
    return ColumnDrift("", "missing", why, refused=f"{why} → {remedy}")


class _Comparison:
    def __init__(
        self, before: Table, now: Table, schemas: Schemas, renamed: Mapping[str, str], fill: Mapping[str, str]
    ) -> None:
        self.table, self.schemas, self.renamed, self.fill = now.id, schemas, renamed, fill
        self.before, self.now = before, now
        self.old = {one.name: one for one in before.columns}
        self.new = {one.name: one for one in now.columns}
        self.drift: list[ColumnDrift] = []
        self.targets = self._targets()
        self.perhaps = self._perhaps_renamed()

    def columns(self) -> Columns:
        staged = tuple(self._staged(self.old[name]) for name in self.before.exported_columns)
        sources = {one.target for one in staged if one.target is not None}
        omitted: dict[str, str] = {}
        filled: dict[str, str] = {}
        for column in self.now.columns:
            if column.name not in sources:
                self._without_source(column, omitted, filled)
        return Columns(
            columns=staged,
            omitted=omitted,
            filled=filled,
            overriding=any(self.new[name].identity == "always" for name in sources),
            drift=tuple(self.drift),
        )

    def _targets(self) -> dict[str, str]:
        """Column of the backup → column of the target. SQLite compares names without case."""
        lower = {name.lower(): name for name in self.new} if self.schemas.now.engine == "sqlite" else {}
        found = {}
        for name in self.old:
            asked = self.renamed.get(name, name)
            target = asked if asked in self.new else lower.get(asked.lower())
            if target is not None:
                found[name] = target
        for old, new in self.renamed.items():
            twice = [name for name, target in found.items() if target == found.get(old) and name != old]
            if old in self.old and new not in self.new:
                self._tell(old, "renamed", f"to {new}", refused=f"{named(self.table)} has no column {new}")
            elif old in self.old and twice:
                why = f"{named(self.table)}.{new} would be filled from {old} and from {twice[0]}"
                self._tell(old, "renamed", f"to {new}", refused=why)
        return found

    def _staged(self, column: Column) -> StagedColumn:
        target = self.new.get(self.targets.get(column.name, ""))
        if target is None:
            detail = f"the target has no column {column.name}"
            if column.name in self.perhaps:
                detail += f"; perhaps it was renamed, then say so with {self.perhaps[column.name]}"
            self._tell(column.name, "missing", detail, "its values are left out")
            return StagedColumn(column.name, "", None)
        if column.name in self.renamed:
            self._tell(column.name, "renamed", f"to {target.name}", "its values go into the new column")
        if target.generated is not None:
            if column.generated is None:
                detail = f"the target computes it: {target.generated}"
                self._tell(column.name, "now-generated", detail, "its values are left out")
            return StagedColumn(column.name, "", None)
        now = _below(target.type, self.schemas.domains[1])
        fit = FITTING[self.schemas.now.engine](
            _below(column.type, self.schemas.domains[0]), now, self.schemas.altered
        )
        lost = self.schemas.lost_labels.get(_plain(target.type), ()) if column.type == target.type else ()
        self._tell_type(column, target, fit, lost)
        fill = self._fill_of_null(column, target)
        return StagedColumn(column.name, fit.staged, target.name, fit.cast, comparable(now), fill, lost)

    def _tell_type(self, column: Column, target: Column, fit: Fit, lost: tuple[str, ...]) -> None:
        before, now = (domains.get(_plain(target.type)) for domains in self.schemas.domains)
        same_name = column.type == target.type
        was = f"{target.type} was altered" if same_name else f"{column.type} → {target.type}"
        if fit.refused:
            remedy = f"leave {named(self.table)} out, or restore it into a new database"
            why = f"{named(self.table)}.{column.name}: {fit.refused} → {remedy}"
            self._tell(column.name, "type-changed", was, refused=why)
        elif lost:
            done = "rows with one of them are not written"
            self._tell(column.name, "enum-value-gone", f"{target.type} lacks {', '.join(lost)}", done)
        elif not fit.same or (same_name and before != now):
            self._tell(column.name, "type-changed", was, fit.done or "checked as it is defined now")

    def _fill_of_null(self, column: Column, target: Column) -> str:
        if target.nullable or not column.nullable:
            return ""
        fill = self.fill.get(target.name, "")
        done = (
            f"NULL becomes {fill}" if fill else "rows with NULL are not written, unless `fill:` gives a value"
        )
        self._tell(column.name, "not-null-added", "it takes no NULL any more", done)
        return fill

    def _without_source(self, column: Column, omitted: dict[str, str], filled: dict[str, str]) -> None:
        """A column of the target that the backup has not, or has not the values of."""
        known = column.name in self.targets.values()
        if column.generated is not None:
            omitted[column.name] = "the database computes it"
            if not known:
                self._tell(column.name, "new", column.type, "the database computes it")
            return
        what = "now-plain" if known else "new"
        detail = "it was computed, and is not any more" if known else column.type
        if column.name in self.fill:
            filled[column.name] = self.fill[column.name]
            self._tell(column.name, what, detail, f"new rows get {filled[column.name]}")
        elif why := _takes_nothing(column):
            omitted[column.name] = why
            self._tell(column.name, what, detail, why)
        else:
            came = f"{named(self.table)}.{column.name} takes no NULL and has no default, and the backup has no value for it"
            remedy = f"give it a value with `fill:` in the rule of {named(self.table)}"
            if column.name in self.perhaps:
                remedy += f", or, where it was renamed, say so with {self.perhaps[column.name]}"
            self._tell(column.name, what, detail, refused=f"{came} → {remedy}")

    def _perhaps_renamed(self) -> dict[str, str]:
        """Gone column, and new column → the rule that says so, where only these two have their type and place in keys."""
        taken = set(self.targets.values())
        gone, came = defaultdict(list), defaultdict(list)
        for column in self.before.columns:
            if column.name not in self.targets:
                gone[(base(column.type), *_role(self.before, column.name))].append(column.name)
        for column in self.now.columns:
            if column.name not in taken:
                came[(base(column.type), *_role(self.now, column.name))].append(column.name)
        alone = [like for like, names in gone.items() if len(names) == 1 == len(came.get(like, ()))]
        pairs = [(gone[like][0], came[like][0]) for like in alone]
        return {name: f"`renamed: {{{old}: {new}}}`" for old, new in pairs for name in (old, new)}

    def _tell(self, column: str, what: str, detail: str, done: str = "", refused: str = "") -> None:
        self.drift.append(ColumnDrift(column, what, detail, done, refused))


def _takes_nothing(column: Column) -> str:
    """Why a column needs no value; "": it needs one."""
    if column.identity is not None:
        return "it numbers itself"
    # SQLite keeps DEFAULT NULL as it was typed.
    if column.default is not None and column.default.upper() != "NULL":
        return f"it gets its default, {column.default}"
    return "it stays NULL" if column.nullable else ""


def _role(table: Table, column: str) -> tuple[object, ...]:
    """The place of a column in keys and references."""
    key = table.primary_key.columns if table.primary_key else ()
    parents = sorted((one.references, one.referenced) for one in table.foreign_keys if column in one.columns)
    return column in key, sum(column in one.columns for one in table.uniques), tuple(parents)


def _plain(type_: str) -> str:
    return type_.replace('"', "")


def _below(type_: str, domains: Mapping[str, str]) -> str:
    """Of a domain, the type that it is made of: its values are staged so, and checked when they are written."""
    while definition := domains.get(_plain(type_)):
        type_ = domain_base(definition)
    return type_


def _definitions(schema: Schema, kind: str) -> Mapping[str, str]:
    return {f"{one.schema}.{one.name}": one.definition for one in schema.objects if one.kind == kind}
