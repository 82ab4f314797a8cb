"""`scrub`: read a part of everything back."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.report import show_report
from backup_pipeline.cli.units import day, share
from backup_pipeline.errors import ProofFailed
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.orders import ScrubOrder
from backup_pipeline.model.outcome import failed

if TYPE_CHECKING:
    from backup_pipeline.operations.scrub import ScrubReport


@as_verb(
    "scrub",
    order=ScrubOrder,
    examples="""
    backup-pipeline scrub
    backup-pipeline scrub --all
    backup-pipeline scrub --copy offsite --window 90
    """,
)
def verb(call: Call, order: ScrubOrder) -> Reply:
    """Of the whole vault: all systems share its objects.

    Each run reads the objects with the oldest reading, as many as it takes to read all within the window. The vault
    remembers the readings. Takes no key. Every object's SHA-256 is compared with its name, every manifest with its
    seal. A missing object is named with its backups. It may be stopped at any time. Exit code 10
    when something is not as it should be.
    """
    from backup_pipeline.operations import audit
    from backup_pipeline.operations.scrub import scrub

    call.interrupted = lambda: "what was read so far is remembered; the next scrub goes on"
    with call.progress("scrub") as listener:
        found = scrub(call.site, order, listener)
    zone = ZoneInfo(call.site.settings.timezone)
    return Reply(
        {"scrub": found},
        lambda page: _show(page, found, zone),
        failed(ProofFailed, "the scrub failed", found.report.findings),
        answer=False,
        facts=audit.of_scrub(found),
    )


def _show(page: Page, found: ScrubReport, zone: ZoneInfo) -> None:
    show_report(page, found.report)
    since = f", the oldest of it on {day(parse_timestamp(found.oldest), zone)}" if found.oldest else ""
    page.line(
        f"read {share(found.read, 256)} of the vault now; {share(found.covered, 256)} within the window{since}"
    )
