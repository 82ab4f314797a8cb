"""`restore`: bring a backup back: its database into an empty or a new one, its files into a folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backup_pipeline.cli import restoring_database, restoring_files
from backup_pipeline.cli.app import as_verb, backup_argument, system_argument
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.orders import flags, ordered, takes
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.places import from_option, site_at, unsigned_option
from backup_pipeline.cli.thawing import readable
from backup_pipeline.errors import BackupError, UsageError
from backup_pipeline.model.orders import DrillOrder, FilesOrder, RestoreOrder

if TYPE_CHECKING:
    from backup_pipeline.operations import Site

#: Flags that say something about the database.
TERMS = ("no_owner", "no_privileges", "roles", "no_code", "keep_going")


@as_verb(
    "restore",
    system_argument(),
    backup_argument(),
    *flags(RestoreOrder),
    restoring_database.remainder_option(),
    *restoring_files.file_options(),
    from_option(),
    unsigned_option(),
    *flags(DrillOrder, "thaw"),
    examples="""
    backup-pipeline restore shop --to postgresql://app@localhost/shop_restored --create
    backup-pipeline restore shop --to "$TARGET_URL" --no-owner --no-privileges --keep-going
    backup-pipeline restore shop --before "2026-11-20 14:30" --files media --to /srv/restored --glob 'orders/2026/*' --dry-run
    backup-pipeline restore shop --from offsite --to sqlite:////srv/shop.db --files all --files-to /srv/files
    """,
)
def verb(call: Call, *, remainder: str | None, place: str | None, unsigned: bool, **given: Any) -> Reply:
    """The newest full backup of SYSTEM, or one by its ID; `latest~2` is the third newest.

    Rows first, in parallel; then indexes and foreign keys; then sequences, so that the first INSERT works. A target
    that holds something is refused. When it fails or is interrupted, the target is as it was, with what others have made in it
    meanwhile. With --keep-going the rows are committed, and what cannot be made is listed.

    PostgreSQL runs functions, triggers and expressions of the backup while it is restored. --no-code leaves them out.

    Files are written whole or not at all, verified, and never outside of their folder. Those that are there already and
    equal are left alone, those that differ are refused unless you say --overwrite or --leave. What was restored stays when
    it is interrupted: run it again, and it goes on.
    """
    to, dry_run, thaw = given.pop("to"), given["dry_run"], given.pop("thaw")
    files = {name: given.pop(name) for name in (*takes(FilesOrder), "files_to")}
    url, folder = restoring_files.targets_of(to, files)
    call.hide(url)
    order = ordered(RestoreOrder, given, to=url or "")
    system = order.system
    site = site_at(call, place, unsigned=unsigned)
    if url is None and (remainder or any(given[name] for name in TERMS)):
        raise UsageError(
            "--no-owner, --no-privileges, --roles, --no-code, --keep-going and --remainder are about the database",
            remedy="name it with --to URL, and the folder of the files with --files-to DIR",
        )
    with site.vault.presence.one_work():
        readable(call, site, system, order.id, thaw, only_say=dry_run and thaw is None)
        if folder is None:
            return restoring_database.run(call, site, order, remainder)
        wanted = restoring_files.order_of(files)
        return _with_files(call, site, order, remainder, wanted, folder)


def _with_files(
    call: Call, site: Site, order: RestoreOrder, remainder: str | None, wanted: FilesOrder, folder: Path
) -> Reply:
    """Files, and with a `to` the database before them. Neither is begun when one of them is refused."""
    from backup_pipeline.operations.files import plan_restore_files, restore_files
    from backup_pipeline.operations.reading import show

    system, dry_run = order.system, order.dry_run
    call.interrupted = lambda: "nothing was restored"
    identifier = show(site, system, order.id).id
    order = replace(order, id=identifier)
    with call.progress(f"plan of the files of {system}") as listener:
        plan = plan_restore_files(site, system, identifier, folder, wanted, listener=listener)
    refused = plan.refusal
    first = None
    if order.to:
        first = restoring_database.run(call, site, replace(order, dry_run=True), remainder)
    refused = refused or (first.failure if first else None)
    if dry_run or refused is not None:
        if not dry_run and refused is not None:
            raise refused
        return _together(
            first, plan, lambda page: restoring_files.show_plan(page, plan), refused, answer=True
        )
    if order.to:
        first = restoring_database.run(call, site, order, remainder)
    call.interrupted = lambda: (
        ("the database is restored. " if first else "")
        + "The files that were restored stay; run it again with --files and it goes on"
    )
    call.note(f"restoring files of {system} {plan.backup_id} to {plan.target}: {restoring_files.what(plan)}")
    with call.progress(f"restore of files of {system}") as listener:
        result = restore_files(site, system, identifier, folder, wanted, listener=listener)
    failure = restoring_files.failure_of(result) or (first.failure if first else None)
    return _together(
        first, result, lambda page: restoring_files.show_result(page, result), failure, answer=False
    )


def _together(
    first: Reply | None,
    files: object,
    show: Callable[[Page], None],
    failure: BackupError | None,
    *,
    answer: bool,
) -> Reply:
    """One outcome of the two, where the database was restored as well."""
    if first is None:
        return Reply(files, show, failure, answer=answer)

    def page(page: Page) -> None:
        first.page(page)
        page.line()
        show(page)

    return Reply({"database": first.data, "files": files}, page, failure, answer=answer)
