"""What a store says of the locks of a backup. A setting asks for locks; whether there are any is another question."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from backup_pipeline.errors import BackupError, Damaged, NotAllowed, NotFound
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import moment_of
from backup_pipeline.vault import layout
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Locks:
    """Of two files that stand for all: the manifest, and the largest object, which is the one that went in parts."""

    manifest: datetime | None
    largest: datetime | None


def locks_of(backup: Backup) -> Locks:
    """Raises NotAllowed where these credentials may not see them."""
    locks = backup.store.object_locks()
    if locks is None:
        return Locks(None, None)
    manifest = locks.until(backup.manifest_key)
    key = _largest(backup) if manifest is not None else None
    return Locks(manifest, manifest if key is None else locks.until(key))


def why_locked(backup: Backup, now: datetime) -> str:
    """Why a deletion would hide this backup and keep its bytes; empty where it would not."""
    try:
        found = locks_of(backup)
    except NotAllowed:
        until = moment_of(backup.id) + timedelta(
            days=locks.days if (locks := backup.store.object_locks()) else 0
        )
        return f"locked until {until:%Y-%m-%d}, if `object_lock_days` holds" if until > now else ""
    if found.manifest is None or found.manifest <= now:
        return ""
    whole = (
        "" if found.largest is not None and found.largest > now else " (its manifest; not all of its objects)"
    )
    return f"locked until {found.manifest:%Y-%m-%d}{whole}"


def inspect_locks(vault: Vault, now: datetime) -> Iterator[Finding]:
    """For the doctor: one object of the newest backup, where locks are asked for."""
    locks = vault.store.object_locks()
    if locks is None:
        return
    days = locks.days
    try:
        newest = max(((one, name) for name in vault.systems() for one in vault.ids(name)[-1:]), default=None)
        if newest is None or moment_of(newest[0]) + timedelta(days=days / 2) < now:
            return  # what was locked then need not be locked any more
        backup = vault.backup(newest[1], newest[0])
        key = _largest(backup) or backup.manifest_key
        until = locks.until(key)
    except NotAllowed as error:
        yield Finding.of("setting-not-tried", why=error.message, remedy=error.remedy)
        return
    except BackupError:
        return  # told by the look at the place itself
    if until is None or until <= now:
        yield Finding.of("lock-missing", key=key, backup=backup, address=vault.store.address, days=days)


def _largest(backup: Backup) -> str | None:
    try:
        objects = backup.outline.objects
    except (Damaged, NotFound):
        return None
    return layout.object_key(max(objects, key=lambda one: one.size)) if objects else None
