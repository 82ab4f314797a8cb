"""What a copy has lost of the backups that it holds: a disk that was mended, a deleted object."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backup_pipeline.copies.transfer import Item, items
from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model.findings import Finding
from backup_pipeline.vault.restores import objects_of
from backup_pipeline.vault.vault import Vault


def lost(
    source: Vault, system: str, held: Iterable[str], there: Callable[[Item], bool]
) -> dict[Item, list[str]]:
    """Objects of backups (and restores) that both places list and the copy does not have (any more) → the backups that need them. The
    source says which they are: what it has itself is what it can give."""
    needed: dict[Item, list[str]] = {}
    for identifier in held:
        try:
            objects = objects_of(source, system, identifier)
        except (NotFound, Damaged):
            continue  # forgotten meanwhile; or `verify` names it at the source, and it was never copied so
        for item in items(objects):
            needed.setdefault(item, []).append(identifier)
    return {item: ids for item, ids in needed.items() if not there(item)}


def told(item: Item, ids: list[str], why: str) -> Finding:
    """`why` it could not be brought back; empty when it was."""
    of = f"of {ids[0]}" if len(ids) == 1 else f"of {len(ids)} backups, {ids[0]} to {ids[-1]},"
    if why:
        return Finding.of("copy-not-whole", name=item.name, of=of, why=why, examples=ids)
    return Finding.of("copy-healed", name=item.name, of=of)
