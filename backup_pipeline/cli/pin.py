"""`pin`: keep a backup, whatever the rules say."""

from __future__ import annotations

import click

from backup_pipeline.cli.app import as_verb, backup_argument, system_argument
from backup_pipeline.cli.call import Call, Outcome


@as_verb(
    "pin",
    system_argument(),
    backup_argument(),
    click.Option(["--reason"], metavar="TEXT", default="", help="Why: `list` and `prune` show it."),
    click.Option(["--copy"], metavar="NAME", help="In this copy instead of the vault."),
    examples="""
    backup-pipeline pin shop 2026-11-21T02-00-00-123Z --reason "before the audit"
    backup-pipeline pin shop latest
    """,
)
def verb(call: Call, system: str, identifier: str | None, reason: str, copy: str | None) -> Outcome:
    """The newest full backup of SYSTEM, or one by its ID.

    The pin lies in the vault beside the backup, and takes no key: in an encrypted vault too, everybody who sees the store
    can read the reason. Pinning again gives a new one.
    """
    from backup_pipeline.operations import keeping, stores

    project = call.project
    chosen = stores.open_place(project.settings, copy).resolve(system, identifier)
    made = keeping.pin(project, system, chosen, reason, copy=copy)
    return Outcome(
        {"system": system, "id": chosen, "pin": made},
        lambda page: page.line(f"{system} {chosen} is pinned: no rule removes it"),
        answer=False,
    )
