"""Each line of a rule file, and a scenario that ends otherwise without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from backup_pipeline.config.merging import MergeSettings
from backup_pipeline.databases.merge.rulebook import RuleFile, resolve, rule_files
from backup_pipeline.model.schema import Table
from backup_pipeline.model.selection import matches
from backup_pipeline_tests.merging.rules.sampling import NAMES, Small, literal, sample, schema_of, small

CASES = Path(__file__).parent / "cases"
LISTS = ("references", "polymorphic", "values", "derived")


@dataclass(frozen=True)
class Line:
    """One word of a table, of a list of columns one column; or one line of a list."""

    rule: str
    word: str
    glob: str = ""
    column: str = ""
    number: int = 0

    def __str__(self) -> str:
        return (
            f"{self.word} {self.number}"
            if self.word in LISTS
            else f"{self.glob}: {self.word} {self.column}".strip()
        )

    @property
    def file(self) -> RuleFile:
        return rule_files()[self.rule]

    @property
    def alone(self) -> MergeSettings:
        if self.word in LISTS:
            return MergeSettings.model_validate({self.word: (getattr(self.file, self.word)[self.number],)})
        form = self.file.tables[self.glob]
        if not self.column:
            return MergeSettings(tables={self.glob: form})
        having = (*form.having, self.column)
        one = form.model_construct({"having", self.word}, having=having, **{self.word: (self.column,)})
        return MergeSettings(tables={self.glob: one})

    @property
    def without(self) -> RuleFile:
        if self.word in LISTS:
            lines = list(getattr(self.file, self.word))
            del lines[self.number]
            return self.file.model_copy(update={self.word: tuple(lines)})
        form = self.file.tables[self.glob]
        given = {name: getattr(form, name) for name in form.model_fields_set if name != self.word}
        if self.column:
            given[self.word] = tuple(one for one in getattr(form, self.word) if one != self.column)
        changed = type(form).model_construct(set(given), **given)
        return self.file.model_copy(update={"tables": {**self.file.tables, self.glob: changed}})


def lines_of(rule: str) -> Iterator[Line]:
    file = rule_files()[rule]
    for glob, form in file.tables.items():
        for word in sorted(form.model_fields_set - {"having"}):
            if word in ("keep", "no_key"):
                yield from (Line(rule, word, glob, column) for column in getattr(form, word))
            else:
                yield Line(rule, word, glob)
    for word in LISTS:
        yield from (Line(rule, word, number=number) for number in range(len(getattr(file, word))))


def scenarios_of(rule: str) -> Iterator[Line]:
    """The lines, but all columns that are kept in a table as one: one merge shows what becomes of each."""
    kept = {Line(rule, one.word, one.glob): None for one in lines_of(rule) if one.word == "keep"}
    yield from kept
    yield from (one for one in lines_of(rule) if one.word not in ("keep", "group"))


@dataclass(frozen=True)
class Case:
    small: Small
    rows: str
    life: str
    question: str
    answer: list[list[Any]]
    asked: Mapping[str, Any] = field(default_factory=dict)


def case_of(line: Line) -> Case:
    schema = _schema_with(line.rule)
    made = _MADE.get(line.word)
    if made:
        return made(schema, line, _table(schema, line))
    (said,) = [one for one in _written(line.rule) if str(line) in one["lines"]]
    tables = _small(schema, line, *said["tables"])
    return Case(
        tables,
        _script(tables, said["rows"]),
        _script(tables, said.get("life", [])),
        said["question"],
        said["answer"],
        said.get("asked", {}),
    )


@cache
def _schema_with(rule: str) -> str:
    return next(one for one in NAMES if rule in resolve(schema_of(one), files={rule: rule_files()[rule]})[1])


def _small(schema: str, line: Line, *tables: str) -> Small:
    """With the tables by which the rule file is known."""
    known = [table.id for table in schema_of(schema).tables]
    marks = [next(one.name for one in known if matches(glob, one)) for glob in line.file.match]
    return small(schema, [*tables, *marks])


def _written(rule: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((CASES / f"{rule}.yaml").read_text(encoding="utf-8"))
    return found


def _script(tables: Small, steps: list[Any]) -> str:
    """A text is SQL; `{table: {column: value}}` is an INSERT, where a column that is not named has any value."""
    found = ""
    for step in steps:
        if isinstance(step, str):
            found += f"{step};\n"
        else:
            ((name, row),) = step.items()
            found += tables.row(name, row)
    return found


def _table(schema: str, line: Line) -> Table:
    form = line.file.tables[line.glob]
    needed = {*form.having, *([line.column] if line.column else [])}
    return next(
        table
        for table in schema_of(schema).tables
        if matches(line.glob, table.id)
        and table.kind == "table"
        and needed <= {one.name for one in table.columns}
    )


def _never(schema: str, line: Line, table: Table) -> Case:
    """A row that is gone stays away."""
    tables, name = _small(schema, line, table.id.name), table.id.name
    return Case(tables, tables.rows(name), f'DELETE FROM "{name}";', f'SELECT count(*) FROM "{name}"', [[0]])


def _keep(schema: str, line: Line, table: Table) -> Case:
    """Living values stay, also with --update."""
    tables, name = _small(schema, line, table.id.name), table.id.name
    now = {
        one.name: sample(table, one, 2)
        for one in table.columns
        if one.name in line.file.tables[line.glob].keep
    }
    changes = ", ".join(f'"{column}" = {literal(value)}' for column, value in now.items())
    question = "SELECT " + ", ".join(f'"{column}"' for column in now) + f' FROM "{name}"'
    life = f'UPDATE "{name}" SET {changes};'
    return Case(tables, tables.rows(name), life, question, [list(now.values())], {"update": True})


def _birth(schema: str, line: Line, table: Table) -> Case:
    """A row with the same key that was made at another moment is another row."""
    tables, name = _small(schema, line, table.id.name), table.id.name
    born = line.file.tables[line.glob].birth
    change = f"""UPDATE "{name}" SET "{born}" = '2026-09-09 10:00:00';"""
    return Case(tables, tables.rows(name), change, f'SELECT count(*) FROM "{name}"', [[2]])


def _natural_keys(schema: str, line: Line, table: Table) -> Case:
    """A row with another key and other contents is the same row."""
    tables, name = _small(schema, line, table.id.name), table.id.name
    (key,) = line.file.tables[line.glob].natural_keys
    (own,) = table.primary_key.columns if table.primary_key else ("id",)
    parents = {column for one in table.foreign_keys for column in one.columns}
    changed = [
        f'"{one.name}" = {literal(sample(table, one, 2))}'
        for one in table.columns
        if one.name not in (own, *key) and one.name not in parents
    ]
    if own not in key:
        changed.append(f'"{own}" = 1001')
    life = f'UPDATE "{name}" SET {", ".join(changed)};'
    above = [one.to for one in line.file.references if one.table == name and one.to]
    rows = "".join(tables.rows(one) for one in (*above, name))
    return Case(tables, rows, life, f'SELECT count(*) FROM "{name}"', [[1]])


_MADE = {"never": _never, "keep": _keep, "birth": _birth, "natural_keys": _natural_keys}
