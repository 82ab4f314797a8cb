"""`restore`: bring a backup back, into an empty or a new database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.app import as_verb, backup_argument, system_argument
from backup_pipeline.cli.call import Call, Outcome
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.thawing import readable, thaw_option
from backup_pipeline.cli.units import duration, number, plural, size
from backup_pipeline.errors import BackupError

if TYPE_CHECKING:
    from backup_pipeline.restore import RestorePlan, RestoreResult
    from backup_pipeline.stores.thawing import Tier


@as_verb(
    "restore",
    system_argument(),
    backup_argument(),
    click.Option(
        ["--to"],
        required=True,
        metavar="URL",
        help="The database to restore to.",
    ),
    click.Option(["--create"], is_flag=True, help="Make that database first; it must not exist."),
    click.Option(["--dry-run"], is_flag=True, help="Show the plan and write nothing."),
    click.Option(
        ["--jobs"], type=click.IntRange(1, 64), metavar="N", help="Sessions at a time [else `workers:`]."
    ),
    thaw_option(),
    examples="""
    backup-pipeline restore shop --to postgresql://app@localhost/shop_restored --create
    backup-pipeline restore shop 2026-11-21T02-00-00-123Z --to "$TARGET_URL" --dry-run
    backup-pipeline restore shop latest --to sqlite:////srv/shop/restored.db
    """,
)
def verb(
    call: Call,
    system: str,
    identifier: str | None,
    to: str,
    create: bool,
    dry_run: bool,
    jobs: int | None,
    thaw: Tier | None,
) -> Outcome:
    """The newest full backup of SYSTEM, or one by its ID.

    Rows first, in parallel; then indexes and foreign keys; then sequences, so that the first INSERT works. A target
    that holds something is refused. When it fails or is interrupted, the target is as it was.
    """
    call.hide(to)
    call.interrupted = lambda: "nothing was restored: what had been written to the target was taken back"
    project = call.project
    readable(call, project.vault, system, identifier, thaw, only_say=dry_run and thaw is None)
    plan = project.plan_restore(system, identifier, to, create=create, jobs=jobs)
    if dry_run:
        return Outcome(plan, lambda page: _plan(page, plan), _refusal(plan))
    plan.raise_if_refused()
    call.note(f"restoring {plan.system} {plan.backup_id} to {plan.target}: {_what(plan)}")
    with call.progress(f"restore of {system}") as listener:
        result = project.restore(system, identifier, to, create=create, jobs=jobs, listener=listener)
    return Outcome(result, lambda page: _result(page, result), answer=False)


def _refusal(plan: RestorePlan) -> BackupError | None:
    try:
        plan.raise_if_refused()
    except BackupError as error:
        return error
    return None


def _what(plan: RestorePlan) -> str:
    return f"{plural(len(plan.tables), 'table')}, {plural(plan.rows, 'row')}, {size(plan.bytes)}"


def _plan(page: Page, plan: RestorePlan) -> None:
    page.heading(f"Plan: restore {plan.system} {plan.backup_id}")
    page.facts(
        [
            ("to", plan.target + (" (would be made)" if plan.create else "")),
            ("engine", f"{plan.engine} {plan.target_version}; the backup is of {plan.backup_version}"),
            ("strategy", f"{plan.strategy}: {plan.why}"),
            (
                "how",
                "one transaction, all or nothing"
                if plan.one_transaction
                else f"{plural(plan.jobs, 'session')}",
            ),
            ("content", _what(plan)),
            (
                "definitions",
                ", ".join(f"{s.name}: {plural(s.statements, 'statement')}" for s in plan.sections),
            ),
            ("sequences", plan.sequences or ""),
        ]
    )
    page.line()
    page.table(
        ("TABLE", "ROWS", "SIZE", "CHUNKS", "ACTION"),
        [
            (
                t.table,
                number(t.rows),
                size(t.bytes),
                t.chunks,
                f"{t.action}{f' ({t.note})' if t.note else ''}",
            )
            for t in plan.tables
        ],
        right=(1, 2, 3),
    )
    page.findings(plan.findings)
    page.findings(plan.refused)
    page.line("nothing was written")


def _result(page: Page, result: RestoreResult) -> None:
    plan = result.plan
    page.heading(f"Restored {plan.system} {plan.backup_id} to {plan.target}")
    total = result.seconds.get("total", sum(result.seconds.values()))
    page.line(
        f"{plural(result.tables, 'table')}, {plural(result.rows, 'row')}, {size(result.bytes)} in {duration(total)}"
    )
    phases = [f"{name} {duration(seconds)}" for name, seconds in result.seconds.items() if name != "total"]
    if phases:
        page.line(", ".join(phases))
    empty = [table for table in plan.tables if table.action == "no rows here"]
    if empty:
        page.heading(f"Made without rows: {len(empty)}")
        page.table(("TABLE", "WHY"), [(table.table, table.note) for table in empty])
    page.findings(result.findings)
