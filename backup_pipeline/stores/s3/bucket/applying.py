"""Does what a plan says, and looks afterwards whether the server did it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from backup_pipeline.services import aws
from backup_pipeline.stores.s3.bucket import lifecycle, policies
from backup_pipeline.stores.s3.bucket.inspecting import asked, is_unknown, look, meaning, raised
from backup_pipeline.stores.s3.bucket.steps import Part, Step, as_asked, plan, public_access
from backup_pipeline.stores.s3.bucket.wanted import Current, Unknown, Wanted


def apply(client: Any, wanted: Wanted) -> tuple[Step, ...]:
    """The steps as they came out: "change" is now "done". Run again, there is nothing left to change."""
    before = look(client, wanted)
    done: dict[Part, Step] = {}
    for step in plan(before, wanted):
        if step.state == "change":
            done[step.part] = _tried(client, wanted, before, step)
    after = plan(look(client, wanted), wanted) if done else plan(before, wanted)
    return tuple(as_asked(_outcome(step, done.get(step.part)), wanted) for step in after)


def _outcome(now: Step, tried: Step | None) -> Step:
    if tried is None:
        return now
    if tried.state != "change":
        return tried  # refused
    if now.state == "right":
        return replace(tried, state="done")
    return replace(
        tried, state="not-offered", said=f"not kept by this server, although it took it: {tried.said}"
    )


def _tried(client: Any, wanted: Wanted, before: Current, step: Step) -> Step:
    answer = asked(partial(_DEEDS[step.part], client, wanted, before))
    return _refused(client, answer, wanted, step) if isinstance(answer, aws.Failure) else step


def _refused(client: Any, failure: aws.Failure, wanted: Wanted, step: Step) -> Step:
    if step.part == "bucket":
        raise raised(failure, wanted.bucket)
    if failure.code in ("InvalidArgument", "MalformedXML") and is_unknown(client, wanted.bucket, step.part):
        return Step(step.part, "not-offered", f"not offered by this server: {step.said}")
    if failure.code in _REFUSALS:
        return Step(step.part, "stuck", f"refused ({failure.message}): {step.said}", _REFUSALS[failure.code])
    if failure.code in ("BucketAlreadyExists", "BucketAlreadyOwnedByYou"):
        # The server does not know what was asked about the bucket (`?versioning`), and took it for a CreateBucket.
        return Step(step.part, "not-offered", f"not offered by this server: {step.said}")
    found = meaning(failure, wanted.bucket)
    if isinstance(found, Unknown) and found.why == "denied":
        return Step(
            step.part,
            "stuck",
            f"not allowed: {step.said}",
            "run it with credentials that have the policy `setup`, which --policies prints",
        )
    return Step(step.part, "not-offered", f"not offered by this server: {step.said}")


#: What a server that knows the feature answers when this bucket cannot have it.
_REFUSALS = {
    "InvalidBucketState": "object lock wants versions; where the provider gives it to new buckets only, make a new one "
    "(remove the copy of that name, or name another bucket) and let `copy` fill it",
    "MalformedPolicy": "the policy that is there may name an account that is gone: look at it",
    "InvalidArgument": "the server does not take one of the values",
    "InvalidRequest": "the server does not take it in this combination",
    "MalformedXML": "the server does not take one of the values",
}


def _create(client: Any, wanted: Wanted, _: Current) -> None:
    arguments: dict[str, Any] = {"Bucket": wanted.bucket}
    if wanted.region and wanted.region not in ("us-east-1", "auto"):
        arguments["CreateBucketConfiguration"] = {"LocationConstraint": wanted.region}
    if wanted.object_lock_days is not None:
        arguments["ObjectLockEnabledForBucket"] = True
    client.create_bucket(**arguments)


def _version(client: Any, wanted: Wanted, _: Current) -> None:
    client.put_bucket_versioning(Bucket=wanted.bucket, VersioningConfiguration={"Status": "Enabled"})


def _lock(client: Any, wanted: Wanted, before: Current) -> None:
    if before.exists:
        client.put_object_lock_configuration(
            Bucket=wanted.bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"}
        )


def _close(client: Any, wanted: Wanted, _: Current) -> None:
    client.put_public_access_block(Bucket=wanted.bucket, PublicAccessBlockConfiguration=public_access(wanted))


def _encrypt(client: Any, wanted: Wanted, _: Current) -> None:
    default = {"SSEAlgorithm": wanted.encryption}
    if wanted.encryption == "aws:kms" and wanted.kms_key_id:
        default["KMSMasterKeyID"] = wanted.kms_key_id
    rule: dict[str, Any] = {"ApplyServerSideEncryptionByDefault": default}
    if wanted.encryption == "aws:kms":
        rule["BucketKeyEnabled"] = True  # else every object is a request to KMS, which is paid and limited
    client.put_bucket_encryption(Bucket=wanted.bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})


def _forbid(client: Any, wanted: Wanted, before: Current) -> None:
    theirs = before.policy if not isinstance(before.policy, Unknown) else None
    client.put_bucket_policy(Bucket=wanted.bucket, Policy=json.dumps(policies.merged(theirs, wanted)))


def _age(client: Any, wanted: Wanted, before: Current) -> None:
    theirs = before.lifecycle if not isinstance(before.lifecycle, Unknown) else ()
    client.put_bucket_lifecycle_configuration(
        Bucket=wanted.bucket,
        LifecycleConfiguration={"Rules": [dict(rule) for rule in lifecycle.merged(theirs, wanted)]},
    )


_DEEDS: dict[Part, Callable[[Any, Wanted, Current], None]] = {
    "bucket": _create,
    "versioning": _version,
    "object lock": _lock,
    "public access": _close,
    "encryption": _encrypt,
    "policy": _forbid,
    "lifecycle": _age,
}
