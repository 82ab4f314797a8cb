"""Whether an object of a bucket is locked, as the server says it; and what is done where it is not.

A request that asks for a lock is no lock. Ceph 16 ignores the headers of an upload in parts, Swift those of every PUT, and
both answer with success. So on a server that is not AWS each locked object is looked at after it was written.

The lock is then asked for once more by a request of its own. A server that does not know `?retention` takes that request
for a PUT of the object, and the object would be gone. Whether it is known is therefore asked first, by a question that
changes nothing, of a key that nothing depends on.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from backup_pipeline.errors import NotAllowed, VaultError
from backup_pipeline.services.aws import Failure, failures, is_aws
from backup_pipeline.stores.s3.asking import knows_retention

if TYPE_CHECKING:
    from backup_pipeline.stores.s3.store import S3Store

#: What a server that knows object locks answers of an object, or a bucket, that has none.
_NONE = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"})


def locked_until(store: S3Store, key: str) -> datetime | None:
    """None: it is not locked. Raises NotAllowed where these credentials cannot tell."""
    head = store.head(key)
    until: datetime | None = None if head is None else head.get("ObjectLockRetainUntilDate")
    if until is not None or head is None or not is_aws(store.client):
        return until
    return _asked_of_aws(store, key)


def _asked_of_aws(store: S3Store, key: str) -> datetime | None:
    """AWS leaves the lock out of a HEAD by credentials that may not see it."""
    none = False

    def raised(failure: Failure) -> Exception:
        nonlocal none
        none = failure.code in _NONE
        return store._failed(f"cannot see the lock of {key}")(failure)

    try:
        with failures(raised):
            answer = store.client.get_object_retention(Bucket=store.bucket, Key=store.prefix + key)
    except VaultError:
        if none:
            return None
        raise
    found: datetime | None = answer.get("Retention", {}).get("RetainUntilDate")
    return found


def demand_lock(store: S3Store, key: str, until: datetime) -> None:
    """After a write that asked for a lock: it is there, or it is set now, or this raises."""
    if locked_until(store, key) is None:
        set_lock(store, key, until)


def set_lock(store: S3Store, key: str, until: datetime, *, known: bool = False) -> None:
    """`known`: the server has shown a lock, so it knows what is asked of it."""
    retention = {"Mode": store.options.object_lock_mode, "RetainUntilDate": until}
    failed = store._failed(f"cannot lock {key}")
    known = known or is_aws(store.client)
    if known or knows_retention(store.client, store.bucket, store.prefix, failed):
        with failures(failed):
            store.client.put_object_retention(
                Bucket=store.bucket, Key=store.prefix + key, Retention=retention
            )
        if known or locked_until(store, key) is not None:
            return
    raise NotAllowed(
        f"{store.address} takes `object_lock_days` and locks nothing: {key} can be deleted at any time",
        remedy="leave `object_lock_days:` out, or use a server that keeps object locks; a bucket must have been made with "
        "them (`backup-pipeline bucket setup`)",
    )
