"""`keygen`: a key for an encrypted vault, and a copy of it on paper."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.app import as_verb
from backup_pipeline.cli.call import Call, Outcome
from backup_pipeline.cli.page import Page
from backup_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from backup_pipeline.operations.keygen import NewKey


@as_verb(
    "keygen",
    click.Option(
        ["--out"],
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="The key file [backup-key.txt]. One that exists is never overwritten.",
    ),
    click.Option(
        ["--paper"],
        type=click.Path(dir_okay=False, path_type=Path),
        metavar="FILE",
        help="A copy to print, with a QR code: a .svg or a .txt. [Else it is shown, if this is a terminal.]",
    ),
    click.Option(
        ["--signing"],
        is_flag=True,
        help="A key to sign backups with (ed25519), and no key to read them. [backup-signing.pem]",
    ),
    examples="""
    backup-pipeline keygen --signing --paper ~/backup-signers.svg
    backup-pipeline keygen --out ~/backup-key.txt --paper ~/backup-key.svg
    backup-pipeline keygen --json | jq -r .data.recipient
    """,
)
def verb(call: Call, out: Path | None, paper: Path | None, signing: bool) -> Outcome:
    """A new age key, for `encryption:` in backup.yaml; with --signing, a key for `signing:`.

    The key file (0600) opens every backup that is encrypted to its public key, with `age` alone too. It belongs where
    backups are restored, and on paper; the machine that makes them needs the public key only.
    """
    from backup_pipeline.operations import keygen

    now, vault, signers = datetime.now(UTC), _vault(call), _signers(call)
    if signing:
        made = keygen.new_signing_key(out or Path("backup-signing.pem"), paper=paper, now=now, vault=vault)
    else:
        made = keygen.new_key(
            out or Path("backup-key.txt"), paper=paper, now=now, vault=vault, signers=signers
        )
    shown = not signing and paper is None and not call.json and not call.quiet and call.stdout.isatty()
    return Outcome(
        {
            "recipient": made.recipient,
            "file": str(made.file),
            "paper": str(made.paper) if made.paper else None,
            "configuration": made.configuration,
            "warnings": made.warnings,
        },
        lambda page: _page(page, made, signers, shown=shown),
    )


def _vault(call: Call) -> str | None:
    """There may be no configuration yet."""
    with suppress(ConfigError):
        return call.site.vault.store.address
    return None


def _signers(call: Call) -> tuple[str, ...]:
    with suppress(ConfigError):
        return call.site.settings.signers
    return ()


def _page(page: Page, made: NewKey, signers: tuple[str, ...], *, shown: bool) -> None:
    page.facts(
        [
            ("public key", made.recipient),
            ("key file", made.file),
            (
                "paper copy",
                made.paper if made.paper else "below" if shown else "none: ask for one with --paper FILE",
            ),
        ]
    )
    page.heading("For backup.yaml")
    for line in made.configuration.splitlines():
        page.line(line)
    if shown:
        from backup_pipeline.operations.keygen import paper_text

        page.heading("Print this")
        for line in paper_text(made.secret, made.recipient, signers).splitlines():
            page.line(line)
    page.heading("Take care")
    for warning in made.warnings:
        page.line(f"- {warning}")
