"""`list`: the backups there are, and which of them are proven."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from backup_pipeline.cli import restores_page
from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.places import copy_option, site_at
from backup_pipeline.cli.units import day, duration, number, plural, share, size
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.overview import Listed

if TYPE_CHECKING:
    from backup_pipeline.operations import Site

HEADERS = (
    "ID (UTC)", "KIND", "SCOPE", "TABLES", "ROWS", "SIZE", "STORED", "TOOK", "RE-USED", "VERIFIED", "PROVEN", "NOTES",
)  # fmt: skip
FLUSH_RIGHT = (3, 4, 5, 6, 7, 8)


@as_verb(
    "list",
    system_argument(required=False),
    copy_option(),
    click.Option(
        ["--restores"],
        is_flag=True,
        help="The restores that changed a database, and until when each can be undone.",
    ),
    examples="""
    backup-pipeline list
    backup-pipeline list shop --copy offsite
    backup-pipeline list shop --restores
    backup-pipeline list shop --json | jq -r '.data.backups[-1].id'
    """,
)
def verb(call: Call, system: str | None, place: str | None, restores: bool) -> Reply:
    """Of SYSTEM, or of all systems; oldest first.

    STORED is what the objects of a backup weigh in the vault; those that it shares with other backups count in each.
    RE-USED is the share of its chunks that were recognised as unchanged and not read again.
    """

    from backup_pipeline.operations.listing import listing

    site = site_at(call, place)
    if restores:
        return _restores(site, system)
    found = listing(site, system)

    def page(page: Page) -> None:
        for one in found.surveys:
            page.heading(f"{one.system}: {plural(len(one.whole) + len(one.broken), 'backup')}")
            if one.whole:
                zone = ZoneInfo(site.settings.zone_of(one.system))
                page.table(HEADERS, [_row(line, zone) for line in one.whole], right=FLUSH_RIGHT)
            for line in one.broken:
                page.line(f"{line.id}  {page.style('DAMAGED', 'red', bold=True)}  {line.why}")
            page.findings(one.missing)
            if one.empty and found.lost is None:
                page.line(f"→ backup-pipeline backup {one.system}")

    data = {
        "backups": found.backups,
        "damaged": found.damaged,
        "missing": {one.system: one.missing for one in found.surveys if one.missing},
    }
    return Reply(data, page, found.failure)


def _restores(site: Site, system: str | None) -> Reply:
    from backup_pipeline.operations.restore_records import list_restores

    found = list_restores(site, system)
    return Reply({"restores": found}, lambda page: restores_page.lines(page, found, site))


def _row(line: Listed, zone: ZoneInfo) -> tuple[str, ...]:
    notes = ["encrypted"] if line.tables is None else []
    notes += [plural(line.left_out, "left out", "left out")] if line.left_out else []
    notes += [plural(line.files, "file")] if line.files else []
    notes += ["DEGRADED"] if line.degraded else []
    notes += {"unsigned": ["unsigned"], "wrong": ["WRONG SIGNATURE"]}.get(line.signature or "", [])
    if line.pinned is not None:
        notes.append(f"pinned: {line.pinned}" if line.pinned else "pinned")
    notes += [plural(line.errors, "error")] if line.errors else []
    notes += [plural(line.findings, "finding")] if line.findings and not line.errors else []
    return (
        line.id,
        line.kind,
        line.scope,
        number(line.tables),
        number(line.rows),
        size(line.bytes),
        size(line.stored),
        duration(line.seconds),
        share(line.reused_chunks, line.chunks),
        "FAILED" if line.failed else moment(line.verified_at, zone),
        "FAILED" if line.drilled_at and not line.proven_at else moment(line.proven_at, zone),
        ", ".join(notes),
    )


def moment(text: str | None, zone: ZoneInfo) -> str:
    return day(parse_timestamp(text), zone) if text else "–"
