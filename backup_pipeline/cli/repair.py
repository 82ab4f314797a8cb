"""`repair`: heal the vault from a copy, or a copy from the vault."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import duration, number, plural, size
from backup_pipeline.errors import Damaged
from backup_pipeline.model.orders import RepairOrder
from backup_pipeline.model.outcome import failed

if TYPE_CHECKING:
    from backup_pipeline.operations.repair import RepairReport

SHOWN = 20


@as_verb(
    "repair",
    order=RepairOrder,
    examples="""
    backup-pipeline repair shop --dry-run
    backup-pipeline repair shop
    backup-pipeline repair shop --copy offsite --quick
    backup-pipeline repair shop --set-aside
    """,
)
def verb(call: Call, order: RepairOrder) -> Reply:
    """Everything that SYSTEM has in one place is read; what is lost or damaged is brought back from another place.

    Objects, manifests, seals and RECOVER.md; whole backups that are gone without a record that they were forgotten, too. Only
    bytes that can be shown to be right are written, they are read back, and what is good is never overwritten. Needs no
    key. Exit code 7 when something could not be healed.

    The living database and files may still have content that no place has right. --set-aside moves such objects to
    `set-aside/` in their place. The next backup reads and stores their content again.
    """
    from backup_pipeline.operations import audit
    from backup_pipeline.operations.repair import repair

    call.interrupted = lambda: "what was healed until then is healed; nothing good was touched"
    with call.progress(f"repair of {order.system}") as listener:
        report = repair(call.site, order, listener)
    failure = failed(Damaged, "not all could be healed", report.findings)
    return Reply(
        report, lambda page: _page(page, report), failure, answer=False, facts=audit.of_repair(report)
    )


def _page(page: Page, report: RepairReport) -> None:
    page.heading(f"{report.system} in {report.place}")
    page.line(
        f"looked at {plural(report.backups, 'backup')} and {plural(report.objects, 'object')}"
        + (f", read {size(report.bytes)}" if report.bytes else "")
        + f" in {duration(report.seconds)}"
    )
    would = "would be " if report.dry_run else ""
    for identifier in report.brought_back:
        page.line(f"{would}brought back: {identifier}")
    for one in report.healed[:SHOWN]:
        page.line(f"{would}healed: {one.key} ({one.why}; from {one.source})")
    if len(report.healed) > SHOWN:
        page.line(f"and {number(len(report.healed) - SHOWN)} more (--json shows all)")
    for key in report.set_aside[:SHOWN]:
        page.line(f"{would}set aside: {key}")
    if len(report.set_aside) > SHOWN:
        page.line(f"and {number(len(report.set_aside) - SHOWN)} more (--json shows all)")
    page.findings(report.findings)
    if not report.healed and not report.brought_back and report.ok:
        page.verdict(True, "good: nothing to heal")
    if report.dry_run:
        page.line("nothing was written")
