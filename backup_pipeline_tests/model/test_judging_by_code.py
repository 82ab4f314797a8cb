"""Code judges a finding by its topic, its severity and its marks (`finding.marked("stands")`), and never by letters of its code."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "backup_pipeline"


def is_code(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "code"
        and isinstance(node.value, ast.Name)
        and node.value.id in {"finding", "one", "cannot"}
    )


def is_literal(node: ast.expr) -> bool:
    """A text, a set of texts, or the name of a constant."""
    return any(
        isinstance(leaf, ast.Constant) or (isinstance(leaf, ast.Name) and leaf.id.isupper())
        for leaf in ast.walk(node)
    )


def judgements(source: str) -> list[int]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if any(map(is_literal, sides)) and any(map(is_code, sides)):
                found.append(node.lineno)
        elif isinstance(node, ast.Attribute) and node.attr == "startswith" and is_code(node.value):
            found.append(node.lineno)
    return found


def test_no_code_judges_a_finding_by_letters_of_its_code() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}, line {line}: give the finding a mark in model/register.py"
        for path in PACKAGE.rglob("*.py")
        for line in judgements(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_a_judgement_is_found() -> None:
    assert judgements('if finding.code == "no-backup":\n    pass\nif one.code in CODES:\n    pass') == [1, 3]
    assert judgements("same = finding.code == other.code") == []
