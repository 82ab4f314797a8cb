"""What a bucket should be like, and what it was found to be like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Lifecycle:
    #: (storage class, days), in the order in which an object passes through them.
    transitions: tuple[tuple[str, int], ...] = ()
    abort_uploads_days: int = 7
    old_versions_days: int = 30


@dataclass(frozen=True, slots=True)
class Wanted:
    bucket: str
    #: The prefix of the keys that may move to a class that has to be thawed: every other key must be readable at once.
    freezable: str
    #: "" or "backups/shop/": where in the bucket the vault lies.
    prefix: str = ""
    region: str | None = None
    lifecycle: Lifecycle = Lifecycle()
    #: AES256 | aws:kms
    encryption: str = "AES256"
    kms_key_id: str | None = None
    object_lock_days: int | None = None
    #: False where we speak plain http ourselves: the policy would lock everybody out, us too.
    tls_only: bool = True
    #: A server of our own or of another provider, and not AWS.
    endpoint: str | None = None
    #: The parts that the configuration asks for by a setting of its own: a server without them cannot do what was asked.
    asked: frozenset[str] = frozenset()

    @property
    def partition(self) -> str:
        region = self.region or ""
        return (
            "aws-cn" if region.startswith("cn-") else "aws-us-gov" if region.startswith("us-gov-") else "aws"
        )

    @property
    def arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.bucket}"


@dataclass(frozen=True, slots=True)
class Unknown:
    """Something that the server did not tell."""

    why: Literal["not-offered", "denied"]
    said: str


@dataclass(frozen=True, slots=True)
class Witness:
    """An object of the vault, and whether the server says that it is locked."""

    key: str
    locked: bool


@dataclass(frozen=True, slots=True)
class Current:
    """What a bucket is like; None: nothing is set. A bucket that is not there has `exists` False and nothing else."""

    exists: bool
    #: Enabled | Suspended
    versioning: str | Unknown | None = None
    #: The four switches.
    public_access: Document | Unknown | None = None
    policy: Document | Unknown | None = None
    #: The default encryption: {"SSEAlgorithm": …, "KMSMasterKeyID": …}
    encryption: Document | Unknown | None = None
    lifecycle: tuple[Document, ...] | Unknown = ()
    #: {"ObjectLockEnabled": "Enabled", "Rule": …}
    object_lock: Document | Unknown | None = None
    #: The largest object that was written within `object_lock_days`: it should be locked.
    witness: Witness | None = None
