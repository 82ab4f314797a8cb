"""docs/FINDINGS.md: every finding of the register, its severities, its commands, and the message that the code makes.

`python -m backup_pipeline_tests.harness.paste_findings` writes it anew; a test fails when it should have been run.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from backup_pipeline.model.register import REGISTER

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "backup_pipeline"
PAGE = ROOT / "docs" / "FINDINGS.md"

HEAD = """\
# Findings

What `doctor`, a backup, `verify`, `drill`, `restore`, `status` and the checks of the graph have to say. Each has a code (stable:
scripts may rely on it), a severity, a message, most a remedy, and some examples. An *error* breaks a promise and makes the command fail; a
*warning* is for a person to look at; *info* is worth knowing. `…` stands for what differs from case to case. What stops a command
altogether is an error of [ERRORS](ERRORS.md).

This page is made from the register and the code: `make docs`.
"""

#: Codes that are put together when they are made: the words that stand for `…`. What stays open here is a family of the
#: register.
CHANGES = ("added", "changed", "removed")
EXPANDED = {
    "no-…": ("no-sha256sum", "no-zstd"),
    "sequence-…": tuple(f"sequence-{verb}" for verb in CHANGES),
    "setting-…": tuple(f"setting-{verb}" for verb in CHANGES),
    "…-…": tuple(f"…-{verb}" for verb in CHANGES),
    "…-differs": ("collation-differs", "encoding-differs"),
    "…-failed": ("drill-failed", "judged-failed", "verify-failed", "verify-quick-failed"),
}


@dataclass(frozen=True, slots=True)
class Made:
    code: str
    severity: str
    message: str


def template(node: ast.expr | None) -> list[str]:
    """The texts that an expression may give, with … for what is only known when it runs."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        return ["".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values)]
    if isinstance(node, ast.IfExp):
        return [*template(node.body), *template(node.orelse)]
    return []


def argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    by_name = {keyword.arg: keyword.value for keyword in call.keywords}
    return call.args[position] if len(call.args) > position else by_name.get(name)


def called(call: ast.Call) -> str:
    return str(getattr(call.func, "id", getattr(call.func, "attr", "")))


def makers_of_findings(tree: ast.Module) -> dict[str, tuple[int, int]]:
    """Functions that are handed a `code` → where among the arguments it and the severity stand (-1: nowhere)."""
    found = {"Finding": (1, 0)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            names = [one.arg for one in node.args.args if one.arg != "self"]
            if "code" in names:
                found[node.name] = (
                    names.index("code"),
                    names.index("severity") if "severity" in names else -1,
                )
    return found


def findings_in(path: Path) -> Iterator[Made]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    makers = makers_of_findings(tree)
    named = [n for n in ast.walk(tree) if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in makers:
            code_at, severity_at = makers[called(node)]
            codes = template(argument(node, code_at, "code"))
            severities = template(argument(node, severity_at, "severity")) if severity_at >= 0 else ["error"]
            said = argument(node, code_at + 1, "message")
            if isinstance(said, ast.Name):
                before = [n.value for n in named if n.lineno < node.lineno and n.targets[0].id == said.id]  # type: ignore[attr-defined]
                said = before[-1] if before else None
            texts = template(said)
            for code in [one for written in codes for one in EXPANDED.get(written, (written,))]:
                for severity in severities or [""]:
                    yield Made(code, severity, texts[0] if texts else "")


def every_finding() -> list[Made]:
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if "Finding(" in path.read_text(encoding="utf-8")]
    return [made for path in paths for made in findings_in(path)]


def page() -> str:
    says: dict[str, str] = {}
    for made in every_finding():
        if made.message.strip("… "):
            says.setdefault(made.code, " ".join(made.message.replace("|", "\\|").split()))
    lines = [HEAD, "| finding | severity | from | says |", "|---|---|---|---|"]
    for code, entry in sorted(REGISTER.items()):
        if entry.by:
            cells = (f"`{code}`", ", ".join(entry.severities), ", ".join(entry.by), says.get(code, ""))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(page().splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
