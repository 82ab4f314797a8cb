"""The small records beside the backups: pins, forgotten backups, the newest backup. They are readable without a key.

A backup is forgotten in this order, and a process may be killed anywhere in it: the record of it under `forgotten/`, the
manifest (from here on it is no backup any more), everything else in its folder. A folder without a manifest that has
such a record is rubbish and no damage; the next prune sweeps it away.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import is_backup_id
from backup_pipeline.model.manifest import Link
from backup_pipeline.model.vault_records import Accepted, Forgotten, Newest, Pin
from backup_pipeline.stores.base import SMALL, Store, read_all
from backup_pipeline.vault import layout

if TYPE_CHECKING:
    from backup_pipeline.vault.backup import Backup
    from backup_pipeline.vault.vault import Vault

#: A name that begins so is the manifest of a backup, packed or encrypted; its seals are not.
_MANIFEST = "manifest.json"
_SEAL = ".sha256"

# ── pins


def pin(backup: Backup, made: Pin) -> None:
    backup.store.put(layout.pin_key(backup.system, backup.id), canonical.encode(made), overwrite=True)


def unpin(backup: Backup) -> None:
    backup.store.delete(layout.pin_key(backup.system, backup.id))


def pin_of(backup: Backup) -> Pin | None:
    """A pin that cannot be read is a pin all the same."""
    key = layout.pin_key(backup.system, backup.id)
    try:
        return canonical.decode(Pin, read_all(backup.store, key, SMALL), what=key)
    except NotFound:
        return None
    except Damaged:
        return Pin(at="", reason="the pin itself cannot be read")


# ── what was forgotten


def forgotten_ids(store: Store, system: str) -> tuple[str, ...]:
    names = (
        stat.key.rpartition("/")[2].removesuffix(".json")
        for stat in store.list(layout.forgotten_prefix(system))
    )
    return tuple(sorted(name for name in names if is_backup_id(name)))


def forgotten(backup: Backup) -> Forgotten | None:
    """None where there is no record, and where it cannot be read: then the gap it should explain is a gap."""
    key = layout.forgotten_key(backup.system, backup.id)
    try:
        found = canonical.decode(Forgotten, read_all(backup.store, key, SMALL), what=key)
    except (NotFound, Damaged):
        return None
    return found if (found.system, found.id) == (backup.system, backup.id) else None


def write_forgotten(store: Store, record: Forgotten, signature: bytes | None = None) -> None:
    """The signature first: a record without its own would look like one of another hand."""
    if signature is not None:
        signed = layout.forgotten_key(record.system, record.id) + layout.SIGNATURE
        store.put(signed, signature, overwrite=True)
    key = layout.forgotten_key(record.system, record.id)
    store.put(key, canonical.encode(record), overwrite=True)


def keys_of(backup: Backup) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Of the folder of a backup: its manifest (one key, or none any more), and everything else."""
    manifest: list[str] = []
    rest: list[str] = []
    prefix = layout.backup_prefix(backup.system, backup.id)
    for stat in backup.store.list(prefix):
        name = stat.key.removeprefix(prefix)
        is_manifest = name.startswith(_MANIFEST) and not name.endswith(_SEAL)
        (manifest if is_manifest else rest).append(stat.key)
    return tuple(sorted(manifest)), tuple(sorted(rest))


def leftovers(store: Store, system: str, identifiers: Iterable[str]) -> tuple[str, ...]:
    """Folders of forgotten backups that a killed prune did not sweep away."""
    records = set(forgotten_ids(store, system))
    here = {name for name in store.folders(f"{system}/") if name in records}
    return tuple(sorted(here - set(identifiers)))


# ── the newest backup, and what was accepted


def set_newest(store: Store, system: str, link: Link) -> None:
    store.put(layout.newest_key(system), canonical.encode(Newest(link.id, link.sha256)), overwrite=True)


def newest(store: Store, system: str) -> Newest | None:
    key = layout.newest_key(system)
    try:
        return canonical.decode(Newest, read_all(store, key, SMALL), what=key)
    except NotFound:
        return None


def newest_gone(vault: Vault, system: str, there: Callable[[], Collection[str]]) -> Link | None:
    """The backup that was written last, where its whole folder is gone and no record says that it was forgotten: nothing
    in the folder itself could be missed. `there` is asked after newest.json was read: a backup that is committed beside
    us is no lost one."""
    try:
        found = newest(vault.store, system)
    except Damaged:
        return None  # `verify` says so; the next backup writes it anew
    if found is None or found.id in there() or forgotten(vault.backup(system, found.id)) is not None:
        return None
    return Link(found.id, found.manifest_sha256)


def accept(store: Store, system: str, accepted: Accepted) -> None:
    store.put(layout.accepted_key(system), canonical.encode(accepted), overwrite=True)


def accepted(store: Store, system: str) -> str:
    """The newest backup whose size a person has accepted; "" when there is none."""
    key = layout.accepted_key(system)
    try:
        return canonical.decode(Accepted, read_all(store, key, SMALL), what=key).id
    except (NotFound, Damaged):
        return ""
