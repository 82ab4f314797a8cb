"""The register of findings and the package say the same: each code that is made has an entry, each entry is made."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import get_args

from backup_pipeline.errors import CopyFailed
from backup_pipeline.model.findings import Finding, Severity
from backup_pipeline.model.register import MARKS, REGISTER, TEMPLATES, entry_of

PACKAGE = Path(__file__).resolve().parents[2] / "backup_pipeline"
#: What `Finding.of` adds of itself, and what it takes for itself.
GIVEN = {"heal", "heal_manifest", "table", "tree"}
OWN = {"severity", "remedy", "examples"}


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    return [
        (path.relative_to(PACKAGE).as_posix(), node)
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call | ast.Constant | ast.JoinedStr)
    ]


def calls(method: str) -> Iterator[tuple[str, ast.Call]]:
    for path, node in nodes():
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(method):
            yield path, node


def placeholders(text: str) -> set[str]:
    return {field for _, field, _, _ in string.Formatter().parse(text) if field}


def test_a_finding_is_made_only_by_its_entry_in_the_register() -> None:
    assert [
        f"{path}, line {node.lineno}" for path, node in calls("Finding") if path != "model/findings.py"
    ] == []


def test_each_call_names_an_entry_and_fills_each_of_its_placeholders() -> None:
    wrong = []
    for path, node in calls("Finding.of"):
        if not isinstance(node.args[0], ast.Constant):
            continue
        one = TEMPLATES.get(node.args[0].value)
        given = {str(keyword.arg) for keyword in node.keywords}
        values = given - OWN - {"table", "tree"}
        wanted = placeholders(one.message + one.remedy) if one else set()
        if one is None or wanted - GIVEN != values or not wanted & {"table", "tree"} <= given:
            wrong.append(f"{path}, line {node.lineno}: {node.args[0].value} and {sorted(values)}")
    assert not wrong, "\n".join(wrong)


def test_each_entry_is_made() -> None:
    """By its name, by its code and a word for the case, or by a text with a place for the code."""
    texts, patterns = set(), {"…-(added|changed|removed)"}
    for _, node in nodes():
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            texts.add(node.value)
        elif isinstance(node, ast.JoinedStr) and re.fullmatch(r"f'[a-z{}/-]+'", ast.unparse(node)):
            parts = (
                re.escape(str(p.value)) if isinstance(p, ast.Constant) else "[a-z0-9-]+" for p in node.values
            )
            patterns.add("".join(parts))
    made = re.compile("|".join(sorted(patterns)))
    unmade = {name for name, one in TEMPLATES.items() if one.entry.by and name not in texts}
    assert {name for name in unmade if not made.fullmatch(name)} == set()


def test_a_severity_of_the_register_is_one() -> None:
    assert {one for entry in REGISTER.values() for one in entry.severities} == set(get_args(Severity))


def test_the_entries_of_a_code_stand_together_and_have_one_topic() -> None:
    begun = [code for code, _ in groupby(one.code for one in TEMPLATES.values())]
    assert sorted(begun) == sorted(set(begun))
    assert {one.code for one in TEMPLATES.values() if one.entry.topic != REGISTER[one.code].topic} == set()


def test_each_mark_is_of_a_code_of_the_register() -> None:
    assert {code for codes in MARKS.values() for code in codes} <= set(REGISTER)


def test_each_mark_is_asked_for_and_is_in_the_register() -> None:
    asked = {ast.literal_eval(node.args[0]) for _, node in calls(".marked")}
    assert asked | {"counted_by_tree"} == set(MARKS)


def test_a_change_of_any_kind_of_object_is_of_the_family() -> None:
    assert entry_of("event-trigger-changed").topic == "schema"


def test_a_code_that_the_register_does_not_know_has_no_topic() -> None:
    later = Finding("error", "of-a-later-version", "…")
    assert (later.topic, later.marked("stands")) == ("", False)


def test_a_finding_has_the_texts_of_its_entry() -> None:
    made = Finding.of("tree-shrank", tree="media", files=5, before=1200)
    assert made.message == "media holds 5 files; the backup before had 1,200"
    assert (made.severity, made.code, made.tree) == ("warning", "tree-shrank", "media")
    assert made.remedy == "if they were not deleted on purpose, the backup before has them"


def test_a_remedy_of_the_caller_stands_instead_of_that_of_the_register() -> None:
    error = CopyFailed("gone", remedy="look")
    made = Finding.of("copy-unreachable", why=error.message, remedy=error.remedy, name="x")
    assert (made.remedy, made.message) == ("look", "copy x: gone")


def test_an_error_is_told_as_a_finding_with_its_remedy() -> None:
    told = Finding.of_error(CopyFailed("gone", remedy="look"), "copy x: gone", tree="media")
    assert told == Finding("error", CopyFailed.code, "copy x: gone", remedy="look", tree="media")
