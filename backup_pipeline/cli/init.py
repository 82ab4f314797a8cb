"""`init`: a backup.yaml that fits the database, with no password in it."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page, clean
from backup_pipeline.cli.units import plural, size
from backup_pipeline.config.redaction import safe_url
from backup_pipeline.model.orders import InitOrder

if TYPE_CHECKING:
    from backup_pipeline.operations.init import Started


@as_verb(
    "init",
    order=InitOrder,
    examples="""
    backup-pipeline init --database sqlite:///db.sqlite3
    backup-pipeline init --database "$DATABASE_URL" --vault /mnt/backup/shop --system shop
    backup-pipeline init --add --database sqlite:///blog.db --system blog
    """,
)
def verb(call: Call, order: InitOrder) -> Reply:
    """The password is not written: the file refers to a variable, and the answer says which. Nothing is backed up yet.

    Three things are looked for beside the configuration, and written into it: migrations of Alembic, Django and
    Prisma; the uploads of a Django application (`FileField`, `MEDIA_ROOT`); and Rails' Active Storage.
    """
    from backup_pipeline.operations.init import init

    call.hide(order.database)
    call.interrupted = lambda: "nothing was written"
    started = init(replace(order, config=call.config), os.environ)
    return Reply(started, lambda page: _page(page, started, safe_url(order.database)))


def _page(page: Page, started: Started, address: str) -> None:
    page.line(f"{clean(address)}: {plural(started.tables, 'table')}, {size(started.bytes)}")
    if started.vault:
        page.line(f"wrote {started.path}: system {started.system}, vault {started.vault}")
    else:
        page.line(f"added system {started.system} to {started.path}")
    page.findings(finding for finding in started.findings if finding.severity != "info")
    page.heading("Next")
    for command in started.next:
        page.line(f"  {command}")
