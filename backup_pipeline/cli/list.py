"""`list`: the backups there are, and which of them are proven."""

from __future__ import annotations

from dataclasses import dataclass
from zoneinfo import ZoneInfo

from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.call import Call, Outcome
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.places import copy_option, site_at
from backup_pipeline.cli.units import day, duration, number, plural, share, size
from backup_pipeline.errors import BackupError, Damaged
from backup_pipeline.health.outcome import errors_found
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.operations.listing import Broken, Listed, survey

HEADERS = (
    "ID (UTC)", "KIND", "SCOPE", "TABLES", "ROWS", "SIZE", "STORED", "TOOK", "RE-USED", "VERIFIED", "PROVEN", "NOTES",
)  # fmt: skip
FLUSH_RIGHT = (3, 4, 5, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Listing:
    backups: tuple[Listed, ...]
    damaged: tuple[Broken, ...]
    #: Backups that are gone, and that no record says were forgotten: by system.
    missing: dict[str, tuple[Finding, ...]]


@as_verb(
    "list",
    system_argument(required=False),
    copy_option(),
    examples="""
    backup-pipeline list
    backup-pipeline list shop
    backup-pipeline list shop --copy offsite
    backup-pipeline list shop --json | jq -r '.data.backups[-1].id'
    """,
)
def verb(call: Call, system: str | None, place: str | None) -> Outcome:
    """Of SYSTEM, or of all systems; oldest first.

    STORED is what the objects of a backup weigh in the vault; those that it shares with other backups count in each.
    RE-USED is the share of its chunks that were recognised as unchanged and not read again.
    """
    from backup_pipeline.operations import diagnosing, health

    site = site_at(call, place)
    names = (system,) if system else tuple(sorted({*site.systems, *site.vault.systems()}))
    if system and system not in site.vault.systems():
        site.system(system)  # a name that means nothing is an error, not an empty list
    surveys = [survey(site, name) for name in names]
    missing = {
        name: health.missing(site, name, whole, broken)
        for name, (whole, broken) in zip(names, surveys, strict=True)
    }
    listing = Listing(
        tuple(line for whole, _ in surveys for line in whole),
        tuple(line for _, broken in surveys for line in broken),
        {name: found for name, found in missing.items() if found},
    )

    # A vault that is gone looks like a new one.
    empty = [name for name, (whole, broken) in zip(names, surveys, strict=True) if not whole and not broken]
    losses = [loss for name in empty if (loss := diagnosing.lost(site, name)) is not None]
    together = diagnosing.lost(site) if len(losses) > 1 else None
    lost = together or next(iter(losses), None)

    def page(page: Page) -> None:
        for name, (whole, broken) in zip(names, surveys, strict=True):
            page.heading(f"{name}: {plural(len(whole) + len(broken), 'backup')}")
            if whole:
                zone = ZoneInfo(site.settings.zone_of(name))
                page.table(HEADERS, [_row(line, zone) for line in whole], right=FLUSH_RIGHT)
            for line in broken:
                page.line(f"{line.id}  {page.style('DAMAGED', 'red', bold=True)}  {line.why}")
            page.findings(missing[name])
            if not whole and not broken and lost is None:
                page.line(f"→ backup-pipeline backup {name}")

    gone = [one for found in missing.values() for one in found]
    failure: BackupError | None = lost or errors_found("not every backup is there", gone)
    if listing.damaged:
        failure = Damaged(
            f"{plural(len(listing.damaged), 'backup')} cannot be read: {', '.join(b.id for b in listing.damaged)}",
            remedy="; ".join(
                dict.fromkeys(
                    [
                        *(one.remedy for one in listing.damaged),
                        *(
                            f"`backup-pipeline verify {one.system} all` says which backups are whole"
                            for one in listing.damaged
                        ),
                    ]
                )
            ),
        )
    return Outcome(listing, page, failure)


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
