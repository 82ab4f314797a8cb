"""`rekey`: after the recipients changed, bring the newest backup under them."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import day, number, plural, size
from backup_pipeline.model.orders import RekeyOrder

if TYPE_CHECKING:
    from backup_pipeline.operations.rekey import RekeyReport, UnderOthers

HEADERS = ("ID (UTC)", "OBJECTS", "SIZE", "MANIFEST", "GONE BY")


@as_verb(
    "rekey",
    order=RekeyOrder,
    examples="""
    backup-pipeline rekey shop --dry-run
    backup-pipeline rekey shop
    backup-pipeline rekey shop --json | jq '.data.report.others'
    """,
)
def verb(call: Call, order: RekeyOrder) -> Reply:
    """After `recipients:` was changed.

    What is new is always encrypted to the recipients of the day; what did not change is re-used as it lies. This writes
    the objects of the newest full backup that are under others again, and commits a backup of the same moment with
    them. It needs the old identity (`identity:` may hold the old and the new key, one a line). Older backups stay as they
    are: keep the old key until retention has removed them, which is what GONE BY says.
    """
    from backup_pipeline.operations.rekey import gone_by, rekey

    site, system = call.site, order.system
    call.interrupted = lambda: "no backup was changed; what was written is found again by the next run"
    with call.progress(f"rekey {system}") as listener:
        report = rekey(site, order, listener)
    gone = {
        one.id: gone_by(site.settings, system, one.id) if one.pinned is None else None
        for one in report.others
    }
    zone = ZoneInfo(site.settings.zone_of(system))
    data = {
        "report": report,
        "gone_by": {name: moment.isoformat() if moment else None for name, moment in gone.items()},
    }
    return Reply(
        data,
        lambda page: _page(page, report, gone, zone),
        answer=order.dry_run,
        backup=report.new_id or report.id,
    )


def _page(page: Page, report: RekeyReport, gone: dict[str, datetime | None], zone: ZoneInfo) -> None:
    what = f"{plural(report.objects, 'object')} ({size(report.bytes)}) of {report.system} {report.id}"
    if report.new_id:
        page.line(
            f"{report.system} {report.new_id} is {report.id} again, for the recipients of today: {what} were written anew"
        )
    elif report.dry_run and any(one.id == report.id for one in report.others):
        page.line(f"{what} are under other recipients than those of today")
    else:
        page.line(f"all of {report.system} {report.id} is for the recipients of today")
    if not report.others:
        page.line("no backup needs another key: an old one can go")
        return
    page.heading("Backups that only an old key opens")
    page.table(
        HEADERS,
        [
            (
                one.id,
                number(one.objects),
                size(one.bytes),
                "too" if one.manifest else "",
                _gone(one, gone.get(one.id), zone),
            )
            for one in report.others
        ],
    )
    page.line("Keep the old key as long as one of them is needed; `forget` removes one now.")


def _gone(one: UnderOthers, moment: datetime | None, zone: ZoneInfo) -> str:
    if one.pinned is not None:
        return "never: it is pinned"
    return day(moment, zone) if moment else "no retention removes it"
