"""`--thaw`: what `restore`, `drill`, `verify` and `copy` do about objects that lie in an archive."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backup_pipeline.cli.call import Call
from backup_pipeline.errors import NotThawed

if TYPE_CHECKING:
    from backup_pipeline.model.orders import CopyOrder, Tier
    from backup_pipeline.operations import Site
    from backup_pipeline.operations.thawing import Needed


def readable(
    call: Call, site: Site, system: str, id: str | None, tier: Tier | None, *, only_say: bool = False
) -> None:
    """Returns when all that a backup (or `all` of them) needs can be read. Without a tier, what cannot be read is
    NotThawed, or with `only_say` a note."""
    from backup_pipeline.operations import thawing

    _wait(call, thawing.of_backups(site, system, id), tier, only_say=only_say)


def readable_for_a_copy(call: Call, site: Site, order: CopyOrder) -> None:
    """The same before a copy is made."""
    from backup_pipeline.operations import thawing

    if order.thaw is not None:
        _wait(call, thawing.of_copies(site, order), order.thaw)


def _wait(call: Call, needed: Needed | None, tier: Tier | None, *, only_say: bool = False) -> None:
    from backup_pipeline.operations.thawing import thaw

    if needed is None:
        return
    before = call.interrupted
    if tier is not None:
        call.interrupted = lambda: (
            "nothing was done yet; what the archive was asked for stays asked for, and will be there"
        )
    try:
        with call.progress(f"thaw of {needed.what}") as listener:
            thawed = thaw(needed, tier, listener)
    except NotThawed as error:
        if not only_say:
            raise
        call.note(f"{error.code}: {error.message}\n→ {error.remedy}")
        return
    if thawed:
        call.note(f"{thawed:,} objects were thawed")
    call.interrupted = before
