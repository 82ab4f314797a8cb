"""Each line of each rule file fits tables as the framework makes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest

from backup_pipeline.config.merging import MergeSettings
from backup_pipeline.databases.merge.rulebook import RuleFile, resolve, rule_files
from backup_pipeline.databases.sqlite.export.inspection import inspect
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.schema import Schema

SCHEMAS = Path(__file__).parent / "schemas"
NAMES = sorted(path.stem for path in SCHEMAS.glob("*.sql"))


@cache
def schema_of(name: str) -> Schema:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript((SCHEMAS / f"{name}.sql").read_text(encoding="utf-8"))
        return inspect(connection).schema


def single_lines(rules: RuleFile) -> Iterator[tuple[str, MergeSettings]]:
    """Each word of a table as rules of its own, and each line of the lists."""
    for glob, form in rules.tables.items():
        for word in sorted(form.model_fields_set - {"having"}):
            if word in ("keep", "no_key"):
                for column in getattr(form, word):
                    one = form.model_construct(
                        {"having", word}, having=(*form.having, column), **{word: (column,)}
                    )
                    yield f"{glob}: {word} {column}", MergeSettings(tables={glob: one})
            else:
                yield f"{glob}: {word}", MergeSettings(tables={glob: form})
    for word in ("references", "polymorphic", "values", "derived"):
        for number, line in enumerate(getattr(rules, word)):
            yield f"{word} {number}", MergeSettings(**{word: (line,)})


def why_not(settings: MergeSettings, schema: Schema) -> str:
    """As a line of a user it is an error where it does not fit."""
    try:
        resolve(schema, settings)
    except ConfigError as error:
        return error.message
    return ""


@pytest.mark.parametrize("name", rule_files())
def test_each_line_fits_a_framework(name: str) -> None:
    schemas = [schema_of(one) for one in NAMES if name in resolve(schema_of(one))[1]]
    for line, settings in single_lines(rule_files()[name]):
        said = [why_not(settings, schema) for schema in schemas]
        assert "" in said, f"{line}: {said}"


@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_skipped_where_its_framework_is(name: str) -> None:
    assert resolve(schema_of(name))[0].skipped == ()


def test_each_rule_file_holds_in_a_schema() -> None:
    held = {rule for name in NAMES for rule in resolve(schema_of(name))[1]}
    assert held == set(rule_files())


def test_there_are_thirty_rule_files_or_more() -> None:
    assert len(rule_files()) >= 30
