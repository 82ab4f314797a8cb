"""Who may do what: the bucket's own policy, and the least IAM policies of those who use it.

    writer   backs up: adds, and can neither delete nor overwrite a backup or an object
    pruner   removes what retention says, with credentials that only `prune` knows
    reader   lists, verifies, restores and thaws
    setup    runs `bucket setup`, and is not needed afterwards

A host that backs up and is taken over can then neither destroy nor change what is already there: it cannot delete,
`if-none-match` keeps it from overwriting, and versions keep what was overwritten elsewhere. The pruner may delete, but no
versions: what it deletes can be brought back for `old_versions_days`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from backup_pipeline.stores.s3.bucket.wanted import Document, Wanted

VERSION = "2012-10-17"
TLS_ONLY = "BackupPipelineTlsOnly"


def tls_statement(wanted: Wanted) -> dict[str, Any]:
    return {
        "Sid": TLS_ONLY,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [wanted.arn, f"{wanted.arn}/*"],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }


def statements(policy: Document | None) -> list[Any]:
    """A policy of one statement may hold it without a list."""
    found = (policy or {}).get("Statement", [])
    return list(found) if isinstance(found, list) else [found]


def merged(policy: Document | None, wanted: Wanted) -> dict[str, Any]:
    """The bucket's policy with ours in it; every foreign statement stays as it is."""
    theirs = [one for one in statements(policy) if one.get("Sid") != TLS_ONLY]
    return {**(policy or {"Version": VERSION}), "Statement": [*theirs, tls_statement(wanted)]}


def as_wanted(policy: Document | None, wanted: Wanted) -> bool:
    ours = [one for one in statements(policy) if one.get("Sid") == TLS_ONLY]
    return [_plain(one) for one in ours] == [_plain(tls_statement(wanted))]


def all_policies(
    wanted: Wanted, *, mutable: Iterable[str], once: Iterable[str], records: Iterable[str]
) -> dict[str, dict[str, Any]]:
    return {
        "writer": writer(wanted, mutable, once),
        "pruner": pruner(wanted, records),
        "reader": reader(wanted),
        "setup": setup(wanted),
    }


def writer(wanted: Wanted, mutable: Iterable[str], once: Iterable[str]) -> dict[str, Any]:
    """`mutable`: the working files, which come and go while a backup is made. `once`: the keys that are never overwritten."""
    puts = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    if wanted.object_lock_days is not None:
        # Read before it is extended: an object that many backups name is locked for the newest one's days.
        puts += ["s3:PutObjectRetention", "s3:GetObjectRetention"]
    return _policy(
        *_listing(wanted),
        _allow("Read", ["s3:GetObject"], _keys(wanted, "*")),
        _allow("Add", puts, _keys(wanted, "*")),
        _allow("RemoveWorkingFiles", ["s3:DeleteObject"], _keys(wanted, *mutable, *_aside(wanted))),
        # PutObject alone would allow to write over what is there. The second condition leaves the parts of a
        # multipart upload alone: it is their completion that creates the object.
        {
            "Sid": "NeverOverwrite",
            "Effect": "Deny",
            "Action": ["s3:PutObject"],
            "Resource": _keys(wanted, *once),
            "Condition": {
                "Null": {"s3:if-none-match": "true"},
                "Bool": {"s3:ObjectCreationOperation": "true"},
            },
        },
        *_kms(wanted, "kms:GenerateDataKey", "kms:Decrypt"),
    )


def pruner(wanted: Wanted, records: Iterable[str]) -> dict[str, Any]:
    """The pruner may delete every key below the prefix. `records`: the keys that it writes."""
    # What is locked is kept: a deletion would only hide it.
    sees = ["s3:GetObjectRetention"] if wanted.object_lock_days is not None else []
    return _policy(
        *_listing(wanted),
        _allow("Read", ["s3:GetObject", *sees], _keys(wanted, "*")),
        _allow("Remove", ["s3:DeleteObject"], _keys(wanted, "*")),
        _allow("RecordWhatIsRemoved", ["s3:PutObject"], _keys(wanted, *records, *_aside(wanted))),
        *_kms(wanted, "kms:GenerateDataKey", "kms:Decrypt"),
    )


def reader(wanted: Wanted) -> dict[str, Any]:
    return _policy(
        *_listing(wanted),
        _allow("Read", ["s3:GetObject"], _keys(wanted, "*")),
        _allow("Thaw", ["s3:RestoreObject"], _keys(wanted, wanted.freezable + "*")),
        *_kms(wanted, "kms:Decrypt"),
    )


def setup(wanted: Wanted) -> dict[str, Any]:
    things = (
        "BucketVersioning",
        "BucketPublicAccessBlock",
        "BucketPolicy",
        "EncryptionConfiguration",
        "LifecycleConfiguration",
        "BucketObjectLockConfiguration",
    )
    actions = [f"s3:{verb}{thing}" for thing in things for verb in ("Get", "Put")]
    return _policy(_allow("SetUp", ["s3:CreateBucket", "s3:ListBucket", *actions], [wanted.arn]))


def _policy(*found: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": VERSION, "Statement": [dict(one) for one in found]}


def _allow(sid: str, actions: list[str], resources: list[str]) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resources}


def _keys(wanted: Wanted, *patterns: str) -> list[str]:
    return [f"{wanted.arn}/{wanted.prefix}{pattern}" for pattern in patterns]


def _listing(wanted: Wanted) -> list[dict[str, Any]]:
    """Listing is a right on the bucket, narrowed to the prefix. An account that may not list is told AccessDenied
    of every missing key. Asking for a key gives no prefix: hence IfExists."""
    made = _allow("List", ["s3:ListBucket"], [wanted.arn])
    if wanted.prefix:
        made["Condition"] = {"StringLikeIfExists": {"s3:prefix": [f"{wanted.prefix}*"]}}
    return [made, _allow("SeeUploads", ["s3:ListBucketMultipartUploads"], [wanted.arn])]


def _aside(wanted: Wanted) -> tuple[str, ...]:
    """A server that does not check what arrives gets it below `tmp/` first. AWS checks."""
    return ("tmp/*",) if wanted.endpoint is not None else ()


def _kms(wanted: Wanted, *actions: str) -> list[dict[str, Any]]:
    if wanted.encryption != "aws:kms":
        return []
    key = wanted.kms_key_id or "*"
    if key != "*" and not key.startswith("arn:"):
        # An ID or an alias: which account and region it is in is not ours to guess.
        key = f"arn:{wanted.partition}:kms:*:*:{key if key.startswith('alias/') else f'key/{key}'}"
    return [_allow("UseTheKey", list(actions), [key])]


def _plain(value: Any) -> Any:
    """As AWS gives it back: lists of one as the one, in any order."""
    if isinstance(value, dict):
        return sorted((key, _plain(item)) for key, item in value.items())
    if isinstance(value, list):
        return sorted(str(item) for item in value) if len(value) != 1 else str(value[0])
    return str(value).lower() if isinstance(value, bool) else str(value)
