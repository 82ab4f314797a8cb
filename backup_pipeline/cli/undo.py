"""`undo`: take a restore into a living database back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backup_pipeline.cli import confirming, document, merge_page, restoring_live
from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.model.merge_orders import UndoOrder

if TYPE_CHECKING:
    from backup_pipeline.operations.merge import Merged, MergePlan


@as_verb(
    "undo",
    click.Option(
        ["--plan", "only_plan"], is_flag=True, help="Count what would be put back, and write nothing."
    ),
    confirming.yes_option(),
    order=UndoOrder,
    examples="""
    backup-pipeline undo shop
    backup-pipeline undo shop latest --dry-run
    backup-pipeline undo shop r-2026-11-21T02-00-00-123Z --except-changed --yes
    """,
)
def verb(call: Call, order: UndoOrder, only_plan: bool, yes: bool) -> Reply:
    """Of SYSTEM, the newest restore that changed something, or one by its id (`list --restores`).

    Each row that the restore touched becomes what it was, in one transaction: created rows go, updated and deleted
    ones come back. Rows that were changed since are named, and nothing is undone, unless --except-changed undoes the
    rest. An undo can itself be undone. It is there as long as the record of the restore is kept; `show` says until
    when.
    """
    from backup_pipeline.operations import merge, undo

    call.hide(order.to)
    site, began = call.site, call.site.clock()
    call.interrupted = lambda: merge.after_interruption(site, order.system, began)
    approved = None
    if only_plan or not (order.dry_run or yes):
        if not only_plan:
            confirming.need_a_person(
                call, f"a restore of {order.system} would be undone", restoring_live.LOOK_FIRST
            )
        with call.progress(f"plan of an undo of {order.system}") as listener:
            plan = undo.plan(site, order, listener)
        if not only_plan:
            plan.raise_if_refused()
        if only_plan or not plan.writes:
            return _reply(order, merge.Merged(plan))
        restoring_live.ask(call, "Plan of the undo", plan)
        approved = merge.Approved(plan.digest, plan.target)
    with call.progress(f"undo in {order.system}") as listener:
        return _reply(order, undo.undo(site, order, listener, approved=approved))


def _reply(order: UndoOrder, merged: Merged) -> Reply:
    from backup_pipeline.operations import audit, merge

    plan = merged.plan
    after = _next(order, merged)

    def page(page: Page) -> None:
        headings = {"plan": "Plan of the undo", "dry run": "Dry run of the undo", "merge": "Undone"}
        merge_page.show(page, f"{headings[plan.did]}: {plan.system}", plan, sum(merged.seconds.values()))
        page.findings(merged.findings)
        for line in after:
            page.line(line)

    return Reply(
        {**document.plain(merged), "next": after},
        page,
        plan.refusal or merge.lacking(plan),
        answer=plan.did != "merge",
        facts=audit.of_merge(merged),
    )


def _next(order: UndoOrder, merged: Merged) -> list[str]:
    if merged.restore_id:
        return [f"to do it again: backup-pipeline undo {order.system} {merged.restore_id}"]
    plan: MergePlan = merged.plan
    again = merge_page.typed("undo", order, dry_run=False)
    return ["nothing was written", *([f"to do it: {again}"] if plan.writes and not plan.refused else [])]
