"""Object locks run from the day an object was written; what later backups name again has to be locked on.

A chunk that did not change is not written again, so after `object_lock_days` nothing would keep it, although the newest
backup needs it. Before a manifest is written, the locks of what it names are therefore extended, those that have run for
more than half of their time: every object of a backup stays locked for at least half of the days from its commit on.

What is said of locks is asked of the store here, too: a setting is no lock.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from backup_pipeline.stores.base import Store
from backup_pipeline.stores.retrying import Patience, RetryingStore

if TYPE_CHECKING:
    from backup_pipeline.stores.s3.store import S3Store


def relock(store: Store, keys: Collection[str], *, now: datetime | None = None) -> int:
    """Extend the locks that end too soon; says how many. Nothing to do where nothing is locked."""
    bucket = _locking(store)
    if bucket is None:
        return 0
    from backup_pipeline.stores.s3.relocking import S3Relocking

    return S3Relocking(*bucket, now or datetime.now(UTC)).extend(keys)


def lock_days(store: Store) -> int | None:
    """For how many days what is put is to be locked; None where nothing is."""
    bucket = _locking(store)
    return None if bucket is None else bucket[0].options.object_lock_days


def locked_until(store: Store, key: str) -> datetime | None:
    """As the store says it, and not as the settings ask for it. NotAllowed: these credentials cannot tell."""
    bucket = _locking(store)
    if bucket is None:
        return None
    from backup_pipeline.stores.s3.locking import locked_until

    return bucket[1].again(lambda: locked_until(bucket[0], key))


def _locking(store: Store) -> tuple[S3Store, Patience] | None:
    if not isinstance(store, RetryingStore):
        return None
    from backup_pipeline.stores.s3.store import S3Store

    if not isinstance(store.store, S3Store) or store.store.options.object_lock_days is None:
        return None
    return store.store, store.patience
