"""`forget`: one backup, now."""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.cli import confirming
from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import size
from backup_pipeline.model.orders import ForgetOrder


@as_verb(
    "forget",
    confirming.yes_option(),
    order=ForgetOrder,
    examples="""
    backup-pipeline forget shop 2026-11-21T02-00-00-123Z
    backup-pipeline forget shop 2026-11-21T02-00-00-123Z --reason "holds a customer's data by mistake" --yes
    backup-pipeline forget shop 2026-11-21T02-00-00-123Z --force pinned --yes
    """,
)
def verb(call: Call, order: ForgetOrder, yes: bool) -> Reply:
    """One backup of SYSTEM by its ID, or as `latest` or a day. By its ID also one that is damaged, or whose manifest is gone.

    A record of it stays, so that the history holds. What only this backup named is freed by `prune` when the grace
    time is over; copies keep theirs. A backup that no rule may remove is refused, until --force says which promise is
    to be broken. The ID of a restore removes the record of that restore, which cannot be undone any more; so does the
    backup that was made before it.
    """
    from backup_pipeline.operations.forget import forget, meant

    system, identifier = order.system, meant(call.site, order)
    if not yes:
        confirming.need_a_person(call, f"{system} {identifier} would be gone for good")
        confirming.ask(call, f"Forget {system} {identifier} for good?")
    report = forget(call.site, replace(order, id=identifier))

    def page(page: Page) -> None:
        page.line(f"{system} {identifier} is forgotten")
        for restore in report.restores:
            page.line(f"the restore {restore} cannot be undone any more")
        if report.own:
            page.line(
                f"{size(report.own)} that only it held are freed by `prune` when the grace time is over"
            )

    return Reply({"report": report}, page, answer=False, backup=identifier)
