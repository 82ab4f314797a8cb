"""docs/FINDINGS.md: every finding of the register, its severities, its commands, its message and its remedy.

`python -m backup_pipeline_tests.harness.paste_findings` writes it anew; a test fails when it should have been run.
"""

from __future__ import annotations

import string
import sys
from pathlib import Path

from backup_pipeline.model.findings import HEAL, HEAL_MANIFEST
from backup_pipeline.model.register import TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "FINDINGS.md"

HEAD = """\
# Findings

What `doctor`, a backup, `verify`, `drill`, `restore`, `status` and the checks of the graph have to say. Each has a code (stable:
scripts may rely on it), a severity, a message, most a remedy, and some examples. An *error* breaks a promise and makes the command fail; a
*warning* is for a person to look at; *info* is worth knowing. `…` stands for what differs from case to case. What stops a command
altogether is an error of [ERRORS](ERRORS.md).

This page is made from the register: `make docs`.
"""

FIXED = {"heal": HEAL, "heal_manifest": HEAL_MANIFEST}


def shown(text: str) -> str:
    """A text of the register, with … for what is only known when it runs."""
    parts = (
        literal + ("" if field is None else FIXED.get(field, "…"))
        for literal, field, _, _ in string.Formatter().parse(text)
    )
    return "".join(parts).replace("|", "\\|")


def page() -> str:
    lines = [HEAD, "| finding | severity | from | says | what to do |", "|---|---|---|---|---|"]
    for _, one in sorted(TEMPLATES.items()):
        severities, by = ", ".join(one.entry.severities), ", ".join(one.entry.by)
        if by:
            lines.append(
                f"| `{one.code}` | {severities} | {by} | {shown(one.message)} | {shown(one.remedy)} |"
            )
    return "\n".join(lines) + "\n"


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(page().splitlines())} lines")
    return 0


if __name__ == "__main__":
    sys.exit(main())
