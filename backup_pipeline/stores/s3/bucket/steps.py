"""The steps from a bucket as it is to the bucket as it should be. Pure: the same two give the same steps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from backup_pipeline.stores.s3.bucket import lifecycle, policies
from backup_pipeline.stores.s3.bucket.wanted import Current, Unknown, Wanted, Witness

Part = Literal[
    "bucket",
    "versioning",
    "object lock",
    "public access",
    "encryption",
    "policy",
    "lifecycle",
    "foreign rules",
]
#: right: nothing to do · change: will be done · done: was done · not-offered: by this server · stuck: cannot be done, or not by us
State = Literal["right", "change", "done", "not-offered", "stuck"]

PUBLIC_ACCESS = {
    "BlockPublicAcls": True,
    "IgnorePublicAcls": True,
    "BlockPublicPolicy": True,
    "RestrictPublicBuckets": True,
}


def public_access(wanted: Wanted) -> dict[str, bool]:
    """Ceph refuses every PutObject under BlockPublicAcls, its owner's too (tracker.ceph.com/issues/49135). The next switch
    makes a public ACL worth nothing, so nothing is lost by leaving it off outside of AWS."""
    return {**PUBLIC_ACCESS, "BlockPublicAcls": wanted.endpoint is None}


@dataclass(frozen=True, slots=True)
class Step:
    part: Part
    state: State
    #: How it is, what is done, or what is in the way.
    said: str
    remedy: str = ""


def plan(current: Current, wanted: Wanted) -> tuple[Step, ...]:
    """In the order in which they are to be done: object lock needs versions."""
    steps = (
        _bucket(current, wanted),
        _versioning(current),
        *_object_lock(current, wanted),
        _public_access(current, wanted),
        _encryption(current, wanted),
        _policy(current, wanted),
        _lifecycle(current, wanted),
        *_foreign(current, wanted),
    )
    return tuple(as_asked(step, wanted) for step in steps)


def as_asked(step: Step, wanted: Wanted) -> Step:
    """That a server does not offer something is an answer, and no failure; unless a setting asks for it."""
    if step.state != "not-offered" or step.part not in wanted.asked:
        return step
    remedy = "leave the setting that asks for it out, or use a server that offers it"
    return replace(step, state="stuck", remedy=step.remedy or remedy)


def _bucket(current: Current, wanted: Wanted) -> Step:
    if current.exists:
        return Step("bucket", "right", f"{wanted.bucket} is there")
    how = ", with object lock" if wanted.object_lock_days is not None else ""
    where = f" in {wanted.region}" if wanted.region else ""
    return Step("bucket", "change", f"create {wanted.bucket}{where}{how}")


def _unknown(part: Part, found: Unknown, without: str) -> Step:
    if found.why == "not-offered":
        return Step(part, "not-offered", f"not offered by this server: {without}")
    return Step(
        part,
        "stuck",
        f"may not be looked at ({found.said})",
        "run it with credentials that have the policy `setup`, which --policies prints",
    )


def _versioning(current: Current) -> Step:
    found = current.versioning
    if isinstance(found, Unknown):
        return _unknown("versioning", found, "what is deleted or overwritten is gone at once")
    if found == "Enabled":
        return Step("versioning", "right", "every version is kept")
    was = "it is suspended" if found else "it is off"
    return Step("versioning", "change", f"keep every version ({was})")


def _object_lock(current: Current, wanted: Wanted) -> tuple[Step, ...]:
    found, days = current.object_lock, wanted.object_lock_days
    if isinstance(found, Unknown):
        if days is None:
            return ()
        return (
            _unknown(
                "object lock", found, f"nothing can be kept from deletion for `object_lock_days: {days}`"
            ),
        )
    on = bool(found) and (found or {}).get("ObjectLockEnabled") == "Enabled"
    if days is None:
        # It cannot be switched off again, and does nothing to objects that do not ask for it.
        return (
            (Step("object lock", "right", "on, and not used: `object_lock_days` is not set"),) if on else ()
        )
    if not on:
        if not current.exists:
            return (Step("object lock", "change", "on from the beginning; it can never be switched off"),)
        return (
            Step(
                "object lock",
                "change",
                "switch it on (of an existing bucket: it needs versions, and can never be switched off)",
            ),
        )
    rule = (found or {}).get("Rule")
    if rule:
        # Ours are locked one by one; a default also locks lock files and journals, whose versions then pile up.
        return (
            Step(
                "object lock",
                "right",
                "on, with a default retention of its own, which keeps the versions of working files as well",
            ),
        )
    return (_locking(current.witness, days),)


def _locking(witness: Witness | None, days: int) -> Step:
    """Servers take the setting of a bucket, and ignore it when objects are written (Ceph 16: those in parts)."""
    if witness is None:
        said = f"on; each object asks for {days} days as it is written, and a backup fails where it does not get them"
        return Step("object lock", "right", said)
    if witness.locked:
        return Step(
            "object lock", "right", f"on; {witness.key} is locked, the largest of the last {days} days"
        )
    return Step(
        "object lock",
        "stuck",
        f"on, and {witness.key} is not locked, the largest object of the last {days} days",
        "run a backup: it locks what it names, or says that the server does not",
    )


def _public_access(current: Current, wanted: Wanted) -> Step:
    found = current.public_access
    if isinstance(found, Unknown):
        return _unknown("public access", found, "see to it that the bucket is not public by other means")
    switches = public_access(wanted)
    differing = [name for name, on in switches.items() if bool((found or {}).get(name)) is not on]
    if not differing:
        ways = "all four" if all(switches.values()) else "three"
        return Step("public access", "right", f"blocked, in {ways} ways")
    missing = [name for name in differing if switches[name]]
    said = [f"block it ({', '.join(missing)})"] if missing else []
    if len(missing) < len(differing):
        said.append("BlockPublicAcls off: under it, Ceph refuses every write")
    return Step("public access", "change", "; ".join(said))


def _encryption(current: Current, wanted: Wanted) -> Step:
    found = current.encryption
    if isinstance(found, Unknown):
        return _unknown("encryption", found, "`encryption:` of backup.yaml does not depend on it")
    if found is not None and _encrypts(found, wanted):
        return Step("encryption", "right", f"at rest, {found['SSEAlgorithm']}")
    key = f" with {wanted.kms_key_id}" if wanted.kms_key_id else ""
    was = f" (it is {found['SSEAlgorithm']})" if found else ""
    return Step("encryption", "change", f"encrypt at rest by default: {wanted.encryption}{key}{was}")


def _encrypts(found: Any, wanted: Wanted) -> bool:
    """A stronger default of the bucket is left alone where backup.yaml asks for nothing in particular."""
    algorithm = str(found.get("SSEAlgorithm"))
    if wanted.encryption == "AES256":
        return algorithm in ("AES256", "aws:kms", "aws:kms:dsse")
    return algorithm == wanted.encryption and wanted.kms_key_id in (None, found.get("KMSMasterKeyID"))


def _policy(current: Current, wanted: Wanted) -> Step:
    found = current.policy
    if not wanted.tls_only:
        return Step(
            "policy",
            "not-offered",
            "`endpoint:` is plain http: a policy that wants TLS would lock out everybody, this host too",
            "put TLS before that server, or use it only in a network without listeners",
        )
    if isinstance(found, Unknown):
        return _unknown("policy", found, "plain http cannot be forbidden")
    if policies.as_wanted(found, wanted):
        return Step("policy", "right", "TLS only")
    others = len([one for one in policies.statements(found) if one.get("Sid") != policies.TLS_ONLY])
    kept = f"; {others} other statement{'s stay' if others != 1 else ' stays'}" if others else ""
    return Step("policy", "change", f"forbid everything that does not come over TLS{kept}")


def _lifecycle(current: Current, wanted: Wanted) -> Step:
    found = current.lifecycle
    if isinstance(found, Unknown):
        return _unknown(
            "lifecycle", found, "broken uploads are swept by backup-pipeline, nothing is moved or expired"
        )
    life = wanted.lifecycle
    moves = [f"objects to {name} after {days} days" for name, days in life.transitions]
    said = ", ".join(
        [
            *moves,
            f"broken uploads end after {life.abort_uploads_days} days",
            f"old versions after {life.old_versions_days}",
        ]
    )
    if lifecycle.as_wanted(found, wanted):
        return Step("lifecycle", "right", said)
    ours = len(lifecycle.merged(found, wanted)) - len(lifecycle.rules(wanted))
    kept = f"; {ours} other rule{'s stay' if ours != 1 else ' stays'}" if ours else ""
    return Step("lifecycle", "change", said + kept)


def _foreign(current: Current, wanted: Wanted) -> tuple[Step, ...]:
    if isinstance(current.lifecycle, Unknown):
        return ()
    return tuple(
        Step(
            "foreign rules",
            "stuck",
            danger,
            "narrow that rule to another prefix: it is not ours, so it is left alone",
        )
        for danger in lifecycle.dangers(current.lifecycle, wanted)
    )
