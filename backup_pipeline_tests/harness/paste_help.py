"""Keeps docs/COMMANDS.md true: `python -m backup_pipeline_tests.harness.paste_help` pastes every `--help` in.

Between `<!-- help: VERB -->` and `<!-- end -->` stands what the verb says of itself; all else is written by hand.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import click

from backup_pipeline.cli.app import VERBS, app

PAGE = Path(__file__).resolve().parents[2] / "docs" / "COMMANDS.md"
WIDTH = 100
#: What stands for the command itself.
ALL = "backup-pipeline"

_PASTED = re.compile(r"<!-- help: ([a-z-]+) -->\n.*?<!-- end -->", re.DOTALL)


def help_of(name: str) -> str:
    top = _context(app, ALL)
    if name == ALL:
        return app.get_help(top)
    command = app.get_command(top, name)
    if command is None:
        raise LookupError(f"{PAGE.name} asks for the help of {name!r}, which is no verb")
    return command.get_help(_context(command, name, top))


def _context(command: click.Command, name: str, parent: click.Context | None = None) -> click.Context:
    """As the command line makes it, but for the width of the terminal."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    return click.Context(command, info_name=name, parent=parent, **settings)


def pasted(text: str) -> str:
    return _PASTED.sub(
        lambda match: f"<!-- help: {match[1]} -->\n```\n{help_of(match[1]).rstrip()}\n```\n<!-- end -->", text
    )


def places(text: str) -> set[str]:
    return {match[1] for match in _PASTED.finditer(text)}


def main() -> int:
    before = PAGE.read_text(encoding="utf-8")
    after = pasted(before)
    PAGE.write_text(after, encoding="utf-8")
    print(f"{PAGE}: {'pasted anew' if after != before else 'was up to date'}")
    missing = {ALL, *VERBS} - places(after)
    if missing:
        print(f"no place for the help of: {', '.join(sorted(missing))}", file=sys.stderr)
    return bool(missing)


if __name__ == "__main__":
    sys.exit(main())
