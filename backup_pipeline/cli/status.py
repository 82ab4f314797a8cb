"""`status`: would you sleep well? One screen, and an exit code for whatever watches."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.call import Call, Outcome
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.standing import all_standing, runner_of
from backup_pipeline.cli.units import age, duration, plural, size, when
from backup_pipeline.copies.lag import Standing
from backup_pipeline.errors import NotProtected
from backup_pipeline.health.promises import Runner
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.operations.listing import SystemStatus
from backup_pipeline.stores.base import Store


@dataclass(frozen=True, slots=True)
class Disk:
    address: str
    free: int | None


@dataclass(frozen=True, slots=True)
class Screen:
    protected: bool
    systems: tuple[SystemStatus, ...]
    vault: Disk
    #: Who runs the schedules.
    daemon: Runner
    #: Systems that have backups in the vault and are not in the configuration.
    retired: tuple[str, ...] = ()
    #: Of the disk under the vault, where it is one of this machine.
    storage: tuple[Finding, ...] = ()


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
def verb(call: Call, system: str | None) -> Outcome:
    """Of SYSTEM, or of all. Reads the vault and lists the copies: no database is asked. Exit code 13 when a finding of a system is an error or a warning,
    or the vault's disk is full, or will be within a week."""
    from backup_pipeline.operations import keeping

    site = call.site.one_look()
    runner = runner_of(site)
    systems = all_standing(site, (system,) if system else site.systems, runner)
    bad = [one for one in systems if not one.protected]
    on_disk = site.vault.store.folder is not None and keeping.has_a_vault(site)
    storage = keeping.storage(site).findings if on_disk else ()
    full = tuple(one for one in storage if one.severity == "error")
    retired = tuple(name for name in site.vault.systems() if name not in site.systems)
    screen = Screen(not bad and not full, systems, _disk(site.vault.store), runner, retired, storage)

    def page(page: Page) -> None:
        for one in systems:
            _system(page, one, full, site.clock())
        page.line()
        if any(one.next_backup or one.next_drill for one in systems):
            page.line(_schedules(screen.daemon, site.clock()))
        if retired and system is None:
            page.line(f"also in the vault, and not in the configuration: {', '.join(retired)}")
        free = "" if screen.vault.free is None else f", {size(screen.vault.free)} free"
        page.line(f"vault {screen.vault.address}{free}")
        page.findings(storage)

    failure = None
    if bad:
        names = ", ".join(one.system for one in bad)
        failure = NotProtected(
            f"{plural(len(bad), 'system')} of {len(systems)} not protected as it should be: {names}",
            remedy="the arrows above say what to do"
            if not call.json
            else "every finding has a remedy of its own",
        )
    elif full:
        failure = NotProtected(full[0].message, remedy=full[0].remedy)
    return Outcome(_with_protected(screen), page, failure, answer=False)


def _with_protected(screen: Screen) -> dict[str, object]:
    from backup_pipeline.cli.document import plain

    systems = [{**plain(one), "protected": one.protected} for one in screen.systems]
    return {**plain(screen), "systems": systems}


def _schedules(runner: Runner, now: datetime) -> str:
    if runner.seen is not None and runner.state == "runs":
        return f"the schedules are run by the Dagster daemon, last seen {age(now - runner.seen)}"
    return "no Dagster daemon is seen from here; what another process (cron) runs is seen by the backups that it made"


def _disk(store: Store) -> Disk:
    """A bucket has no end that could be asked for."""
    folder = store.folder
    try:
        return Disk(store.address, None if folder is None else shutil.disk_usage(folder).free)
    except OSError:
        return Disk(store.address, None)


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
    latest, proven = one.latest, one.proven
    ago = None if one.age_seconds is None else timedelta(seconds=one.age_seconds)
    page.facts(
        [
            (
                "newest full backup",
                f"{latest.id}, {age(ago)}, {size(latest.bytes)}" if latest and ago else "none",
            ),
            ("verified", _verified(one, zone, now)),
            ("proven by a drill", _proven(one, zone, now) if proven else "never"),
            ("backups", one.backups),
            ("next backup", _next(one.next_backup, zone, now)),
            ("next drill", _next(one.next_drill, zone, now)),
            *((f"copy {copy.copy}", _copy(copy)) for copy in one.copies),
        ],
        indent=2,
    )
    page.findings(one.findings)


def _copy(one: Standing) -> str:
    if one.unreachable:
        return "cannot be reached, see below"
    if not one.missing:
        # Empty beside an empty vault is no comfort: perhaps both were lost.
        return f"{plural(one.backups, 'backup')}, up to date" if one.backups else "no backup"
    late = "LATE: " if one.late else ""
    behind = f"{plural(len(one.missing), 'backup')} behind, the oldest {duration(one.behind_seconds)} old"
    return f"{late}{behind}; {plural(one.backups, 'backup')} there"


def _proven(one: SystemStatus, zone: ZoneInfo, now: datetime) -> str:
    assert one.proven is not None
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
        return "not yet"
    at = parse_timestamp(text)
    return f"{when(at, zone)}, {age(now - at)}"


def _next(text: str | None, zone: ZoneInfo, now: datetime) -> str:
    if text is None:
        return "no schedule"
    at = parse_timestamp(text)
    return f"{when(at, zone)}, {age(now - at)}"
