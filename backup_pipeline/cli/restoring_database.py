"""The part of `restore` that brings the database back: its options, and how the plan and the outcome look."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from backup_pipeline.cli import document
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page, clean, one_line
from backup_pipeline.cli.units import duration, number, plural, size
from backup_pipeline.errors import BackupError, ErrorsFound
from backup_pipeline.model.orders import RestoreOrder
from backup_pipeline.model.outcome import failed

if TYPE_CHECKING:
    from backup_pipeline.operations import Site
    from backup_pipeline.operations.restore import RestorePlan, RestoreResult


#: So many of what could not be made are shown; the file has all.
_SHOWN = 20


def remainder_option() -> click.Option:
    return click.Option(
        ["--remainder"],
        metavar="FILE",
        help="The list of what could not be made, as SQL [SYSTEM-ID-remainder.sql].",
    )


def run(call: Call, site: Site, order: RestoreOrder, listed: str | None) -> Reply:
    """`listed`: the file for what could not be restored."""
    from backup_pipeline.operations.restore import plan_restore, remainder, restore, terms_of

    call.interrupted = lambda: "nothing was restored: what had been written to the target was taken back"
    plan = plan_restore(site, order)
    if order.dry_run:
        return Reply(plan, lambda page: _plan(page, plan), plan.refusal)
    plan.raise_if_refused()
    file = Path(listed or f"{plan.system}-{plan.backup_id}-remainder.sql").absolute()
    if listed or terms_of(order).forgiving:
        remainder.need_place(file)
    call.note(f"restoring {plan.system} {plan.backup_id} to {plan.target}: {_what(plan)}")
    if code := _code(plan):
        call.note(f"PostgreSQL runs code of this backup: {code} (--no-code leaves it out)")
    with call.progress(f"restore of {order.system}") as listener:
        result = restore(site, order, listener)
    written = _written(result, file)
    data = {**document.plain(result), "remainder_file": str(file) if written else None}
    return Reply(
        data, lambda page: _result(page, result, file, written), _failure(result, file, written), answer=False
    )


def _written(result: RestoreResult, file: Path) -> bool:
    """The list is written after the commit: that it cannot be is told, and takes nothing back."""
    from backup_pipeline.operations.restore import remainder

    if not result.remainder:
        return False
    try:
        remainder.write(file, f"{result.plan.system} {result.plan.backup_id}", result.remainder)
    except OSError:
        return False
    return True


def _failure(result: RestoreResult, file: Path, written: bool) -> BackupError | None:
    if not result.lacking:
        return failed(ErrorsFound, "restored, and not as it was", result.findings)
    where = f"they stand in {file}" if written else f"{file} cannot be written; --json shows them"
    asked = len(result.remainder) - len(result.lacking)
    besides = f" (and {asked} that you asked to leave out)" if asked else ""
    return ErrorsFound(
        f"restored, but for {plural(len(result.lacking), 'statement')}{besides}: {where}",
        remedy="read them, mend what stood in the way, and run them with psql",
    )


def _code(plan: RestorePlan) -> str:
    return ", ".join(plural(count, kind) for kind, count in plan.code.items())


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
            ("runs code", f"{code} of the backup (--no-code leaves it out)" if (code := _code(plan)) else ""),
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


def _result(page: Page, result: RestoreResult, file: Path, written: bool) -> None:
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
    if result.remainder:
        page.heading(f"Not restored: {plural(len(result.remainder), 'statement')}")
        for left in result.remainder[:_SHOWN]:
            page.line(f"{clean(left.what)}")
            page.line(f"      {clean(one_line(left.reason))}")
        if len(result.remainder) > _SHOWN:
            page.line(f"and {len(result.remainder) - _SHOWN} more")
        page.line(
            f"all of them, as SQL: {file}" if written else f"{file} cannot be written; --json shows all"
        )
