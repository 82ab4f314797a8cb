"""The register of findings and the package say the same: each code that is made has an entry, each entry is made."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from typing import get_args

from backup_pipeline.errors import CopyFailed
from backup_pipeline.model import register
from backup_pipeline.model.findings import Finding, Severity
from backup_pipeline.model.register import MARKS, REGISTER, entry_of
from backup_pipeline_tests.harness.paste_findings import PACKAGE, every_finding


def codes() -> Iterator[str]:
    for line in register._TABLE.strip().splitlines():
        yield from line.split("|")[3].split()


def test_each_code_that_is_made_has_an_entry_and_each_entry_is_made() -> None:
    made = {one.code for one in every_finding()}
    assert made == {code for code, entry in REGISTER.items() if entry.by}


def test_the_register_knows_the_severities_with_which_a_finding_is_made() -> None:
    made = {(one.code, one.severity) for one in every_finding() if one.severity}
    assert {(code, severity) for code, severity in made if severity not in REGISTER[code].severities} == set()


def test_each_code_stands_once_and_each_severity_is_one() -> None:
    assert [code for code, count in Counter(codes()).items() if count > 1] == []
    assert {one for entry in REGISTER.values() for one in entry.severities} == set(get_args(Severity))


def test_each_mark_is_of_a_code_of_the_register() -> None:
    assert {code for codes in MARKS.values() for code in codes} <= set(REGISTER)


def test_each_mark_is_asked_for_and_is_in_the_register() -> None:
    asked = {
        ast.literal_eval(node.args[0])
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "marked"
    }
    assert asked == set(MARKS)


def test_a_change_of_any_kind_of_object_is_of_the_family() -> None:
    assert entry_of("event-trigger-changed").topic == "schema"


def test_a_code_that_the_register_does_not_know_has_no_topic() -> None:
    later = Finding("error", "of-a-later-version", "…")
    assert (later.topic, later.marked("stands")) == ("", False)


def test_an_error_is_told_as_a_finding_with_its_remedy() -> None:
    told = Finding.of_error(CopyFailed("gone", remedy="look"), "copy x: gone", tree="media")
    assert told == Finding("error", CopyFailed.code, "copy x: gone", remedy="look", tree="media")
