"""A finding has an entry in the register (`finding.topic`, `finding.entry.stands`). No new code judges a finding by letters of its code."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "backup_pipeline"

# How often a module still compares a literal with the code of a finding. The list may only shrink.
LEFT = {
    "backups/baselines.py": 1,
    "cli/status.py": 1,
    "copies/repair.py": 1,
    "databases/postgres/drill/drill.py": 2,
    "health/copy_places.py": 2,
    "health/judging.py": 2,
    "health/machine.py": 1,
    "health/overview.py": 3,
    "health/standing.py": 2,
    "operations/diagnosing.py": 1,
    "operations/examining.py": 1,
    "orchestration/asset_checks.py": 1,
    "references/asked.py": 1,
    "references/file_columns.py": 1,
    "verification/scrub.py": 1,
    "verification/structure.py": 2,
    "verification/verify.py": 1,
}
NAMES = {"finding", "one", "cannot"}


def is_code(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "code"
        and isinstance(node.value, ast.Name)
        and node.value.id in NAMES
    )


def judgements(path: Path) -> int:
    count = 0
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            literal = any(isinstance(leaf, ast.Constant) for side in sides for leaf in ast.walk(side))
            count += literal and any(is_code(side) for side in sides)
        elif isinstance(node, ast.Attribute):
            count += node.attr == "startswith" and is_code(node.value)
    return count


def test_no_new_code_judges_a_finding_by_letters_of_its_code() -> None:
    counted = {path.relative_to(PACKAGE).as_posix(): judgements(path) for path in PACKAGE.rglob("*.py")}
    assert {name: count for name, count in counted.items() if count} == LEFT
