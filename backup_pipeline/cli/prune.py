"""`prune`: forget the backups that no rule wants, and free what nothing names any more."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import day, duration, plural, size
from backup_pipeline.errors import NotPruned
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.orders import PruneOrder
from backup_pipeline.model.outcome import failed

if TYPE_CHECKING:
    from backup_pipeline.operations.prune import Planned, PruneReport, SystemPlan

HEADERS = ("ID (UTC)", "AGE", "KIND", "SIZE", "OWN", "", "WHY")
FLUSH_RIGHT = (1, 3, 4)


@as_verb(
    "prune",
    order=PruneOrder,
    examples="""
    backup-pipeline prune --dry-run
    backup-pipeline prune shop
    backup-pipeline prune --copy offsite
    backup-pipeline prune --json | jq '.data.report.freed.bytes'
    """,
)
def verb(call: Call, order: PruneOrder) -> Reply:
    """Of SYSTEM, or of all systems, by `retention:`.

    These backups stay against every rule: the newest full one (and the newest whole one); the newest that a drill
    has proven; one made before a migration, until a backup has seen it applied; one made before a restore, as long as
    the restore can be undone; a pinned one; in a copy, one that
    the vault still has. Unnamed objects are deleted when the grace time is over, safely beside running backups. OWN
    is what only this backup holds. It may be stopped at any time: the next run goes on. Exit code 18 when
    something was in the way and was left as it is.
    """
    from backup_pipeline.operations import audit
    from backup_pipeline.operations.prune import prune

    call.interrupted = lambda: (
        "what was forgotten is recorded, what is listed is whole; run it again to go on"
    )
    with call.progress("prune") as listener:
        report = prune(call.site, order, listener)
    zone = ZoneInfo(call.site.settings.timezone)
    return Reply(
        {"report": report},
        lambda page: show(page, report, zone),
        failed(NotPruned, "", report.findings),
        answer=order.dry_run,
        facts=audit.of_prune(report),
    )


def show(page: Page, report: PruneReport, zone: ZoneInfo) -> None:
    for plan in report.systems:
        _system(page, plan)
    page.line()
    page.findings(report.findings)
    would = "would be " if report.dry_run else ""
    going = sum(len(plan.forgotten) for plan in report.systems) if report.dry_run else len(report.forgotten)
    page.line(f"{plural(going, 'backup')} {would}forgotten in {report.address}")
    page.line(f"{size(report.freed.bytes)} {would}freed now, in {plural(report.freed.objects, 'object')}")
    if report.waiting.objects:
        when = f", from {day(parse_timestamp(report.next_at), zone)} on" if report.next_at else ""
        page.line(
            f"{size(report.waiting.bytes)} in {plural(report.waiting.objects, 'object')} later, when the grace time is over{when}"
        )
    if report.spared.objects:
        page.line(f"{size(report.spared.bytes)} of it wait for a backup that is running")


def _system(page: Page, plan: SystemPlan) -> None:
    stay = len(plan.backups) - len(plan.forgotten)
    page.heading(f"{plan.system}: {plural(len(plan.backups), 'backup')}, {stay} stay")
    page.table(HEADERS, [_row(page, one) for one in plan.backups], right=FLUSH_RIGHT)


def _why(one: Planned) -> str:
    undone = "" if one.keep else "; ".join(f"{restore} cannot be undone any more" for restore in one.restores)
    return "; ".join((*one.reasons, *filter(None, [undone])))


def _row(page: Page, one: Planned) -> tuple[str, ...]:
    scope = "" if one.scope == "full" else f" ({one.scope})"
    return (
        one.id,
        duration(max(0.0, one.age_seconds)),
        one.kind + scope,
        size(one.bytes),
        size(one.own),
        "keep" if one.keep else "FORGET",
        _why(one),
    )
