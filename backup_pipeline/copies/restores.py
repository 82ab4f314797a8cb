"""The records of restores in a copy: brought over with their rows, and healed from another place.

A record is of use where the backup before its restore is: it lives as long as that one. Only stored bytes travel, so no
key is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext

from backup_pipeline.copies.beside import Change
from backup_pipeline.copies.transfer import Item
from backup_pipeline.errors import AlreadyExists, Damaged, NotFound
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.vault_records import RestoreOutline
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault.restores import Restore, Restores
from backup_pipeline.vault.vault import Vault

#: Sends the objects of a record; those that are damaged at the source, and why.
Send = Callable[[RestoreOutline], Sequence[tuple[Item, str]]]
#: Around the writing of a document that names objects: see `vault.committing`.
Committing = Callable[[RestoreOutline], AbstractContextManager[None]]


def bring_over(
    source: Restores, target: Vault, listed: Collection[str], send: Send, committing: Committing
) -> Iterator[Finding]:
    """The records that live with the backups in `listed` ("" stands for none), and what became of those that are there. Their objects come first, the
    document last."""
    there = {one.id: one for one in Restores(target, source.system).all()}
    for one in reversed(source.all()):
        try:
            outline = one.outline
            if outline.pre_restore not in listed:
                continue
            if (state := one.foreign) is not None:
                raise Damaged("it is not signed" if state == "unsigned" else "its signature is wrong")
            one.demand_sealed()
        except Damaged as error:
            yield _not_copied(one, error.message)
            continue
        if hurt := send(outline):
            yield _not_copied(one, ", ".join(f"object {item.name}: {why}" for item, why in hurt[:3]))
            continue
        held = there.get(one.id)
        for name in one.in_order:
            if held is not None and name in held.names:
                continue
            with committing(outline) if name == one.document else nullcontext():
                _put(one, target, name)


def _put(one: Restore, target: Vault, name: str) -> None:
    key, data = one.key(name), read_all(one.vault.store, one.key(name))
    try:
        target.store.put(key, data)
    except AlreadyExists:
        # A killed copy left it, or it is damaged.
        if _differs(one, target, name):
            target.store.put(key, data, overwrite=True)


def _differs(one: Restore, target: Vault, name: str) -> bool:
    try:
        return read_all(target.store, one.key(name)) != read_all(one.vault.store, one.key(name))
    except NotFound:
        return True


def _not_copied(one: Restore, why: str) -> Finding:
    return Finding.of("not-copied/restore", identifier=one.id, why=why, system=one.system)


def heal(
    vault: Vault, system: str, others: Sequence[tuple[str, Vault]], *, dry_run: bool
) -> Iterator[Change | Finding]:
    """Documents that are damaged or gone here, from the first place that has what was sealed."""
    here, listed = {one.id: one for one in Restores(vault, system).folders()}, vault.ids(system)
    elsewhere: dict[str, tuple[str, Restore]] = {}
    for name, other in others:
        for one in Restores(other, system).all():
            if not (_is_sound(one) and one.outline.pre_restore in ("", *listed)):
                continue
            # The one that knows how it ended.
            if one.id not in elsewhere or len(one.names) > len(elsewhere[one.id][1].names):
                elsewhere[one.id] = name, one
    for identifier in sorted({*here, *elsewhere}):
        own = here.get(identifier, Restore(vault, system, identifier))
        whole = own.is_there and _is_sound(own)
        if identifier not in elsewhere:
            if own.is_there and not whole:
                yield Finding.of("not-healed/restore", identifier=identifier, system=system)
            continue
        name, right = elsewhere[identifier]
        for file in right.in_order:
            if (whole and file in own.names) or not _differs(right, vault, file):
                continue
            if not dry_run:
                _put(right, vault, file)
            why = "it was not the one that was written" if file in own.names else "it was missing"
            yield Change(own.key(file), why, name)


def _is_sound(one: Restore) -> bool:
    try:
        _ = one.outline
        one.demand_sealed()
    except Damaged:
        return False
    return one.foreign is None
