"""Constants out of Python source, without running it."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping
from pathlib import Path

from backup_pipeline.errors import ConfigError


def parse(path: Path) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError) as error:
        raise ConfigError(
            f"the migration {path} is not Python that can be read: {error}", remedy="mend or remove it"
        ) from None


def assigned(body: Iterable[ast.stmt]) -> Mapping[str, ast.expr]:
    """`x = …` and `x: str = …` of a module or a class; the last one counts."""
    found: dict[str, ast.expr] = {}
    for node in body:
        if isinstance(node, ast.Assign):
            found.update({target.id: node.value for target in node.targets if isinstance(target, ast.Name)})
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            found[node.target.id] = node.value
    return found


def text(node: ast.expr | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def texts(node: ast.expr | None) -> tuple[str, ...]:
    """A string, or a tuple, list or set of strings; what is no literal is left out."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return tuple(found for item in node.elts if (found := text(item)) is not None)
    one = text(node)
    return () if one is None else (one,)
