"""`--thaw`: what `restore`, `drill` and `verify` do about objects that lie in an archive."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from backup_pipeline.cli.call import Call
from backup_pipeline.errors import Damaged, NotFound, NotThawed

if TYPE_CHECKING:
    from backup_pipeline.model.orders import CopyOrder, Tier
    from backup_pipeline.operations import Site
    from backup_pipeline.vault.layout import StoredObject
    from backup_pipeline.vault.vault import Vault


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
    if vault.store.thawing() is None:
        return
    ids = vault.ids(system) if identifier == "all" else (vault.resolve(system, identifier),)
    # Of the outlines, which are known without a key.
    needed: list[StoredObject] = []
    for one in ids:
        try:
            needed += vault.backup(system, one).outline.objects
        except (Damaged, NotFound):
            if identifier != "all":
                raise
            continue  # what is wrong with it is said by whoever looks at it
    what = f"{system} {ids[-1]}" if len(ids) == 1 else f"{len(ids)} backups of {system}"
    _wait(call, vault, needed, what, tier, only_say=only_say)


def readable_for_a_copy(call: Call, site: Site, order: CopyOrder) -> None:
    """The same before a copy is made, of what it would have to read: objects that a target has are not sent."""
    from backup_pipeline.operations import copying, stores
    from backup_pipeline.operations.thawing import missing_objects

    if order.thaw is None:
        return
    system, source = order.system, order.source
    vault = stores.open_place(site.settings, source)
    if vault.store.thawing() is None:
        return
    everything = order.id in (None, "all")
    ids = vault.ids(system) if everything else (vault.resolve(system, order.id),)
    names = [name for name in copying.copies_of(site, system, order.to) if name != source]
    places = [stores.open_place(site.settings, name).store for name in names]
    needed = missing_objects(vault, system, ids, places)
    _wait(call, vault, needed, f"what the copies of {system} lack", order.thaw)


def _wait(
    call: Call,
    vault: Vault,
    needed: Iterable[StoredObject],
    what: str,
    tier: Tier | None,
    *,
    only_say: bool = False,
) -> None:
    from backup_pipeline.operations.thawing import Thaw, ensure_readable

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
