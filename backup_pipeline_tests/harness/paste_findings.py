"""docs/FINDINGS.md, read from the code: every finding that is made anywhere, its severity, who makes it, what it says.

`python -m backup_pipeline_tests.harness.paste_findings` writes it anew; a test fails when it should have been run.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "backup_pipeline"
PAGE = ROOT / "docs" / "FINDINGS.md"

HEAD = """\
# Findings

What `doctor`, a backup, `verify`, `drill`, `restore`, `status` and the checks of the graph have to say. Each has a code (stable:
scripts may rely on it), a severity, a message, most a remedy, and some examples. An *error* breaks a promise and makes the command fail; a
*warning* is for a person to look at; *info* is worth knowing. `…` stands for what differs from case to case. What stops a command
altogether is an error of [ERRORS](ERRORS.md).

This page is read from the code: `make docs`.
"""

#: The longest beginning of a path that fits says who it is.
MAKERS = {
    "alerts/": "doctor, status",
    "backups/": "backup",
    "backups/rekey.py": "rekey",
    "cli/doctor.py": "doctor",
    "cli/standing.py": "status",
    "copies/": "copy",
    "copies/beside.py": "repair",
    "copies/lag.py": "status",
    "copies/repair.py": "repair",
    "copies/sampling.py": "verify",
    "databases/": "backup, doctor",
    "databases/differing.py": "drill",
    "databases/plan.py": "restore",
    "databases/postgres/drill/": "drill",
    "databases/postgres/export/doctor.py": "doctor",
    "databases/postgres/restore/": "restore",
    "databases/postgres/restore/screening.py": "backup",
    "databases/same_schema.py": "drill",
    "databases/sqlite/drill.py": "drill",
    "databases/sqlite/examining.py": "verify",
    "databases/sqlite/export/diagnosis.py": "doctor",
    "databases/sqlite/restore.py": "restore",
    "drills/": "drill",
    "files/restore/": "restore",
    "files/sources/": "backup, doctor",
    "files/store/": "backup",
    "health/": "status",
    "health/copy_places.py": "doctor",
    "health/coverage.py": "verify",
    "health/drift.py": "verify",
    "health/file_checks.py": "backup",
    "health/judging.py": "backup",
    "health/keys.py": "doctor",
    "health/losses.py": "backup, status",
    "health/machine.py": "doctor",
    "health/rights.py": "doctor",
    "health/room.py": "doctor",
    "health/storage.py": "verify",
    "model/drill_report.py": "drill",
    "model/selection.py": "backup, doctor",
    "operations/": "backup, doctor",
    "orchestration/": "the graph",
    "references/": "verify",
    "references/asked.py": "backup, doctor",
    "restores/": "restore",
    "retention/": "prune",
    "stores/": "doctor",
    "vault/object_locks.py": "doctor",
    "vault/proving.py": "status, verify",
    "vault/signing.py": "copy, prune, status, verify",
    "verification/": "verify",
    "verification/scrub.py": "scrub",
}


@dataclass(frozen=True, slots=True)
class Made:
    code: str
    severity: str
    maker: str
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
    place = path.relative_to(PACKAGE).as_posix()
    maker = MAKERS[max((start for start in MAKERS if place.startswith(start)), key=len)]
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
            for code in codes:
                for severity in severities or [""]:
                    yield Made(code, severity, maker, texts[0] if texts else "")


def every_finding() -> list[Made]:
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if "Finding(" in path.read_text(encoding="utf-8")]
    return [made for path in paths for made in findings_in(path)]


def page() -> str:
    by_code: dict[str, list[Made]] = defaultdict(list)
    for made in every_finding():
        by_code[made.code].append(made)
    lines = [HEAD, "| finding | severity | from | says |", "|---|---|---|---|"]
    for code, all_made in sorted(by_code.items()):
        order = ["error", "warning", "info"]
        severities = sorted({m.severity for m in all_made if m.severity}, key=order.index)
        makers = sorted({name for m in all_made for name in m.maker.split(", ")})
        message = next((m.message for m in all_made if m.message.strip("… ")), "")
        text = " ".join(message.replace("|", "\\|").split())
        lines.append(f"| `{code}` | {', '.join(severities)} | {', '.join(makers)} | {text} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(page().splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
