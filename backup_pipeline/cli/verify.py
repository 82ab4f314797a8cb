"""`verify`: is every byte of a backup still there and right?"""

from __future__ import annotations

from dataclasses import replace

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.orders import flags
from backup_pipeline.cli.places import copy_option, site_at
from backup_pipeline.cli.report import show_report
from backup_pipeline.cli.thawing import readable
from backup_pipeline.errors import ProofFailed
from backup_pipeline.model.orders import VerifyOrder
from backup_pipeline.model.outcome import failed


@as_verb(
    "verify",
    *flags(VerifyOrder, "quick"),
    copy_option(
        "Of this copy: everything there, as long as it should be, and with the checksum that the store states, where it states one (S3, Dropbox); no byte of an object is read back without --read."
    ),
    order=VerifyOrder,
    examples="""
    backup-pipeline verify shop
    backup-pipeline verify shop 2026-11-21T02-00-00-123Z
    backup-pipeline verify shop all --quick
    backup-pipeline verify shop all --copy offsite --read 5%
    """,
)
def verb(call: Call, order: VerifyOrder, place: str | None) -> Reply:
    """The newest full backup of SYSTEM, one by its ID, or all. (Of a copy: all, unless one is named.)

    Looks at every object: that it is there, as long as it should be, with the right SHA-256, and decompresses; at
    row counts; at foreign keys, unique keys and NOT NULL in the data; at the chain of manifests. What lies in an
    archive is not read (a note says how much it is) unless --thaw asks for it. The outcome is remembered beside the backup. Exit
    code 10 when something is not as it should be.
    """
    from backup_pipeline.operations.reading import resolve
    from backup_pipeline.operations.verify import verify

    call.interrupted = lambda: "nothing was remembered of this verification"
    site = site_at(call, place)
    system, id = order.system, order.id
    if order.thaw is not None:
        readable(call, site, system, id if id or not site.place else "all", order.thaw)
    if site.place is not None and not order.quick:
        order = replace(order, read=order.read or 0.0)
    with call.progress(f"verify {system}") as listener:
        report = verify(site, order, listener)
    return Reply(
        {"report": report, "quick": order.quick},
        lambda page: show_report(page, report),
        failed(ProofFailed, "the verification failed", report.findings),
        answer=False,
        backup="" if place or id == "all" else resolve(site, system, id),
    )
