"""`restore`: bring a backup back: its database into a new one, rows into a living one, files into a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backup_pipeline.cli import restoring_database, restoring_files, restoring_live
from backup_pipeline.cli.app import as_verb, backup_argument, system_argument
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.orders import flags, ordered, takes
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.places import from_option, site_at, unsigned_option
from backup_pipeline.cli.thawing import readable
from backup_pipeline.errors import BackupError, UsageError
from backup_pipeline.model.merge_orders import MergeOrder
from backup_pipeline.model.orders import DrillOrder, FilesOrder, RestoreOrder

if TYPE_CHECKING:
    from backup_pipeline.operations import Site

#: Flags that say something about the database.
TERMS = ("no_owner", "no_privileges", "roles", "no_code", "keep_going")
#: What says something about a new database alone.
_NEW = [one for one in flags(RestoreOrder) if one.name not in ("to", "dry_run")]


@as_verb(
    "restore",
    system_argument(),
    backup_argument(),
    *flags(RestoreOrder, "to", "dry_run"),
    *restoring_live.options(),
    *_NEW,
    restoring_database.remainder_option(),
    *restoring_files.file_options(),
    from_option(),
    unsigned_option(),
    *flags(DrillOrder, "thaw"),
    examples="""
    backup-pipeline restore shop --live --only orders,order_items --dry-run
    backup-pipeline restore shop 2026-11-20 --live --tenant accounts:7
    backup-pipeline restore shop --to postgresql://app@localhost/shop_restored --create
    backup-pipeline restore shop --before "2026-11-20 14:30" --files media --to /srv/restored --glob 'orders/2026/*' --dry-run
    """,
)
def verb(call: Call, *, remainder: str | None, place: str | None, unsigned: bool, **given: Any) -> Reply:
    """The newest full backup of SYSTEM, or one by its ID; `latest~2` is the third newest.

    Rows first, in parallel; then indexes and foreign keys; then sequences, so that the first INSERT works. A target
    that holds something is refused. When it fails or is interrupted, the target is as it was, with what others have made in it
    meanwhile. With --keep-going the rows are committed, and what cannot be made is listed.

    PostgreSQL runs functions, triggers and expressions of the backup while it is restored. --no-code leaves them out.

    With --live rows go back into the system's own database, which goes on living. Rows that are missing are created. Rows that
    differ are kept and shown, unless you say --update; rows that the backup does not know stay, unless you say --delete.
    It is one transaction, it shows the plan and asks first, and `undo` takes it back.

    Files are written whole or not at all, verified, and never outside of their folder. Those that are there already and
    equal are left alone, those that differ are refused unless you say --overwrite or --leave. What was restored stays when
    it is interrupted: run it again, and it goes on.
    """
    to, dry_run, thaw = given.pop("to"), given["dry_run"], given.pop("thaw")
    files = {name: given.pop(name) for name in (*takes(FilesOrder), "files_to")}
    asked, terms = restoring_live.taken(given)
    if restoring_live.is_meant(asked, terms):
        call.hide(to)
        _refuse_beside_a_merge({**given, **files, "remainder": remainder})
        merge = ordered(MergeOrder, {**given, **asked}, to=to or "")
        site = site_at(call, place, unsigned=unsigned)
        with site.vault.presence.one_work():
            only_say = thaw is None and (dry_run or terms.only_plans)
            readable(call, site, merge.system, merge.id, thaw, only_say=only_say)
            return restoring_live.run(call, site, merge, terms)
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


def _refuse_beside_a_merge(given: Mapping[str, Any]) -> None:
    """What a new database takes, or a folder."""
    words = ("system", "id", "dry_run")
    said = [name for name, value in given.items() if name not in words and value not in (None, False, ())]
    if said:
        option = said[0].replace("_", "-")
        raise UsageError(
            f"--{option} is about a new database or a folder, and rows were asked for",
            remedy="give one of the two kinds of options",
        )


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


verb.groups = {
    "Rows into a living database": [str(one.name) for one in restoring_live.options()],
    "A new database": [str(one.name) for one in (*_NEW, restoring_database.remainder_option())],
    "Files": [str(one.name) for one in restoring_files.file_options()],
}
