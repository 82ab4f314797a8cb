"""`verify`: is every byte of a backup still there and right?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.app import as_verb, backup_argument, system_argument
from backup_pipeline.cli.call import Call, Outcome
from backup_pipeline.cli.report import failure_of, show_report
from backup_pipeline.cli.thawing import readable, thaw_option

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
    thaw_option(),
    examples="""
    backup-pipeline verify shop
    backup-pipeline verify shop 2026-11-21T02-00-00-123Z
    backup-pipeline verify shop all --quick
    """,
)
def verb(call: Call, system: str, identifier: str | None, quick: bool, thaw: Tier | None) -> Outcome:
    """The newest full backup of SYSTEM, one by its ID, or all.

    Looks at every object: that it is there, as long as it should be, with the right SHA-256, and decompresses; at
    row counts, foreign keys in the data, and the chain of manifests. What lies in an archive is not read (a note says how
    much it is) unless --thaw asks for it. The outcome is remembered beside the backup. Exit
    code 10 when something is not as it should be.
    """
    call.interrupted = lambda: "nothing was remembered of this verification"
    project = call.project
    if thaw is not None:
        readable(call, project.vault, system, identifier, thaw)
    with call.progress(f"verify {system}") as listener:
        report = project.verify(system, identifier, quick=quick, listener=listener)
    return Outcome(
        {"report": report, "quick": quick},
        lambda page: show_report(page, report),
        failure_of(report, "the verification"),
        answer=False,
    )
