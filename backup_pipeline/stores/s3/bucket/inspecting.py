"""What a bucket is like, as far as the server tells.

Servers differ: R2, rclone and Ceph know some of this and not the rest. What one does not know is `Unknown`, and the
rest is looked at all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from backup_pipeline.errors import StoreUnavailable, VaultError
from backup_pipeline.services import aws
from backup_pipeline.stores.s3.bucket.wanted import Current, Unknown, Wanted, Witness

#: "Nothing of that kind is set."
_UNSET = frozenset(
    {
        "NoSuchBucketPolicy",
        "NoSuchLifecycleConfiguration",
        "NoSuchObjectLockConfiguration",
        "NoSuchPublicAccessBlockConfiguration",
        "ObjectLockConfigurationNotFoundError",
        "ServerSideEncryptionConfigurationNotFoundError",
    }
)
_NOT_OFFERED = frozenset(
    {"405", "501", "MethodNotAllowed", "NotImplemented", "NotSupported", "UnsupportedOperation"}
)

_REMEDIES = {
    "BucketAlreadyExists": "the names of buckets are shared with the whole world, and this one is taken: choose another",
    "BucketAlreadyOwnedByYou": "it was made since we looked: run it again",
    "TooManyBuckets": "remove a bucket, or ask AWS for more",
}


def asked(call: Callable[..., Any], **arguments: Any) -> Any:
    """The server's answer, or the `aws.Failure` that it gave instead."""
    try:
        with aws.failures(aws.Failed):
            return call(**arguments)
    except aws.Failed as error:
        return error.failure


def raised(failure: aws.Failure, bucket: str) -> VaultError:
    busy = failure.kind == "busy"
    remedy = failure.remedy or ("run it again in a minute" if busy else _REMEDIES.get(failure.code, ""))
    return (StoreUnavailable if busy else VaultError)(
        f"the bucket {bucket}: {failure.message}", remedy=remedy
    )


def meaning(failure: aws.Failure, bucket: str) -> Unknown | None:
    """None: it is not set. Anything else (a wrong secret, a server that is down) is raised."""
    if failure.code in _UNSET:
        return None
    if failure.code in _NOT_OFFERED or failure.kind == "unsupported":
        return Unknown("not-offered", failure.code)
    if failure.kind == "denied":
        return Unknown("denied", failure.code)
    raise raised(failure, bucket)


#: Part → the request that asks for it, and where in the answer it stands.
_QUESTIONS: dict[str, tuple[str, str]] = {
    "versioning": ("get_bucket_versioning", "Status"),
    "public access": ("get_public_access_block", "PublicAccessBlockConfiguration"),
    "policy": ("get_bucket_policy", "Policy"),
    "encryption": ("get_bucket_encryption", "ServerSideEncryptionConfiguration"),
    "lifecycle": ("get_bucket_lifecycle_configuration", "Rules"),
    "object lock": ("get_object_lock_configuration", "ObjectLockConfiguration"),
}


def look(client: Any, wanted: Wanted) -> Current:
    bucket = wanted.bucket
    if not _exists(client, bucket):
        return Current(exists=False)

    def ask(part: str) -> Any:
        call, inside = _QUESTIONS[part]
        answer = asked(getattr(client, call), Bucket=bucket)
        return meaning(answer, bucket) if isinstance(answer, aws.Failure) else answer.get(inside) or None

    encryption, lifecycle, policy = ask("encryption"), ask("lifecycle"), ask("policy")
    if isinstance(encryption, dict):
        rules = encryption.get("Rules") or [{}]
        encryption = rules[0].get("ApplyServerSideEncryptionByDefault")
    return Current(
        exists=True,
        versioning=ask("versioning"),
        public_access=ask("public access"),
        policy=_parsed(policy) if isinstance(policy, str) else policy,
        encryption=encryption,
        lifecycle=lifecycle if isinstance(lifecycle, Unknown) else tuple(lifecycle or ()),
        object_lock=ask("object lock"),
        witness=_witness(client, wanted),
    )


def is_unknown(client: Any, bucket: str, part: str) -> bool:
    """Whether the server does not know the part: it lists the bucket instead (Ceph 16, Swift), and takes the PUT for a
    CreateBucket. One that knows it says by an error that it is not set; of versions alone by an empty answer."""
    if part not in _QUESTIONS or part == "versioning":
        return False
    call, inside = _QUESTIONS[part]
    answer = asked(getattr(client, call), Bucket=bucket)
    return not isinstance(answer, aws.Failure) and not answer.get(inside)


def _witness(client: Any, wanted: Wanted) -> Witness | None:
    """Of the first page alone: one that is not locked is enough to know that locks are not to be trusted. AWS keeps them,
    and shows them to credentials alone that may see them."""
    if wanted.object_lock_days is None or wanted.endpoint is None:
        return None
    prefix = wanted.prefix + wanted.freezable
    answer = asked(client.list_objects_v2, Bucket=wanted.bucket, Prefix=prefix)
    if isinstance(answer, aws.Failure):
        return None
    since = datetime.now(UTC) - timedelta(days=wanted.object_lock_days)
    recent = [one for one in answer.get("Contents", ()) if one["LastModified"] > since]
    if not recent:
        return None
    key = max(recent, key=lambda one: int(one["Size"]))["Key"]
    head = asked(client.head_object, Bucket=wanted.bucket, Key=key)
    if isinstance(head, aws.Failure):
        return None
    return Witness(key.removeprefix(wanted.prefix), "ObjectLockRetainUntilDate" in head)


def _parsed(policy: str) -> Any:
    try:
        return json.loads(policy)
    except ValueError:
        # A server that does not know `?policy` lists the bucket instead.
        return Unknown("not-offered", "what came is no policy")


def _exists(client: Any, bucket: str) -> bool:
    answer = asked(client.head_bucket, Bucket=bucket)
    if not isinstance(answer, aws.Failure):
        return True
    if answer.kind == "missing" or answer.code == "NoSuchBucket":
        return False
    if answer.kind == "denied":
        raise VaultError(
            f"the bucket {bucket} may not be looked at",
            remedy="it belongs to another account (names are taken world-wide: choose another), or these credentials "
            "lack the right: `bucket setup --dry-run --policies` prints the policy `setup` without asking the server",
        )
    raise raised(answer, bucket)
