"""`drill`: restore it for real, compare every row, and remember that it was proven."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.orders import flags
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.places import from_option, site_at, unsigned_option
from backup_pipeline.cli.recording import recorded
from backup_pipeline.cli.report import show_report
from backup_pipeline.cli.thawing import readable
from backup_pipeline.cli.units import duration
from backup_pipeline.errors import ProofFailed
from backup_pipeline.model.orders import DrillOrder
from backup_pipeline.model.outcome import failed

if TYPE_CHECKING:
    from backup_pipeline.operations.drill import DrillReport


@as_verb(
    "drill",
    *flags(DrillOrder, "scratch", "all_files"),
    click.Option(["--no-record"], is_flag=True, help="Do not record the run in the Dagster instance."),
    from_option("Restore it straight from this copy: the proof that the copy is one. Not recorded."),
    unsigned_option(),
    order=DrillOrder,
    examples="""
    backup-pipeline drill shop
    backup-pipeline drill shop 2026-11-21T02-00-00-123Z
    backup-pipeline drill shop --scratch postgresql://drill@scratch-host/postgres
    backup-pipeline drill shop --from offsite
    """,
)
def verb(call: Call, order: DrillOrder, no_record: bool, place: str | None, unsigned: bool) -> Reply:
    """The newest full backup of SYSTEM, or one by its ID.

    The scratch database is made and dropped by the drill; one that exists is never touched. Sequences, constraints and
    the `invariants` of the system are tried, too. Of each file tree, a sample (another one every time) is restored and
    compared byte for byte. The outcome and the measured recovery time are remembered beside the
    backup. Exit code 10 when something is not as it should be.
    """
    from backup_pipeline.operations import audit

    system, id = order.system, order.id
    call.hide(order.scratch)
    call.interrupted = lambda: "nothing was proven or remembered, and the scratch database is removed"
    site = site_at(call, place, unsigned=unsigned)
    readable(call, site, system, id, order.thaw)
    with call.progress(f"drill of {system}") as listener:

        def directly() -> DrillReport:
            from backup_pipeline.operations.drill import drill

            return drill(site, order, listener)

        def in_the_instance() -> DrillReport:
            from backup_pipeline.operations.backup import Hearing
            from backup_pipeline.orchestration.launch import run_drill

            return run_drill(site, system, id, hearing=Hearing(listener, call.began))

        # The graph knows the systems of the configuration, and drills where that says.
        alone = (
            no_record
            or order.all_files
            or order.scratch is not None
            or site.place is not None
            or unsigned
            or system not in site.systems
        )
        result = directly() if alone else recorded(call, in_the_instance, otherwise=directly)

    def page(page: Page) -> None:
        show_report(page, result.report)
        if result.report.ok:
            where = f" ({result.scratch})" if result.scratch else ""
            page.verdict(True, f"PROVEN: recovered in {duration(result.recovery_seconds)}{where}")

    return Reply(
        result,
        page,
        failed(ProofFailed, "the drill failed", result.report.findings),
        answer=False,
        facts=audit.of_drill(result),
    )
