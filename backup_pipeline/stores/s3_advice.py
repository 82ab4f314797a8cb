"""What the doctor asks of a bucket: whether it takes the settings of the store, before a night depends on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from backup_pipeline.accounts.aws import Failure, failures
from backup_pipeline.errors import BackupError, NotAllowed, VaultError
from backup_pipeline.model.findings import Finding

if TYPE_CHECKING:
    from backup_pipeline.stores.s3 import S3Store

KEY = "tmp/doctor"
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


def advice(
    store: S3Store, attributes: dict[str, Any], failed: Callable[[str], Callable[[Failure], Exception]]
) -> Iterator[Finding]:
    """`attributes`: what the store sends with every object."""
    if store.options.object_lock_days:
        # Nothing that is locked is written: it could not be taken away again.
        try:
            with failures(failed("cannot ask for the object lock")):
                answer = store.client.get_object_lock_configuration(Bucket=store.bucket)
            if not answer.get(
                "ObjectLockConfiguration"
            ):  # it listed the bucket: it does not know the question
                raise VaultError("the server does not know object locks")
        except NotAllowed as error:
            message = f"whether the bucket takes `object_lock_days:` is not known: {error.message}"
            remedy = "`backup-pipeline bucket setup`, with credentials that may look, says it"
            yield Finding("warning", "setting-not-tried", message, remedy=remedy)
        except BackupError as error:
            yield _refused("object_lock_days", error)
    if store.options.storage_class:
        more = {**attributes, "StorageClass": store.options.storage_class}
        try:
            with failures(failed("cannot write a probe")):
                store.client.put_object(Bucket=store.bucket, Key=store.prefix + KEY, Body=b"probe", **more)
        except BackupError as error:
            yield _refused("storage_class", error)


def _refused(setting: str, error: BackupError) -> Finding:
    return Finding(
        "error",
        "setting-refused",
        f"the bucket does not take `{setting}:`: {error.message}",
        remedy=f"leave `{setting}:` out, or let `backup-pipeline bucket setup` say what is missing",
    )
