"""Two places that should hold the same backups: what one of them lacks, has more of, or has otherwise.

By listing alone, but for the manifests: lengths are compared, and no object is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from backup_pipeline.copies import folders
from backup_pipeline.copies.history import kept_no_longer
from backup_pipeline.copies.transfer import Item, items
from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.stores.base import Stat
from backup_pipeline.vault import presence
from backup_pipeline.vault.restores import Restores
from backup_pipeline.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Comparison:
    system: str
    #: Backups that the copy should hold and does not; and records of restores.
    missing: tuple[str, ...] = ()
    #: Backups that only the copy holds: they are not in the vault any more, or never were.
    extra: tuple[str, ...] = ()
    #: Backups that the copy's own retention has removed.
    forgotten: tuple[str, ...] = ()
    #: Backups whose manifest is another one there.
    differing: tuple[str, ...] = ()
    #: Objects of the backups that both hold: not there, or of another length.
    objects_missing: tuple[str, ...] = ()
    objects_differing: tuple[str, ...] = ()

    @property
    def same(self) -> bool:
        """The copy holds all that it should. What it holds beyond that does no harm."""
        return not (self.missing or self.differing or self.objects_missing or self.objects_differing)


def compare(vault: Vault, copy: Vault, system: str) -> Comparison:
    listed = vault.ids(system)
    there = folders.look(copy.store, system)
    both = [identifier for identifier in listed if identifier in there.ids]
    absent = [identifier for identifier in listed if identifier not in there.ids]
    forgotten = tuple(identifier for identifier in absent if kept_no_longer(copy, there, identifier))
    needed: dict[Item, None] = {}
    differing = []
    for identifier in both:
        try:
            named = vault.backup(system, identifier).outline
            if copy.backup(system, identifier).link.sha256 != named.manifest_sha256:
                differing.append(identifier)
        except NotFound:
            continue  # one of the two has just forgotten it
        except Damaged:
            differing.append(identifier)
            continue
        needed.update(dict.fromkeys(items(named.objects)))
    ours, theirs = Restores(vault, system), Restores(copy, system).ids
    for restore in ours.all():
        try:
            outline = restore.outline
        except Damaged:
            differing.append(restore.id)
            continue
        if restore.id in theirs:
            needed.update(dict.fromkeys(items(outline.objects)))
        elif not outline.pre_restore or outline.pre_restore in both:
            absent.append(restore.id)
    gone, other = lengths(presence.stats(copy.store, needed), needed)
    return Comparison(
        system,
        missing=tuple(identifier for identifier in absent if identifier not in forgotten),
        extra=tuple(identifier for identifier in there.ids if identifier not in listed),
        forgotten=forgotten,
        differing=tuple(differing),
        objects_missing=tuple(item.key for item in gone),
        objects_differing=tuple(item.key for item in other),
    )


def lengths(stats: Mapping[str, Stat], needed: Iterable[Item]) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Those that are not there, and those that are there and not as long as they should be."""
    wanted = tuple(needed)
    gone = tuple(item for item in wanted if item.key not in stats)
    other = tuple(item for item in wanted if item.key in stats and stats[item.key].size != item.size)
    return gone, other
