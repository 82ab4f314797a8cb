"""`copy`: bring the copies of a system up to date."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.thawing import readable_for_a_copy
from backup_pipeline.cli.units import duration, plural, size
from backup_pipeline.model.orders import CopyOrder

if TYPE_CHECKING:
    from backup_pipeline.operations.copy import Copied


@as_verb(
    "copy",
    system_argument(required=False),
    order=CopyOrder,
    examples="""
    backup-pipeline copy shop
    backup-pipeline copy shop latest --to offsite
    backup-pipeline copy
    backup-pipeline copy --from offsite --to vault
    """,
)
def verb(call: Call, order: CopyOrder) -> Reply:
    """Of SYSTEM, or of all systems: every backup that a copy lacks, oldest first, or just the one that is named.

    Objects first, the manifest last: a copy that was interrupted lists whole backups only, and goes on where it was. What is
    damaged at its source is named and not copied. Nothing is ever removed from a copy; a backup that the copy's own
    retention has removed is brought back only when it is named. Needs no key. Exit code 17 when a copy does not hold what
    it should.
    """
    from backup_pipeline.operations import audit
    from backup_pipeline.operations.copy import copy, failure_of, systems_at

    site = call.site
    call.interrupted = lambda: "backups that are listed in a copy are whole; the next run goes on from there"
    names = (order.system,) if order.system else systems_at(site, order.source)
    done: list[Copied] = []
    orders = [replace(order, system=name) for name in names]
    for one in orders:
        readable_for_a_copy(call, site, one)
    for one in orders:
        with call.progress(f"copy of {one.system}") as listener:
            done += copy(site, one, listener)
    return Reply(
        {"copies": told(call, done)},
        lambda page: show_copies(call, page, done),
        failure_of(done),
        answer=False,
        acts=audit.of_copies(done),
    )


def told(call: Call, done: list[Copied]) -> list[dict[str, object]]:
    """For --json: an error is its code, its message and its remedy, as where it ends a command."""
    return [
        {
            "name": one.name,
            "system": one.system,
            "ok": one.ok,
            "report": one.report,
            "error": one.error
            and {
                "code": one.error.code,
                "message": call.redacted(one.error.message),
                "remedy": call.redacted(one.error.remedy),
            },
        }
        for one in done
    ]


def show_copies(call: Call, page: Page, done: list[Copied]) -> None:
    for one in done:
        page.heading(f"{one.system} → {one.name}")
        if one.error is not None:
            page.line(f"{page.style('FAILED', 'red', bold=True)}: {call.redacted(one.error.message)}")
            continue
        report = one.report
        assert report is not None
        page.line(
            f"{plural(len(report.copied), 'backup')} copied, {report.present} there already"
            + (
                f", {page.style(f'{len(report.refused)} NOT copied', 'red', bold=True)}"
                if report.refused
                else ""
            )
        )
        if report.copied:
            again = f"; {plural(report.skipped, 'object')} ({size(report.skipped_bytes)}) not sent again"
            page.line(
                f"{plural(report.objects, 'object')} sent, {size(report.bytes)} in {duration(report.seconds)}"
                f" ({size(report.rate)}/s){again if report.skipped else ''}"
            )
        page.findings(report.findings)
