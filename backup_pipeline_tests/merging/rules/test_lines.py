"""Each line of a rule file earns its place: a merge ends otherwise without it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from backup_pipeline.databases.merge.asked import Asked, Verbs
from backup_pipeline.databases.merge.rulebook import RuleFile, resolve, rule_files
from backup_pipeline.model.schema import TableId
from backup_pipeline.restores.merging import merge_into
from backup_pipeline_tests.harness.backups import Backed, backed_up
from backup_pipeline_tests.merging.rules.lines import Case, Line, case_of, lines_of, scenarios_of
from backup_pipeline_tests.merging.rules.sampling import NAMES, schema_of

VERBS = {one.name for one in fields(Verbs)}


@pytest.mark.parametrize("rule", rule_files())
def test_each_line_of_a_rule_file_changes_what_a_merge_does(rule: str, tmp_path: Path) -> None:
    for number, line in enumerate(scenarios_of(rule)):
        _play(line, case_of(line), tmp_path / str(number))


@pytest.mark.parametrize("rule", rule_files())
def test_each_table_of_a_group_is_in_it_by_its_line(rule: str) -> None:
    for line in lines_of(rule):
        if line.word == "group":
            group = line.file.tables[line.glob].group or ""
            schemas = [schema_of(one) for one in NAMES]
            having = [set(resolve(one)[0].groups.get(group, ())) for one in schemas]
            lacking = [set(resolve(one, files=_without(line))[0].groups.get(group, ())) for one in schemas]
            assert having != lacking, str(line)


def _play(line: Line, case: Case, folder: Path) -> None:
    folder.mkdir()
    living = folder / "app.sqlite3"
    _run(living, case.small.ddl + case.rows)
    backed = backed_up(f"sqlite:///{living}", folder / "vault")
    _run(living, case.life)
    found = []
    for name, files in (("with", rule_files()), ("without", _without(line))):
        copy = folder / f"{name}.sqlite3"
        shutil.copy(living, copy)
        found.append(_merged(copy, backed, case, files))
    assert found[0] == case.answer, str(line)
    assert found[1] != case.answer, f"{line}: the same without it"
    if line.word == "keep":
        pairs = zip(found[0][0], found[1][0], strict=True)
        assert all(kept != changed for kept, changed in pairs), f"{line}: {case.question}"


def _merged(living: Path, backed: Backed, case: Case, files: Mapping[str, RuleFile]) -> list[list[object]]:
    rules, _ = resolve(case.small.schema, files=files)
    verbs = {name: value for name, value in case.asked.items() if name in VERBS}
    only = [TableId("main", name) for name in case.asked.get("only", ())]
    asked = Asked(
        only=frozenset(only) if only else None,
        lineage=case.asked.get("lineage", "same"),
        verbs=Verbs(**verbs),
    )
    plan = merge_into(backed.backup, f"sqlite:///{living}", asked, rules).plan
    if case.question == "conflicts":
        return [[plan.conflicts]]
    with closing(sqlite3.connect(living)) as connection:
        return [list(row) for row in connection.execute(case.question)]


def _run(living: Path, script: str) -> None:
    with closing(sqlite3.connect(living)) as connection:
        connection.executescript(script)


def _without(line: Line) -> dict[str, RuleFile]:
    return {**rule_files(), line.rule: line.without}
