"""What a bucket is like, as far as the server tells.

Servers differ: R2, rclone and Ceph know some of this and not the rest. What one does not know is `Unknown`, and the
rest is looked at all the same.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from backup_pipeline.accounts import aws
from backup_pipeline.errors import StoreUnavailable, VaultError
from backup_pipeline.stores.s3bucket.wanted import Current, Unknown

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


class _Said(Exception):
    def __init__(self, failure: aws.Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def asked(call: Callable[..., Any], **arguments: Any) -> Any:
    """The server's answer, or the `aws.Failure` that it gave instead."""
    try:
        with aws.failures(_Said):
            return call(**arguments)
    except _Said as said:
        return said.failure


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


def look(client: Any, bucket: str) -> Current:
    if not _exists(client, bucket):
        return Current(exists=False)

    def ask(call: Callable[..., Any], *inside: str) -> Any:
        answer = asked(call, Bucket=bucket)
        if isinstance(answer, aws.Failure):
            return meaning(answer, bucket)
        for step in inside:
            answer = answer.get(step)
            if not answer:
                return None
        return answer

    encryption = ask(client.get_bucket_encryption, "ServerSideEncryptionConfiguration", "Rules")
    lifecycle = ask(client.get_bucket_lifecycle_configuration, "Rules")
    policy = ask(client.get_bucket_policy, "Policy")
    return Current(
        exists=True,
        versioning=ask(client.get_bucket_versioning, "Status"),
        public_access=ask(client.get_public_access_block, "PublicAccessBlockConfiguration"),
        policy=_parsed(policy) if isinstance(policy, str) else policy,
        encryption=encryption[0].get("ApplyServerSideEncryptionByDefault")
        if isinstance(encryption, list)
        else encryption,
        lifecycle=lifecycle if isinstance(lifecycle, Unknown) else tuple(lifecycle or ()),
        object_lock=ask(client.get_object_lock_configuration, "ObjectLockConfiguration"),
    )


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
            remedy="it belongs to somebody else (names are taken world-wide: choose another), or these credentials "
            "lack the right: `bucket setup --dry-run --policies` prints the policy `setup` without asking the server",
        )
    raise raised(answer, bucket)
