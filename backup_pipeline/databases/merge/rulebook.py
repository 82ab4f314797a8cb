"""From rules as data to `Rules` of one schema: the rule files of frameworks, and `merge:` of the user's configuration.

A rule file holds where its `match:` tables are. A line of a user that does not fit the schema is an error. A line of a
framework that does not fit is skipped and named, because applications have other versions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib import resources
from typing import Annotated, TypeVar

import yaml
from pydantic import Field, ValidationError

from backup_pipeline.config.merging import MergePolymorphic, MergeSettings, MergeTable, MergeValue
from backup_pipeline.config.values import Glob
from backup_pipeline.databases.merge.class_names import spelled_tables
from backup_pipeline.databases.merge.rules import (
    DerivedRule,
    PolymorphicRule,
    ReferenceRule,
    Rules,
    TableRule,
    ValueRule,
)
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.schema import Schema, Table, TableId
from backup_pipeline.model.selection import matches

#: How the plan names the rules of the configuration.
USER = "backup.yaml"
Rule = TypeVar("Rule")
_WILD = re.compile(r"[*?\[]")
_PLACE = re.compile(r"\{([\w.]+)\}")


class RuleFile(MergeSettings):
    #: The rule file holds where the schema has a table for each of these patterns.
    match: Annotated[tuple[Glob, ...], Field(min_length=1)]


@cache
def rule_files() -> Mapping[str, RuleFile]:
    """Name of the file, without its suffix → what it says."""
    folder = resources.files("backup_pipeline.databases.merge") / "rules"
    found = sorted((one for one in folder.iterdir() if one.name.endswith(".yaml")), key=lambda one: one.name)
    return {one.name.removesuffix(".yaml"): read(one.name, one.read_text(encoding="utf-8")) for one in found}


def read(name: str, text: str) -> RuleFile:
    try:
        return RuleFile.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigError(
            f"the rule file {name} is not valid: {error}",
            remedy="mend this line; `backup-pipeline help merge` has the form",
        ) from error


def resolve(
    schema: Schema, user: MergeSettings | None = None, files: Mapping[str, RuleFile] | None = None
) -> tuple[Rules, tuple[str, ...]]:
    """The rules of this schema, and the names of the rule files that hold. Raises ConfigError for a line of the user that
    does not fit."""
    held = {
        name: one
        for name, one in (rule_files() if files is None else files).items()
        if all(any(matches(glob, table.id) for table in schema.tables) for glob in one.match)
    }
    own = {USER: user} if user is not None and user.model_fields_set else {}
    # Of several lines on one thing the first one counts: the user's, then those that name the table.
    books = [
        _Book(name, schema, _half(said, patterns))
        for one in (own, held)
        for patterns in (False, True)
        for name, said in one.items()
    ]
    rules = _joined(books)
    if unfit := [said for book in books if book.name == USER for said in book.unfit]:
        raise ConfigError(
            f"`merge:` does not fit the database: {'; '.join(dict.fromkeys(unfit))}",
            remedy="correct these lines of `merge:` in backup.yaml, or remove them",
        )
    return rules, (*own, *held)


def _half(said: MergeSettings, patterns: bool) -> MergeSettings:
    """The lines for tables by a pattern, or those for tables by name."""

    def wanted(glob: str) -> bool:
        return bool(_WILD.search(glob)) == patterns

    return MergeSettings.model_construct(
        tables={glob: one for glob, one in said.tables.items() if wanted(glob)},
        references=tuple(one for one in said.references if wanted(one.table)),
        polymorphic=tuple(one for one in said.polymorphic if wanted(one.table)),
        values=tuple(one for one in said.values if wanted(one.table)),
        derived=tuple(one for one in said.derived if wanted(one.table)),
    )


def _joined(books: Iterable[_Book]) -> Rules:
    said: dict[TableId, list[_Said]] = {}
    groups: dict[str, set[TableId]] = {}
    for one in (one for book in books for one in book.said_of_tables()):
        said.setdefault(one.table.id, []).append(one)
        if one.form.group:
            groups.setdefault(one.form.group, set()).add(one.table.id)
    return Rules(
        tables={table: _table_rule(lines) for table, lines in said.items()},
        references=_first(
            (r for b in books for r in (*b.references(), *b.whole_values())),
            lambda r: (r.table, r.columns, r.when, r.values),
        ),
        polymorphic=_first((r for b in books for r in b.polymorphic()), lambda r: (r.table, r.id)),
        values=_first(
            (r for b in books for r in b.values()), lambda r: (r.table, r.column, r.path, r.when, r.values)
        ),
        derived=_first((r for b in books for r in b.derived()), lambda r: (r.tables[0], *r.columns.values())),
        groups={name: tuple(sorted(tables)) for name, tables in sorted(groups.items())},
        skipped=tuple(dict.fromkeys(f"{b.name}: {unfit}" for b in books for unfit in b.unfit)),
    )


def _first(rules: Iterable[Rule], thing: Callable[[Rule], object]) -> tuple[Rule, ...]:
    found: dict[object, Rule] = {}
    for rule in rules:
        found.setdefault(thing(rule), rule)
    return tuple(found.values())


def _table_rule(lines: Iterable[_Said]) -> TableRule:
    rule: dict[str, object] = {}
    lines = tuple(lines)
    for name in ("natural_keys", "no_key", "tree_path", "keep", "birth", "never", "fill", "renamed"):
        line = next((one for one in lines if name in one.form.model_fields_set), None)
        if line is not None:
            rule[name] = line.fitting(name)
    return TableRule(**rule, source=", ".join(dict.fromkeys(one.book.name for one in lines)))  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class _Said:
    """What one line says of one table."""

    book: _Book
    glob: str
    table: Table
    form: MergeTable

    def fitting(self, name: str) -> object:
        """A pattern with a wildcard says nothing of columns that a table does not have."""
        form = self.form
        if name == "natural_keys":
            return tuple(key for key in form.natural_keys if self.there(key) == key)
        if name in ("keep", "no_key"):
            return self.there(form.keep if name == "keep" else form.no_key)
        if name in ("birth", "tree_path"):
            column = form.birth if name == "birth" else form.tree_path
            return "".join(self.there((column,))) if column else ""
        if name in ("fill", "renamed"):
            # Columns of the target: the schema may be that of the backup, which does not have them.
            return form.fill if name == "fill" else form.renamed
        return form.never or ""

    def there(self, columns: tuple[str, ...]) -> tuple[str, ...]:
        if not _WILD.search(self.glob):
            return self.book.has(self.table, *columns)
        return tuple(column for column in columns if column in _names(self.table))


@dataclass
class _Book:
    """One rule file on one schema."""

    name: str
    schema: Schema
    said: MergeSettings
    unfit: list[str] = field(default_factory=list)
    names: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)

    # ── patterns

    @cached_property
    def candidates(self) -> tuple[Table, ...]:
        """Partitions are written through their root."""
        return tuple(
            t for t in self.schema.tables if t.kind in ("table", "partitioned") and not t.partition_of
        )

    def tables(self, glob: str, columns: Iterable[str] = (), having: Iterable[str] = ()) -> Iterator[Table]:
        """That the pattern matches, with these columns. A pattern with a wildcard passes over tables without `columns`."""
        wanted, condition = tuple(columns), tuple(having)
        matched = [table for table in self.candidates if matches(glob, table.id)]
        found = [table for table in matched if _names(table).issuperset(condition)]
        fitting = [table for table in found if _names(table).issuperset(wanted)]
        if not _WILD.search(glob):
            for table in found:
                self.has(table, *wanted)
        if self.name == USER and not matched:
            self.unfit.append(f"there is no table {glob}")
        elif self.name == USER and not fitting:
            self.unfit.append(
                f"no table that {glob} matches has the columns {', '.join((*condition, *wanted))}"
            )
        yield from fitting

    def one(self, glob: str, beside: TableId) -> Table | None:
        """The table that a reference leads to. In the schema of the child where several schemas have one."""
        found = [table for table in self.candidates if matches(glob, table.id)]
        near = [table for table in found if table.id.schema == beside.schema]
        if len(near or found) == 1:
            return (near or found)[0]
        self.unfit.append(f"of {beside}: {glob} is {'more than one table' if found else 'no table'}")
        return None

    def has(self, table: Table, *columns: str) -> tuple[str, ...]:
        """Those that the table has; the others are named."""
        self.unfit += [f"{table.id} has no column {c}" for c in columns if c not in _names(table)]
        return tuple(column for column in columns if column in _names(table))

    # ── lines

    def said_of_tables(self) -> Iterator[_Said]:
        for glob, form in self.said.tables.items():
            for table in self.tables(glob, having=form.having):
                yield _Said(self, glob, table, form)

    def references(self) -> Iterator[ReferenceRule]:
        for one in self.said.references:
            when, values = _when(one.when)
            for table in self.tables(one.table, (*one.columns, *filter(None, [when]))):
                known = next((key for key in table.foreign_keys if key.columns == one.columns), None)
                if one.to is None and known is None:
                    self.unfit.append(f"{table.id} has no foreign key of {', '.join(one.columns)}")
                if one.to is None:
                    parent, referenced = (known.references, known.referenced) if known else (None, ())
                else:
                    found = self.one(_captured(one.to, one.table, table.id), table.id)
                    fits = found is not None and self.has(found, *one.referenced) == one.referenced
                    parent, referenced = found.id if found and fits else None, one.referenced
                if parent is None:
                    continue
                yield ReferenceRule(
                    table=table.id,
                    columns=one.columns,
                    parent=parent,
                    referenced=referenced,
                    policy=one.policy,
                    missing=one.missing,
                    when=when,
                    values=values,
                    owned=one.owned,
                    source=self.name,
                )

    def polymorphic(self) -> Iterator[PolymorphicRule]:
        for one in self.said.polymorphic:
            for table, kind, key in self.pairs(one):
                types = self.one(one.types, table.id) if one.types else None
                if one.types and types is None:
                    continue
                named = {name: self.one(glob, table.id) for name, glob in one.tables.items()}
                tables = {name: str(found.id) for name, found in named.items() if found}
                yield PolymorphicRule(
                    table=table.id,
                    type=kind,
                    id=key,
                    types=types.id if types else None,
                    spelled=one.spelled if types else "",
                    tables=tables if types else {**self.spelled(one.spelled, table.id.schema), **tables},
                    missing=one.missing,
                    source=self.name,
                )

    def spelled(self, spelled: str, beside: str) -> Mapping[str, str]:
        """The same for each reference of a schema: there may be many."""
        key = (spelled, beside)
        if key not in self.names:
            self.names[key] = spelled_tables(self.candidates, spelled, beside)
        return self.names[key]

    def pairs(self, one: MergePolymorphic) -> Iterator[tuple[Table, str, str]]:
        if "{name}" not in one.type:
            yield from ((table, one.type, one.id) for table in self.tables(one.table, (one.type, one.id)))
            return
        pattern = re.compile(re.escape(one.type).replace(re.escape("{name}"), "(.+)"))
        for table in self.tables(one.table):
            for column in table.columns:
                named = pattern.fullmatch(column.name)
                if named and (key := one.id.replace("{name}", named[1])) in _names(table):
                    yield table, column.name, key

    def values(self) -> Iterator[ValueRule]:
        for one, table, parent in self._values():
            if one.path:
                when, values = _when(one.when)
                yield ValueRule(
                    table=table.id,
                    column=one.column,
                    parent=parent.id if parent else None,
                    path=one.path,
                    same_as=one.same_as,
                    when=when,
                    values=values,
                    source=self.name,
                )

    def whole_values(self) -> Iterator[ReferenceRule]:
        """A value that is a key as a whole is a reference that brings no parent along."""
        for one, table, parent in self._values():
            if parent and not one.path:
                when, values = _when(one.when)
                yield ReferenceRule(
                    table=table.id,
                    columns=(one.column,),
                    parent=parent.id,
                    policy="never",
                    missing="keep",
                    when=when,
                    values=values,
                    owned=False,
                    source=self.name,
                )

    def _values(self) -> Iterator[tuple[MergeValue, Table, Table | None]]:
        for one in self.said.values:
            when, _ = _when(one.when)
            for table in self.tables(one.table, (one.column, *filter(None, [when, one.same_as]))):
                parent = self.one(one.to, table.id) if one.to else None
                if parent or one.same_as:
                    yield one, table, parent

    def derived(self) -> Iterator[DerivedRule]:
        for one in self.said.derived:
            for table in self.tables(one.table, one.columns, one.having):
                read = {glob: found for glob in one.reads if (found := self.one(glob, table.id))}
                if len(read) < len(one.reads):
                    continue
                names = {glob: _quoted(found.id.schema, found.id.name) for glob, found in read.items()}
                names["table"] = _quoted(table.id.schema, table.id.name)
                if table.primary_key and len(table.primary_key.columns) == 1:
                    names["key"] = _quoted(table.primary_key.columns[0])
                yield DerivedRule(
                    tables=(table.id, *(found.id for found in read.values())),
                    columns={table.id: one.columns},
                    sql={engine: _filled(sql, names) for engine, sql in one.sql.items()},
                    what=one.what.replace("{table}", str(table.id)),
                    source=self.name,
                )


def _filled(sql: str, names: Mapping[str, str]) -> str:
    """Other braces of the SQL stay: an array, a JSON text."""
    return _PLACE.sub(lambda place: names.get(place[1], place[0]), sql)


def _captured(to: str, glob: str, table: TableId) -> str:
    """`{1}` in `to` is what the first `*` of the pattern stands for."""
    pattern = re.compile(re.escape(glob).replace(r"\*", "(.*)"))
    found = pattern.fullmatch(table.name) or pattern.fullmatch(str(table))
    return _filled(to, {str(n): text for n, text in enumerate(found.groups(), 1)}) if found else to


def _quoted(*names: str) -> str:
    # Not loaded with this module: SQLAlchemy is half a second, and `init` only asks for groups.
    from sqlalchemy.engine.default import DefaultDialect

    quote = DefaultDialect().identifier_preparer.quote_identifier
    return ".".join(quote(name) for name in names)


def _when(when: Mapping[str, tuple[str, ...]] | None) -> tuple[str, tuple[str, ...]]:
    return next(iter(when.items())) if when else ("", ())


def _names(table: Table) -> frozenset[str]:
    return frozenset(column.name for column in table.columns)
