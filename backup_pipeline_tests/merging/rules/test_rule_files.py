"""Each line of each rule file fits tables as the framework makes them."""

from __future__ import annotations

import pytest

from backup_pipeline.config.merging import MergeSettings
from backup_pipeline.databases.merge.rulebook import resolve, rule_files
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.schema import Schema
from backup_pipeline_tests.merging.rules.lines import lines_of
from backup_pipeline_tests.merging.rules.sampling import NAMES, schema_of


def why_not(settings: MergeSettings, schema: Schema) -> str:
    """As a line of a user it is an error where it does not fit."""
    try:
        resolve(schema, settings, files={})
    except ConfigError as error:
        return error.message
    return ""


@pytest.mark.parametrize("name", rule_files())
def test_each_line_fits_a_framework(name: str) -> None:
    schemas = [schema_of(one) for one in NAMES if name in resolve(schema_of(one))[1]]
    for line in lines_of(name):
        said = [why_not(line.alone, schema) for schema in schemas]
        assert "" in said, f"{line}: {said}"


@pytest.mark.parametrize("name", NAMES)
def test_no_line_is_skipped_where_its_framework_is(name: str) -> None:
    assert resolve(schema_of(name))[0].skipped == ()


def test_each_rule_file_holds_in_a_schema() -> None:
    held = {rule for name in NAMES for rule in resolve(schema_of(name))[1]}
    assert held == set(rule_files())


def test_there_are_thirty_rule_files_or_more() -> None:
    assert len(rule_files()) >= 30
