"""`state/paths.py` names every path below the state folder, and no other module builds one."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from pathlib import Path

import pytest

from backup_pipeline.state import paths

PACKAGE = Path(__file__).resolve().parents[2] / "backup_pipeline"
STATE = Path(".backup-pipeline")
GIVEN = {
    "state": STATE,
    "month": "2026-11",
    "name": "20261129T020013Z-1f2e3d4c",
    "system": "shop",
    "address": "/backups",
    "copy": "offsite",
}
FUNCTIONS = [one for one in vars(paths).values() if inspect.isfunction(one) and one is not paths.place_name]


def example(function: Callable[..., Path]) -> Path:
    return function(**{name: GIVEN[name] for name in inspect.signature(function).parameters})


NAMES = {example(function).parts[1] for function in FUNCTIONS}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda one: one.__name__)
def test_a_path_is_the_example_of_its_docstring(function: Callable[..., Path]) -> None:
    assert (function.__doc__ or "").endswith(f": {example(function)}")


def names_a_path(node: ast.AST) -> bool:
    """`settings.state_folder / "acts"`, or a name of a folder joined to anything."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        folder = isinstance(node.left, ast.Attribute) and node.left.attr == "state_folder"
        return folder or (isinstance(node.right, ast.Constant) and node.right.value in NAMES)
    return (
        isinstance(node, ast.Attribute)
        and node.attr in ("joinpath", "glob")
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "state_folder"
    )


def test_no_other_module_builds_a_path_below_the_state_folder() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}, line {node.lineno}: take the path from state/paths.py"  # type: ignore[attr-defined]
        for path in PACKAGE.rglob("*.py")
        if path != PACKAGE / "state" / "paths.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if names_a_path(node)
    ]
    assert not found, "\n".join(found)
