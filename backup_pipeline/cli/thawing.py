"""`--thaw`: what `restore`, `drill` and `verify` do about objects that lie in an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from backup_pipeline.cli.call import Call
from backup_pipeline.errors import NotThawed

if TYPE_CHECKING:
    from backup_pipeline.stores.thawing import Tier
    from backup_pipeline.vault.vault import Vault


def thaw_option() -> click.Option:
    return click.Option(
        ["--thaw"],
        type=click.Choice(("standard", "bulk", "expedited")),
        help="Ask the archive (Glacier) for what cannot be read, wait for it, and go on. It costs a fee.",
    )


def readable(
    call: Call,
    vault: Vault,
    system: str,
    identifier: str | None,
    tier: Tier | None,
    *,
    only_say: bool = False,
) -> None:
    """Returns when all that a backup (or `all` of them) needs can be read. Without a tier, what cannot be read is
    NotThawed, or with `only_say` a note."""
    from backup_pipeline.project.thawing import Thaw, ensure_readable
    from backup_pipeline.stores.thawing import thawing_of

    if thawing_of(vault.store) is None:
        return
    ids = vault.ids(system) if identifier == "all" else (vault.resolve(system, identifier),)
    needed = [reference for one in ids for reference in vault.manifest(system, one).objects()]
    what = f"{system} {ids[-1]}" if len(ids) == 1 else f"{len(ids)} backups of {system}"
    before = call.interrupted
    if tier is not None:
        call.interrupted = lambda: (
            "nothing was done yet; what the archive was asked for stays asked for, and will be there"
        )
    try:
        with call.progress(f"thaw of {what}") as listener:
            thawed = ensure_readable(
                vault, needed, Thaw(tier) if tier else None, what=what, listener=listener
            )
    except NotThawed as error:
        if not only_say:
            raise
        call.note(f"{error.code}: {error.message}\n→ {error.remedy}")
        return
    if thawed:
        call.note(f"{len(thawed):,} objects were thawed")
    call.interrupted = before
