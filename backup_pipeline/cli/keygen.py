"""`keygen`: a key for an encrypted vault, and a copy of it on paper."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Reply
from backup_pipeline.cli.page import Page
from backup_pipeline.errors import ConfigError
from backup_pipeline.model.orders import KeygenOrder

if TYPE_CHECKING:
    from backup_pipeline.operations.keygen import NewKey


@as_verb(
    "keygen",
    order=KeygenOrder,
    examples="""
    backup-pipeline keygen --signing --paper ~/backup-signers.svg
    backup-pipeline keygen --out ~/backup-key.txt --paper ~/backup-key.svg
    backup-pipeline keygen --json | jq -r .data.recipient
    """,
)
def verb(call: Call, order: KeygenOrder) -> Reply:
    """A new age key, for `encryption:` in backup.yaml; with --signing, a key for `signing:`.

    The key file (0600) opens every backup that is encrypted to its public key, with `age` alone too. It belongs where
    backups are restored, and on paper; the machine that makes them needs the public key only.
    """
    from backup_pipeline.operations.keygen import keygen

    site = None
    with suppress(ConfigError):  # there may be no configuration yet
        site = call.site
    made = keygen(site, order, datetime.now(UTC))
    printed = "" if order.paper or call.json or call.quiet or not call.stdout.isatty() else made.printed
    return Reply(
        {
            "recipient": made.recipient,
            "file": str(made.file),
            "paper": str(made.paper) if made.paper else None,
            "configuration": made.configuration,
            "warnings": made.warnings,
        },
        lambda page: _page(page, made, printed),
    )


def _page(page: Page, made: NewKey, printed: str) -> None:
    page.facts(
        [
            ("public key", made.recipient),
            ("key file", made.file),
            (
                "paper copy",
                made.paper if made.paper else "below" if printed else "none: ask for one with --paper FILE",
            ),
        ]
    )
    page.heading("For backup.yaml")
    for line in made.configuration.splitlines():
        page.line(line)
    if printed:
        page.heading("Print this")
        for line in printed.splitlines():
            page.line(line)
    page.heading("Take care")
    for warning in made.warnings:
        page.line(f"- {warning}")
