"""`status`: would you sleep well? One screen, and an exit code for a watching program."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import age, duration, plural, size, when
from backup_pipeline.errors import NotProtected
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.overview import CopyLag, Runner, SystemStatus

if TYPE_CHECKING:
    from backup_pipeline.operations import Site
    from backup_pipeline.operations.status import InstanceView, Screen


@as_verb(
    "status",
    system_argument(required=False),
    examples="""
    backup-pipeline status
    backup-pipeline status shop
    backup-pipeline status --quiet || mail -s "backups" ops@example.org
    backup-pipeline status --json | jq '.data.systems[] | {system, fresh, protected}'
    """,
)
def verb(call: Call, system: str | None) -> Reply:
    """Of SYSTEM, or of all. Reads the vault and lists the copies: no database is asked. Exit code 13 when a finding
    of a system is an error or a warning, or when the vault's disk is full within a week."""
    from backup_pipeline.operations.status import status

    site = call.site
    screen = status(site, system, instance_view(site))

    def page(page: Page) -> None:
        for one in screen.systems:
            _system(page, one, screen.full, site.clock())
        page.line()
        if any(one.next_backup or one.next_drill for one in screen.systems):
            page.line(_schedules(screen.daemon, site.clock()))
        if screen.retired and system is None:
            page.line(f"also in the vault, and not in the configuration: {', '.join(screen.retired)}")
        free = "" if screen.vault.free is None else f", {size(screen.vault.free)} free"
        page.line(f"vault {screen.vault.address}{free}")
        page.findings(screen.storage)

    failure = screen.failure
    if failure is not None and screen.bad and not call.json:
        failure = NotProtected(failure.message, remedy="the arrows above say what to do")
    return Reply(_with_protected(screen), page, failure, answer=False)


def instance_view(site: Site) -> InstanceView:
    """An instance that lies elsewhere is asked, which takes a second."""
    from backup_pipeline.operations.status import InstanceView
    from backup_pipeline.orchestration.daemon_sqlite import daemon
    from backup_pipeline.orchestration.failures_sqlite import last_failures

    runner = daemon(site)
    if runner.state == "unknown":
        from backup_pipeline.orchestration.instance import last_heartbeat

        runner = last_heartbeat(site)
    return InstanceView(runner, partial(last_failures, site))


def _with_protected(screen: Screen) -> dict[str, object]:
    from backup_pipeline.cli.document import plain

    systems = [{**plain(one), "protected": one.protected} for one in screen.systems]
    return {**plain(screen), "systems": systems}


def _schedules(runner: Runner, now: datetime) -> str:
    if runner.seen is not None and runner.state == "runs":
        return f"the schedules are run by the Dagster daemon, last seen {age(now - runner.seen)}"
    return "no Dagster daemon is seen from here; what another process (cron) runs is seen by the backups that it made"


def _system(page: Page, one: SystemStatus, full: tuple[Finding, ...], now: datetime) -> None:
    """`full`: why the vault's disk takes no more backups, of this system or of another."""
    page.heading(one.system)
    word = page.style("protected", "green", bold=True)
    if full or not one.protected:
        serious = any(finding.severity == "error" for finding in (*one.findings, *full))
        word = page.style(
            "NOT PROTECTED" if serious else "NOT AS IT SHOULD BE", "red" if serious else "yellow", bold=True
        )
    page.line(word)
    zone = ZoneInfo(one.zone)
    latest = one.latest
    ago = None if one.age_seconds is None else timedelta(seconds=one.age_seconds)
    page.facts(
        [
            (
                "newest full backup",
                f"{latest.id}, {age(ago)}, {size(latest.bytes)}" if latest and ago else "none",
            ),
            ("verified", _verified(one, zone, now)),
            ("proven by a drill", _proven(one, zone, now)),
            ("backups", one.backups),
            ("next backup", _next(one.next_backup, zone, now)),
            ("next drill", _next(one.next_drill, zone, now)),
            *((f"copy {copy.copy}", _copy(copy)) for copy in one.copies),
        ],
        indent=2,
    )
    page.findings(one.findings)


def _copy(one: CopyLag) -> str:
    if one.unreachable:
        return "cannot be reached, see below"
    if not one.missing:
        # Empty beside an empty vault is no comfort: perhaps both were lost.
        return f"{plural(one.backups, 'backup')}, up to date" if one.backups else "no backup"
    late = "LATE: " if one.late else ""
    behind = f"{plural(len(one.missing), 'backup')} behind, the oldest {duration(one.behind_seconds)} old"
    return f"{late}{behind}; {plural(one.backups, 'backup')} there"


def _proven(one: SystemStatus, zone: ZoneInfo, now: datetime) -> str:
    if any(finding.marked("failed_drill") for finding in one.findings):
        return "FAILED, see below"
    if one.proven is None:
        return "never"
    which = "" if one.latest and one.proven.id == one.latest.id else f", of {one.proven.id}"
    return _moment(one.proven.proven_at, zone, now) + which


def _verified(one: SystemStatus, zone: ZoneInfo, now: datetime) -> str:
    if one.latest is None:
        return ""
    if any(finding.marked("failed_verify") for finding in one.findings):
        return "FAILED, see below"
    return _moment(one.latest.verified_at, zone, now)


def _moment(text: str | None, zone: ZoneInfo, now: datetime) -> str:
    if text is None:
        return "not yet with success"
    at = parse_timestamp(text)
    return f"{when(at, zone)}, {age(now - at)}"


def _next(text: str | None, zone: ZoneInfo, now: datetime) -> str:
    if text is None:
        return "no schedule"
    at = parse_timestamp(text)
    return f"{when(at, zone)}, {age(now - at)}"
