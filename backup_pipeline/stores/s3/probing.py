"""What a server does, found out by trying: S3 has no request that says so, and the servers differ.

Each process asks once, with the same key below `tmp/`, which is never listed. So an account that may not delete leaves
one small object.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

from backup_pipeline.errors import AlreadyExists, StoreUnavailable, VaultError
from backup_pipeline.services.aws import Failure, classify, failures, is_aws
from backup_pipeline.stores.s3.content import base64

PROBE = "tmp/create-once"
TEXT = b"Written by backup-pipeline to learn what this server promises. It may be deleted at any time.\n"

Raised = Callable[[Failure], Exception]

_known: dict[tuple[int, str, str, str, str], bool] = {}
_lock = threading.Lock()


def creates_once(client: Any, bucket: str, prefix: str, raised: Raised) -> bool:
    """Whether If-None-Match is honoured: a key that is there must not be created a second time."""
    return _ask("once", client, bucket, prefix, lambda: _creates_once(client, bucket, prefix, raised))


def checks_bodies(client: Any, bucket: str, prefix: str, raised: Raised) -> bool:
    """Whether a body is compared with the digest that is sent along, before it becomes the object."""
    if is_aws(client):
        return True
    return _ask("bodies", client, bucket, prefix, lambda: _checks_bodies(client, bucket, prefix, raised))


def knows_retention(client: Any, bucket: str, prefix: str, raised: Raised) -> bool:
    """Whether the lock of an object is something that can be asked for."""
    return _ask("retention", client, bucket, prefix, lambda: _knows_retention(client, bucket, prefix, raised))


def _ask(what: str, client: Any, bucket: str, prefix: str, question: Callable[[], bool]) -> bool:
    key = (os.getpid(), what, client.meta.endpoint_url, bucket, prefix)
    with _lock:
        if key not in _known:
            _known[key] = question()
        return _known[key]


def _creates_once(client: Any, bucket: str, prefix: str, raised: Raised) -> bool:
    for _ in range(2):
        try:
            with failures(raised):
                client.put_object(Bucket=bucket, Key=prefix + PROBE, Body=TEXT, IfNoneMatch="*")
        except AlreadyExists:
            return True
        except StoreUnavailable:
            raise
        except VaultError:
            return False  # it does not know the header, or we may not write here
    return False


def _checks_bodies(client: Any, bucket: str, prefix: str, raised: Raised) -> bool:
    refused = False

    def noticed(failure: Failure) -> Exception:
        nonlocal refused
        refused = failure.code in ("BadDigest", "InvalidDigest")
        return raised(failure)

    try:
        with failures(noticed):
            client.put_object(Bucket=bucket, Key=prefix + PROBE, Body=TEXT, ContentMD5=base64(bytes(16)))
    except StoreUnavailable:
        if not refused:
            raise
    except VaultError:
        return True  # we may not write here, so nothing of ours can arrive damaged
    return refused


def _knows_retention(client: Any, bucket: str, prefix: str, raised: Raised) -> bool:
    """A server that does not know the question gives the object itself for an answer."""
    from botocore.exceptions import ClientError

    with failures(raised):
        client.put_object(Bucket=bucket, Key=prefix + PROBE, Body=TEXT)
        try:
            answer = client.get_object_retention(Bucket=bucket, Key=prefix + PROBE)
        except ClientError as error:
            # boto3 makes a 500 of a success that it cannot read.
            if "etag" in error.response["ResponseMetadata"]["HTTPHeaders"]:
                return False
            failure = classify(error)
            if failure.kind in ("busy", "denied"):
                raise
            return failure.kind != "unsupported"
    return bool(answer.get("Retention"))
