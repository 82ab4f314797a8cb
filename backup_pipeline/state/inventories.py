"""The list of a system's tables as it was last seen, kept in the state folder.

The Dagster graph is drawn from it, so that definitions load without asking any database. It is a cache: a
table that is not in it yet is backed up all the same.
"""

from __future__ import annotations

from pathlib import Path

from backup_pipeline.errors import Damaged
from backup_pipeline.model import canonical
from backup_pipeline.model.inventory import Inventory
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.state import paths
from backup_pipeline.stores.local import LocalStore


def save(folder: Path, system: str, inventory: Inventory) -> None:
    key = paths.inventory(folder, system).relative_to(folder).as_posix()
    LocalStore(folder).put(key, canonical.encode(inventory), overwrite=True)


def load(folder: Path, system: str) -> Inventory | None:
    """None where there is none, or none that can be read: it is asked for again."""
    path = paths.inventory(folder, system)
    try:
        return canonical.decode(Inventory, path.read_bytes(), what=str(path))
    except (OSError, Damaged):
        return None


def is_stale(folder: Path, manifest: Manifest) -> bool:
    """A backup shows that the database has other tables than the last look found."""
    known = load(folder, manifest.system)
    if known is None:
        return True
    there = {table.id for table in manifest.tables}
    gone = {table.id for table in known.taken} - there if manifest.scope == "full" else set()
    return bool(gone) or not there <= {table.id for table in known.tables}
