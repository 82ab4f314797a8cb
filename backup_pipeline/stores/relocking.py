"""Object locks run from the day an object was written; what later backups name again has to be locked on.

A chunk that did not change is not written again, so after `object_lock_days` nothing would keep it, although the newest
backup needs it. Before a manifest is written, the locks of what it names are therefore extended, those that have run for
more than half of their time: every object of a backup stays locked for at least half of the days from its commit on.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from backup_pipeline.stores.base import Store
from backup_pipeline.stores.retrying import RetryingStore


def relock(store: Store, keys: Collection[str], *, now: datetime | None = None) -> int:
    """Extend the locks that end too soon; says how many. Nothing to do where nothing is locked."""
    if not isinstance(store, RetryingStore):
        return 0
    from backup_pipeline.stores.s3 import S3Store
    from backup_pipeline.stores.s3_relocking import S3Relocking

    if not isinstance(store.store, S3Store) or store.store.options.object_lock_days is None:
        return 0
    return S3Relocking(store.store, store.patience, now or datetime.now(UTC)).extend(keys)
