"""`around`: a backup, a command, and what the command did to the rows."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from backup_pipeline.cli import document, merge_page
from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.model.merge_orders import AroundOrder

if TYPE_CHECKING:
    from backup_pipeline.operations.around import Change


@as_verb(
    "around",
    system_argument(),
    click.Argument(["command"], nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND..."),
    click.Option(
        ["--yes"], is_flag=True, help="Ask nothing: what the command did stays, but for --undo-over."
    ),
    order=AroundOrder,
    examples="""
    backup-pipeline around shop -- python manage.py cleanup
    backup-pipeline around shop --undo-over 5% -- ./nightly-import.sh
    backup-pipeline around shop --only orders,order_items --show orders -- psql -f fix.sql
    """,
)
def verb(call: Call, order: AroundOrder, yes: bool) -> Reply:
    """Back SYSTEM up, run COMMAND, and show which rows it created, changed and deleted.

    The backup is made before COMMAND begins. COMMAND has the streams of this command, and its exit code becomes
    ours. --undo-over 5% undoes its work when more than 5% of the rows of a table were changed or deleted: exit code 10.
    Otherwise a person at a terminal is asked, and elsewhere the command that undoes it is shown.
    """
    from backup_pipeline.operations import around, commands

    site, system = call.site, order.system
    call.interrupted = lambda: "the command was not run"
    with call.progress(f"backup of {system}") as listener:
        made = around.before(site, order, listener)
    undo = merge_page.typed("restore", around.way_back(order, made))
    call.note(f"backup {made} is made; now: {' '.join(order.command)}")
    call.interrupted = lambda: f"what the command did stays; to undo it: {undo}"
    failure = commands.run(
        order.command, terminated=call.terminated, stdout=call.stderr.fileno() if call.json else None
    )
    with call.progress(f"comparison of {system}") as listener:
        change = around.compare(site, order, made, listener)
    beyond = change.beyond(order.undo_over)
    if change.tables and change.plan.refusal is None and (beyond or _is_unwanted(call, change, yes)):
        with call.progress(f"undo in {system}") as listener:
            change = around.undo(site, order, change, listener)

    def page(page: Page) -> None:
        _show(page, change)
        if change.undone is not None:
            why = f", because {beyond.part:.1f}% of the rows of {beyond.table} were" if beyond else ""
            page.line(f"it is undone{why}")
            page.line(f"to do it again: backup-pipeline undo {system} {change.undone.restore_id}")
        elif change.tables:
            page.line(f"to undo it: {undo}")

    data = {**document.plain(change), "exit_code": failure.exit_code if failure else 0, "undo": undo}
    return Reply(
        data,
        page,
        failure or around.failure_of(change, beyond),
        backup=made,
        facts=around.figures(change),
    )


def _show(page: Page, change: Change) -> None:
    from backup_pipeline.operations import around

    page.heading(f"What the command did to {change.plan.system}")
    for section in around.sections(change):
        merge_page.draw(page, section)
    page.findings(change.plan.refused)


def _is_unwanted(call: Call, change: Change, yes: bool) -> bool:
    if yes or call.json or not sys.stdin.isatty():
        return False
    page = call.page()
    _show(page, change)
    call.say(str(page))
    return click.confirm("Undo it?", err=True)
