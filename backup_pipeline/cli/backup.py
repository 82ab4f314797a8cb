"""`backup`: one recovery point, now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.backup_all import back_up_all, systems_for
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.copy import show_copies, told
from backup_pipeline.cli.orders import flags
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.recording import recorded
from backup_pipeline.cli.show import content, left_out, trees
from backup_pipeline.cli.units import duration, number, plural, share, size
from backup_pipeline.errors import BackupError, CopyFailed, ErrorsFound
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.model.outcome import Outcome, failed, found_by
from backup_pipeline.model.overview import Listed

if TYPE_CHECKING:
    from datetime import datetime

    from backup_pipeline.operations import Site
    from backup_pipeline.operations.backup import Hearing
    from backup_pipeline.operations.copy import Copied


@as_verb(
    "backup",
    system_argument(required=False),
    click.Option(
        ["--all", "everything"], is_flag=True, help="Every system of the configuration, one after the other."
    ),
    *flags(BackupOrder),
    click.Option(
        ["--no-copy"], is_flag=True, help="Leave the copies as they are; `copy` brings them up to date."
    ),
    click.Option(
        ["--no-record"], is_flag=True, help="Do not record the run in the Dagster instance: starts faster."
    ),
    order=BackupOrder,
    examples="""
    backup-pipeline backup shop
    backup-pipeline backup --all --quiet
    backup-pipeline backup shop --only admin,public.orders
    backup-pipeline backup shop --kind pre-migration && alembic upgrade head
    """,
)
def verb(call: Call, order: BackupOrder, everything: bool, no_copy: bool, no_record: bool) -> Reply:
    """What did not change since the backup before is recognised and not read again. The run is recorded in the Dagster
    instance, beside those of schedules and the UI. When the backup is committed, the copies of the system are brought up to
    date; one that cannot be is exit code 17, and the backup is whole all the same. A backup that is made and has an error
    (a row without its file, a table that is empty or gone) is exit code 10.

    With --all a system that cannot be backed up keeps no other one from it; the exit code is that of the worst, a backup that
    was not made before one that was, and `data` is a list.
    """
    names = systems_for(call, order.system, everything=everything, only=order.only)

    def one(name: str) -> Reply:
        return _back_up(call, replace(order, system=name), no_copy, no_record)

    return back_up_all(call, names, one) if everything else one(names[0])


def _back_up(call: Call, order: BackupOrder, no_copy: bool, no_record: bool) -> Reply:
    from backup_pipeline.operations import audit, health
    from backup_pipeline.operations.backup import Hearing, made_since
    from backup_pipeline.operations.listing import listed
    from backup_pipeline.operations.reading import show

    site, system = call.site, order.system
    site.system(system)
    began = site.clock()
    call.interrupted = lambda: _left_behind(site, system, began)
    copies: list[Copied] = []
    looked: list[Outcome] = []
    failure: BackupError | None = None
    with call.progress(f"backup of {system}") as listener:
        hearing = Hearing(listener, call.began, looked.extend, copies.append)
        try:
            manifest = _made(call, order, hearing, began, no_copy, no_record)
        except CopyFailed as error:
            # The backup is there, and is shown like any other; the exit code says that its copies are not.
            failure = error
            manifest = show(site, system, made_since(site, system, began)[-1])
    line = listed(site, system, manifest.id)
    found = tuple(
        dict.fromkeys((*health.accepted_findings(site, system, manifest.findings), *found_by(looked)))
    )
    bad = failed(ErrorsFound, f"the backup {manifest.id} is made, with an error", found)
    # A run has the checks in its own record.
    acts = audit.of_backup(manifest, bad, copies, () if call.run else looked)
    data = {
        "backup": line,
        "left_out": manifest.left_out,
        "findings": found,
        "copies": told(call, copies),
    }

    def page(page: Page) -> None:
        _page(page, manifest, line, found)
        if copies:
            show_copies(call, page, copies)

    return Reply(data, page, failure or bad, answer=False, acts=acts)


def _made(
    call: Call, order: BackupOrder, hearing: Hearing, began: datetime, no_copy: bool, no_record: bool
) -> Manifest:
    from backup_pipeline.operations.backup import backup_with_copies

    site, copies = call.site, not no_copy

    def in_the_instance() -> Manifest:
        from backup_pipeline.orchestration.launch import run_backup

        return run_backup(site, order, copies=copies, hearing=hearing)

    def directly(since: datetime | None = None) -> Manifest:
        return backup_with_copies(site, order, hearing, copies=copies, since=since)

    return directly() if no_record else recorded(call, in_the_instance, otherwise=lambda: directly(began))


def _left_behind(site: Site, system: str, began: datetime) -> str:
    """An interruption can come after the commit: then there is a backup, and it is said."""
    from backup_pipeline.operations.backup import made_since

    made = made_since(site, system, began)
    if made:
        return f"the backup {made[-1]} had been committed by then, and is whole"
    return "no backup was made; chunks that were finished are re-used by the next run"


def _page(page: Page, manifest: Manifest, line: Listed, found: Sequence[Finding]) -> None:
    page.heading(f"{line.system} {line.id}")
    page.line(
        f"{line.kind}, {line.scope}{', DEGRADED' if line.degraded else ''}: {content(line)}"
        f" in {duration(line.seconds)}"
    )
    if line.chunks:
        page.line(
            f"{size(line.stored)} in the vault; {number(line.reused_chunks)} of {plural(line.chunks, 'chunk')}"
            f" unchanged and not read again ({share(line.reused_chunks, line.chunks)})"
        )
    trees(page, manifest)
    left_out(page, manifest)
    if found:
        page.heading("Findings")
        page.findings(found)
    # Without an id, a drill takes the newest full one, and that is not this one.
    which = line.system if line.scope == "full" else f"{line.system} {line.id}"
    page.line(f"→ backup-pipeline drill {which}    proves it by a restore")
