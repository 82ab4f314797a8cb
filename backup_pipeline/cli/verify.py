"""`verify`: is every byte of a backup still there and right?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.app import as_verb, backup_argument, system_argument
from backup_pipeline.cli.call import Call, Outcome
from backup_pipeline.cli.places import Percent, copy_option, project_at
from backup_pipeline.cli.report import failure_of, show_report
from backup_pipeline.cli.thawing import readable, thaw_option
from backup_pipeline.errors import UsageError

if TYPE_CHECKING:
    from backup_pipeline.stores.thawing import Tier


@as_verb(
    "verify",
    system_argument(),
    backup_argument("[ID|latest|all]"),
    click.Option(
        ["--quick"],
        is_flag=True,
        help="The stored bytes only: there, as long as they should be, with the right SHA-256.",
    ),
    copy_option(
        "Of this copy: everything there, as long as it should be, and with the checksum that the store states, where it states one (S3, Dropbox); no byte of an object is read back without --read."
    ),
    click.Option(
        ["--read"],
        metavar="N%",
        type=Percent(),
        help="With --copy: read so much of it back, another part each time until all was read; 100% is everything, as in the vault.",
    ),
    thaw_option(),
    examples="""
    backup-pipeline verify shop
    backup-pipeline verify shop 2026-11-21T02-00-00-123Z
    backup-pipeline verify shop all --quick
    backup-pipeline verify shop all --copy offsite --read 5%
    """,
)
def verb(
    call: Call,
    system: str,
    identifier: str | None,
    quick: bool,
    place: str | None,
    read: float | None,
    thaw: Tier | None,
) -> Outcome:
    """The newest full backup of SYSTEM, one by its ID, or all. (Of a copy: all, unless one is named.)

    Looks at every object: that it is there, as long as it should be, with the right SHA-256, and decompresses; at
    row counts; at foreign keys, unique keys and NOT NULL in the data; at the chain of manifests. What lies in an
    archive is not read (a note says how much it is) unless --thaw asks for it. The outcome is remembered beside the backup. Exit
    code 10 when something is not as it should be.
    """
    call.interrupted = lambda: "nothing was remembered of this verification"
    project = project_at(call, place)
    if read is not None and project.place is None:
        raise UsageError(
            "--read is for a copy", remedy="name it with --copy; in the vault, `verify` reads everything"
        )
    if thaw is not None:
        readable(call, project.vault, system, identifier if identifier or not project.place else "all", thaw)
    with call.progress(f"verify {system}") as listener:
        if project.place is None or quick:
            report = project.verify(system, identifier, quick=quick, listener=listener)
        else:
            from backup_pipeline.operations import copying

            report = copying.verify_copy(
                call.project, system, identifier, name=project.place, percent=read or 0.0, listener=listener
            )
    return Outcome(
        {"report": report, "quick": quick},
        lambda page: show_report(page, report),
        failure_of(report, "the verification"),
        answer=False,
        backup="" if place or identifier == "all" else project.vault.resolve(system, identifier),
    )
