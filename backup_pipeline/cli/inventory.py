"""`inventory`: what is in the database, and what a backup would take."""

from __future__ import annotations

from backup_pipeline.cli.app import as_verb, system_argument
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import number, plural, size
from backup_pipeline.model.inventory import Inventory


@as_verb(
    "inventory",
    system_argument(),
    examples="""
    backup-pipeline inventory shop
    backup-pipeline inventory shop --json | jq '.data.tables[] | select(.left_out)'
    """,
)
def verb(call: Call, system: str) -> Reply:
    """Rows are estimates: nothing is counted. The list is remembered, and the Dagster graph is drawn from it."""
    call.interrupted = lambda: "the list that was remembered is still the old one"
    found = call.site.inventory(system)
    return Reply(found, lambda page: _page(page, system, found))


def _page(page: Page, system: str, found: Inventory) -> None:
    page.heading(f"{system}: {found.engine.name} {found.engine.version}")
    page.table(
        ("TABLE", "KIND", "COLUMNS", "ROWS ABOUT", "SIZE", "LEFT OUT"),
        [
            (
                t.id,
                t.kind,
                t.columns,
                number(t.rows) if t.rows >= 0 else "–",
                size(t.bytes) if t.bytes >= 0 else "–",
                t.left_out or "",
            )
            for t in sorted(found.tables, key=lambda table: table.id)
        ],
        right=(2, 3, 4),
    )
    skipped = sum(1 for table in found.tables if table.left_out)
    page.line(
        f"{plural(len(found.tables), 'table')}, {size(found.bytes)}"
        + (f", {skipped} left out" if skipped else "")
    )
    page.findings(found.findings)
