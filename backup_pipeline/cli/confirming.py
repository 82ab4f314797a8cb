"""The question before something is written or removed that a person may not have meant."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click

from backup_pipeline.cli.call import Call
from backup_pipeline.cli.page import Page
from backup_pipeline.errors import UsageError


def yes_option() -> click.Option:
    return click.Option(["--yes"], is_flag=True, help="Do not ask.")


def need_a_person(call: Call, what: str, remedy: str = "say --yes where no person can be asked") -> None:
    """For a command without --yes, before it begins work that would end in a question. `what`: what would come of it."""
    if call.json or not sys.stdin.isatty():
        raise UsageError(what, remedy=remedy)


def ask(call: Call, question: str, show: Callable[[Page], None] | None = None) -> None:
    """Returns after a yes. Any other answer ends the command, which has written nothing. `show`: what is asked about."""
    if show is not None:
        page = call.page()
        show(page)
        call.say(str(page))
    click.confirm(question, abort=True, err=True)
