"""What the doctor asks of a bucket: whether it takes the settings of the store, before a night depends on it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from backup_pipeline.errors import BackupError
from backup_pipeline.model.findings import Finding
from backup_pipeline.services.aws import Failure, failures, is_aws
from backup_pipeline.stores.s3 import object_locks
from backup_pipeline.stores.s3.content import base64

if TYPE_CHECKING:
    from backup_pipeline.stores.s3.store import S3Store

KEY = "tmp/doctor"
LOCKED = "tmp/doctor-locked"
PROBE = b"probe"
#: Long enough for clocks that differ, and soon over.
LOCKED_FOR = timedelta(hours=1)
Failed = Callable[[str], Callable[[Failure], Exception]]

#: Setting → the parameters of a request that it stands behind. They are what a server that does not know them refuses.
_BEHIND = {
    "object_lock_days": ("ObjectLockMode", "ObjectLockRetainUntilDate"),
    "storage_class": ("StorageClass",),
    "server_side_encryption": ("ServerSideEncryption",),
    "kms_key_id": ("SSEKMSKeyId",),
}


def remedy_for(attributes: dict[str, Any]) -> str:
    """Where a server refuses a write and does not say why: what was asked of it beside the bytes."""
    asked = [name for name, keys in _BEHIND.items() if any(key in attributes for key in keys)]
    if not asked:
        return ""
    settings = " or ".join(f"`{name}:`" for name in asked)
    return f"the server may not take {settings} of this store: leave it out, or let `backup-pipeline bucket setup` say what is missing"


def advice(store: S3Store, attributes: dict[str, Any], failed: Failed) -> Iterator[Finding]:
    """`attributes`: what the store sends with every object."""
    if store.options.object_lock_days:
        try:
            _lock_a_probe(store, attributes, failed)
        except BackupError as error:
            yield _refused("object_lock_days", error)
    if store.options.storage_class:
        more = {**attributes, "StorageClass": store.options.storage_class}
        try:
            with failures(failed("cannot write a probe")):
                store.client.put_object(Bucket=store.bucket, Key=store.prefix + KEY, Body=PROBE, **more)
        except BackupError as error:
            yield _refused("storage_class", error)


def _lock_a_probe(store: S3Store, attributes: dict[str, Any], failed: Failed) -> None:
    """Nothing can take it away before its hour is over. So one that is locked still is proof enough, and those of
    earlier looks are taken away when they can be: a bucket holds one or two, of five bytes each."""
    now, mode = datetime.now(UTC), store.options.object_lock_mode
    head = store.head(LOCKED) or {}
    until = head.get("ObjectLockRetainUntilDate")
    if until is not None and until > now + timedelta(minutes=1) and head.get("ObjectLockMode") == mode:
        return
    _take_earlier_away(store, failed)
    until = now + LOCKED_FOR
    lock = {"ObjectLockMode": mode, "ObjectLockRetainUntilDate": until}
    md5 = base64(hashlib.md5(PROBE, usedforsecurity=False).digest())
    with failures(failed("cannot write and lock a probe")):
        store.client.put_object(
            Bucket=store.bucket,
            Key=store.prefix + LOCKED,
            Body=PROBE,
            ContentMD5=md5,
            **attributes,
            **lock,
        )
    if not is_aws(store.client):  # AWS refuses what it does not lock
        object_locks.demand_lock(store, LOCKED, until)


def _take_earlier_away(store: S3Store, failed: Failed) -> None:
    """Without the right to, the bucket's lifecycle does it (`old_versions_days`)."""
    key = store.prefix + LOCKED
    with suppress(BackupError), failures(failed("cannot look for earlier probes")):
        page = store.client.list_object_versions(Bucket=store.bucket, Prefix=key)
        for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
            if one["Key"] == key:
                store.client.delete_object(Bucket=store.bucket, Key=key, VersionId=one["VersionId"])


def _refused(setting: str, error: BackupError) -> Finding:
    return Finding.of("setting-refused", setting=setting, why=error.message)
