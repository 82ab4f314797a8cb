"""Restores that are remembered: the lines of `list --restores`, and the page of `show SYSTEM RESTORE_ID`."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from backup_pipeline.cli import merge_page
from backup_pipeline.cli.page import Page, clean
from backup_pipeline.cli.units import day, number, plural, when
from backup_pipeline.model.ids import moment_of, parse_timestamp

if TYPE_CHECKING:
    from backup_pipeline.operations import Site
    from backup_pipeline.operations.restore_records import Remembered, Restored

HEADERS = ("ID (UTC)", "STATE", "FROM BACKUP", "TABLES", "ROWS", "BY", "UNDO UNTIL", "NOTES")
FLUSH_RIGHT = (3, 4)
UNKNOWN = "not known whether the database has it"


def lines(page: Page, found: tuple[Restored, ...], site: Site) -> None:
    for system in dict.fromkeys(one.system for one in found):
        mine = [one for one in found if one.system == system]
        page.heading(f"{system}: {plural(len(mine), 'restore')}")
        zone = ZoneInfo(site.settings.zone_of(system))
        page.table(HEADERS, [_row(one, zone) for one in mine], right=FLUSH_RIGHT)
    if not found:
        page.line("no restore has changed a database")


def _row(one: Restored, zone: ZoneInfo) -> tuple[str, ...]:
    notes = [f"undoes {one.undoes}"] if one.undoes else []
    notes += [f"undone by {one.undone_by}"] if one.undone_by else []
    notes += {"unsigned": ["unsigned"], "wrong": ["WRONG SIGNATURE"]}.get(one.signature or "", [])
    notes += [f"DAMAGED: {one.damaged}"] if one.damaged else []
    known = bool(one.by)
    return (
        one.id,
        one.state,
        one.backup,
        number(len(one.rows)) if known else "–",
        number(sum(max(pair) for pair in one.rows.values())) if known else "–",
        clean(one.by),
        _until(one, zone),
        clean("; ".join(notes)),
    )


def _until(one: Restored, zone: ZoneInfo) -> str:
    if not one.undo:
        return "–"
    return day(parse_timestamp(one.until), zone) if one.until else "no end"


def show(page: Page, found: Remembered, zone: ZoneInfo) -> None:
    one, record, ended = found.restore, found.record, found.ended
    page.heading(f"restore {one.system} {one.id}")
    page.facts(
        [
            ("state", UNKNOWN if ended is None else f"{one.state}{_why(found)}"),
            ("begun", when(moment_of(one.id), zone)),
            ("ended", when(parse_timestamp(ended.at), zone) if ended else ""),
            ("by", clean(record.by)),
            ("from", f"backup {record.backup.id} in {clean(record.place)}"),
            ("into", f"{clean(record.target)} ({record.engine.name} {record.engine.version})"),
            ("as it was", f"backup {one.pre_restore}" if one.pre_restore else ""),
            ("undoes", one.undoes),
            ("undone by", one.undone_by),
            ("plan digest", record.digest),
            ("signature", one.signature or ""),
        ]
    )
    if one.rows:
        page.heading("Rows that are kept")
        page.table(
            ("TABLE", "AS THEY WERE", "AS THEY BECAME"),
            [(clean(name), number(before), number(after)) for name, (before, after) in one.rows.items()],
            right=(1, 2),
        )
    if found.plan is not None:
        merge_page.show(page, "What it did" if one.state == "done" else "What was planned", found.plan)
    page.line()
    page.line(_end(one, zone))


def _why(found: Remembered) -> str:
    ended = found.ended
    if ended is None:
        return ""
    later = ", as the database told later" if ended.found_later else ""
    return f"{later}: {clean(ended.why)}" if ended.why else later


def _end(one: Restored, zone: ZoneInfo) -> str:
    if not one.undo:
        return "there is nothing to undo" if not one.undone_by else f"it is undone, by {one.undone_by}"
    until = (
        f"until {day(parse_timestamp(one.until), zone)} at least" if one.until else "as long as it is kept"
    )
    return f"to undo it, {until}: {one.undo}"
