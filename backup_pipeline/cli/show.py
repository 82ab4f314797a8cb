"""`show`: everything that one backup says of itself, as a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import click

from backup_pipeline.cli import restores_page
from backup_pipeline.cli.app import as_verb, backup_argument, system_argument
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page, clean
from backup_pipeline.cli.places import copy_option, site_at
from backup_pipeline.cli.report import counted_as_text
from backup_pipeline.cli.units import age, duration, number, plural, size, when
from backup_pipeline.model.ids import is_restore_id, moment_of, parse_timestamp
from backup_pipeline.model.manifest import Manifest, Proof, TableEntry
from backup_pipeline.model.overview import Listed

if TYPE_CHECKING:
    from backup_pipeline.operations import Site

#: So many tables fit beside the rest on a screen or two; `--tables` shows all.
SHOWN = 25


@as_verb(
    "show",
    system_argument(),
    backup_argument(),
    copy_option(),
    click.Option(["--tables"], is_flag=True, help=f"Every table, not just the {SHOWN} biggest."),
    click.Option(["--raw"], is_flag=True, help="The manifest itself: the JSON as it lies in the vault."),
    examples="""
    backup-pipeline show shop 2026-11-21T02-00-00-123Z --tables
    backup-pipeline show shop latest --raw | sha256sum
    backup-pipeline show shop r-2026-11-21T09-30-00-000Z
    backup-pipeline show shop --json | jq '.data.manifest.left_out'
    """,
)
def verb(call: Call, system: str, id: str | None, place: str | None, tables: bool, raw: bool) -> Reply:
    """Without an ID it is the newest full backup.

    The ID of a restore (`list SYSTEM --restores`) shows what that restore did, and how it is undone.
    """
    from backup_pipeline.operations.listing import as_stored, described

    site = site_at(call, place)
    if id is not None and is_restore_id(id):
        return _restore(site, system, id)
    if raw:
        text = as_stored(site, system, id).decode("utf-8", "surrogatepass")
        return Reply(json.loads(text), lambda page: page.line(text.rstrip("\n")))
    found = described(site, system, id)
    line, manifest = found.backup, found.manifest
    zone = ZoneInfo(site.settings.zone_of(system))

    def page(page: Page) -> None:
        _head(page, manifest, line, zone)
        _tables(page, manifest, every=tables)
        trees(page, manifest)
        _rest(page, manifest)
        _proofs(page, line, found.proofs, zone)

    return Reply(found, page)


def _restore(site: Site, system: str, id: str) -> Reply:
    from backup_pipeline.operations.restore_records import remembered

    found = remembered(site, system, id)
    zone = ZoneInfo(site.settings.zone_of(system))
    data = {"restore": found.restore, "record": found.record, "ended": found.ended}
    return Reply(data, lambda page: restores_page.show(page, found, zone))


def _head(page: Page, manifest: Manifest, line: Listed, zone: ZoneInfo) -> None:
    page.heading(f"{manifest.system} {manifest.id}")
    taken = moment_of(manifest.id)
    engine = manifest.engine
    details = ", ".join(f"{name} {value}" for name, value in engine.details.items())
    page.facts(
        [
            ("kind", f"{manifest.kind}, {manifest.scope}" + (", DEGRADED" if manifest.degraded else "")),
            ("snapshot", when(parse_timestamp(manifest.snapshot_at), zone)),
            ("begun", f"{when(taken, zone)}; took {duration(line.seconds)}"),
            ("engine", f"{engine.name} {engine.version}" + (f" ({details})" if details else "")),
            ("content", content(line)),
            ("stored", f"{size(line.stored)} in the vault, objects that other backups share included"),
            ("signature", line.signature or ""),
            (
                "re-used",
                f"{number(line.reused_chunks)} of {plural(line.chunks, 'chunk')}" if line.chunks else "",
            ),
            ("sequences", plural(len(manifest.sequences), "sequence") if manifest.sequences else ""),
            ("definitions", ", ".join(f"{part.name} by {part.made_by}" for part in manifest.ddl)),
            ("migrations", manifest.migrations.told() if manifest.migrations else ""),
            ("git revision", manifest.git_revision),
            ("environment", manifest.environment),
            ("backup before", manifest.previous.id if manifest.previous else "none: the first of its chain"),
            ("made with", ", ".join(f"{name} {version}" for name, version in manifest.tools.items())),
        ]
    )


def content(line: Listed) -> str:
    """5 tables, 148,800 rows, 700 files, 9.1 MiB"""
    if line.tables is None or line.rows is None:
        return f"encrypted, {size(line.bytes)}"
    files = f", {plural(line.files, 'file')}" if line.files else ""
    return f"{plural(line.tables, 'table')}, {plural(line.rows, 'row')}{files}, {size(line.bytes)}"


def _tables(page: Page, manifest: Manifest, *, every: bool) -> None:
    page.heading("Tables")
    entries: Sequence[TableEntry] = sorted(manifest.tables, key=lambda entry: entry.id)
    if not every and len(entries) > SHOWN:
        biggest = sorted(entries, key=lambda entry: (entry.bytes, entry.rows), reverse=True)[:SHOWN]
        entries = sorted(biggest, key=lambda entry: entry.id)
    groups = {table: name for name, tables in manifest.groups.items() for table in tables}
    page.table(
        ("TABLE", "ROWS", "SIZE", "CHUNKS", "RE-USED", "GROUP"),
        [
            (
                entry.id,
                number(entry.rows),
                size(entry.bytes) if entry.bytes or not manifest.image else "–",
                len(entry.chunks) or "–",
                entry.reused_chunks or "–",
                groups.get(str(entry.id), ""),
            )
            for entry in entries
        ],
        right=(1, 2, 3, 4),
    )
    if len(entries) < len(manifest.tables):
        page.line(
            f"… and {plural(len(manifest.tables) - len(entries), 'smaller table')}: --tables shows them"
        )


def trees(page: Page, manifest: Manifest) -> None:
    """The file trees of a backup; nothing where it has none."""
    if not manifest.files:
        return
    page.heading("Files")
    page.table(
        ("TREE", "FILES", "SIZE", "NEW", "FOLDERS", "LINKS", "MISSED", "READ FROM"),
        [
            (
                tree.name,
                number(tree.files),
                size(tree.bytes),
                f"{number(tree.new_files)} ({size(tree.new_bytes)})" if tree.new_files else "–",
                tree.folders or "–",
                tree.links or "–",
                page.style(number(tree.missed), "red", bold=True) if tree.missed else "–",
                tree.address,
            )
            for tree in manifest.files
        ],
        right=(1, 2, 3, 4, 5, 6),
    )


def _rest(page: Page, manifest: Manifest) -> None:
    left_out(page, manifest)
    if manifest.sequences:
        page.heading("Sequences")
        page.facts(
            [
                (
                    clean(f"{one.schema}.{one.name}"),
                    f"{number(one.last_value)}{'' if one.is_called else ' (not used yet)'}",
                )
                for one in manifest.sequences[:SHOWN]
            ]
        )
        if len(manifest.sequences) > SHOWN:
            page.line(f"… and {len(manifest.sequences) - SHOWN} more (--json shows all)")
    if manifest.findings:
        page.heading("Findings")
        page.findings(manifest.findings)


def left_out(page: Page, manifest: Manifest) -> None:
    """Part of every page about a backup: nothing is left out silently."""
    if manifest.left_out:
        page.heading(f"Left out: {len(manifest.left_out)}")
        page.table(
            ("WHAT", "KIND", "WHY"),
            [(f"{left.schema}.{left.name}", left.kind, left.reason) for left in manifest.left_out],
        )


def _proofs(page: Page, line: Listed, proofs: Sequence[Proof], zone: ZoneInfo) -> None:
    page.heading("Proofs")
    if not proofs:
        page.line(
            f"none yet: `backup-pipeline drill {line.system} {line.id}` restores it for real and compares every row"
        )
    for proof in proofs:
        at = parse_timestamp(proof.at)
        counted = ", ".join(counted_as_text(what, count) for what, count in proof.counted.items())
        errors = sum(1 for finding in proof.findings if finding.severity == "error")
        word = page.style("passed", "green") if proof.ok else page.style("FAILED", "red", bold=True)
        page.line(
            f"{proof.kind} {word} {when(at, zone)}, {age(_now() - at)}, in {duration(proof.seconds)}"
            + (f" ({counted})" if counted else "")
            + (f": {plural(errors, 'error')}" if errors else "")
        )


def _now() -> datetime:
    return datetime.now(UTC)
