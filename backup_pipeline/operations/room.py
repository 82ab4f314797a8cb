"""How much the next backups need and how much each place has, for a caller that has a Site. `health/room.py` judges it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.errors import BackupError
from backup_pipeline.health import room
from backup_pipeline.health.room import Need, Place
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.inventory import Inventory
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.outline import Outline
from backup_pipeline.operations import stores, trees
from backup_pipeline.stores.base import Store
from backup_pipeline.stores.staging import read_of
from backup_pipeline.vault.vault import Vault

if TYPE_CHECKING:
    from backup_pipeline.operations.site import Site

#: Backups to learn from.
LAST = 5


def findings(site: Site) -> Iterator[Finding]:
    """For the doctor: does the next backup fit, into the vault and into each copy?"""
    needs = tuple(_needs(site))
    places: list[Place] = []
    with suppress(BackupError):  # a place that cannot be reached is a finding already
        places.append(_place(site, "vault", site.vault, needs))
    for name in site.settings.copies:
        with suppress(BackupError):
            copy = stores.open_for_a_look(site.settings, name)
            mine = tuple(one for one in needs if name in site.settings.copies_of(one.system))
            places.append(_place(site, f"copy {name}", copy, mine))
    yield from room.judge(places)


# ── what is needed


def _needs(site: Site) -> Iterator[Need]:
    earlier = {name: _outlines(site.vault, name) for name in site.systems}
    stored = sum(found[-1].stored for found in earlier.values() if found)
    plain = sum(found[-1].bytes for found in earlier.values() if found)
    ratio = stored / plain if plain else None
    for name, found in earlier.items():
        inventory = _inventory(site, name)
        live = _live(site, name, inventory) if not found else None
        yield room.need_of(name, found, live, _grown(site, found, inventory), ratio)


def _outlines(vault: Vault, system: str) -> tuple[Outline, ...]:
    """Of the last full backups, oldest first; what is damaged is for `verify` to say."""
    found: list[Outline] = []
    with suppress(BackupError):
        for identifier in reversed(vault.ids(system)):
            with suppress(BackupError):
                outline = vault.backup(system, identifier).outline
                if outline.scope == "full":
                    found.insert(0, outline)
            if len(found) == LAST:
                break
    return tuple(found)


def _inventory(site: Site, system: str) -> Inventory | None:
    """The last look at the database: a doctor that was asked about this system has just looked."""
    known = site.known_inventory(system)
    if known is None:
        with suppress(BackupError):
            known = site.source(system).inventory(site.system(system).selection)
    return known


def _live(site: Site, system: str, inventory: Inventory | None) -> int | None:
    """Plain bytes of the sources; None where they are not known."""
    if inventory is None:
        return None
    out = sum(max(0, one.bytes) for one in inventory.tables if one.left_out is not None)
    size = max(0, inventory.bytes - out)
    for name in site.system(system).files:
        counted = trees.measured(site, system, name)
        if counted is None:
            return None
        size += counted
    return size


def _grown(site: Site, outlines: tuple[Outline, ...], inventory: Inventory | None) -> int:
    """Plain bytes of the database that came since the newest backup. Without the key they cannot be compared."""
    if not outlines or inventory is None:
        return 0
    try:
        manifest = site.vault.backup(outlines[-1].system, outlines[-1].id).manifest
    except BackupError:
        return 0
    return _grown_since(manifest, inventory)


def _grown_since(manifest: Manifest, inventory: Inventory) -> int:
    taken = [one for one in inventory.tables if one.left_out is None]
    if manifest.image is not None:
        # Without its excluded rows a copy is another file, and no longer to be compared.
        return max(0, inventory.bytes - manifest.image.size) if len(taken) == len(inventory.tables) else 0
    # A table takes more room in the database than its text does: rows can be compared, bytes cannot.
    more = sum(max(0, one.rows) for one in taken) - manifest.rows
    text = sum(table.bytes for table in manifest.tables)
    return int(more * text / manifest.rows) if manifest.rows and more > 0 else 0


# ── what there is


def _place(site: Site, name: str, vault: Vault, needs: tuple[Need, ...]) -> Place:
    asked = [(need, need.next if _holds(vault, need.system) else need.first) for need in needs]
    place = Place(
        name,
        vault.store.address,
        needs=tuple(amount for _, amount in asked if amount is not None),
        by=tuple(f"{need.system}: {need.by}" for need, amount in asked if amount is not None),
        unknown=tuple(need.system for need, amount in asked if amount is None),
    )
    folder = vault.store.folder
    return _of_server(place, vault.store) if folder is None else _of_disk(place, folder)


def _of_disk(place: Place, folder: Path) -> Place:
    with read_of(f"cannot ask how full {folder} is"):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        status = os.statvfs(there)
    return replace(
        place,
        free=status.f_bavail * status.f_frsize,
        total=status.f_blocks * status.f_frsize,
        free_files=status.f_favail if status.f_files else None,
        disk=there.stat().st_dev,
    )


def _of_server(place: Place, store: Store) -> Place:
    why = "a bucket has no end, and a bill" if place.address.startswith("s3:") else "the server does not tell"
    try:
        found = store.room()
    except BackupError as error:
        return replace(place, why=error.message)
    if found is None:
        return replace(place, why=why)
    return replace(place, free=found.free, total=found.total)


def _holds(vault: Vault, system: str) -> bool:
    try:
        return bool(vault.ids(system))
    except BackupError:
        return False
