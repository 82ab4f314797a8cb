"""The rules by which a bucket moves, aborts and expires by itself. Ours are known by their IDs; all others stay.

Only what lies under `objects/` is ever moved to another class. Manifests, seals, outlines and proofs must be readable
at once: they name the objects to thaw. On AWS small objects stay where they are, too: the next backup reads
some of them (a schema, the digests of a file's blocks), and in an archive each costs more than it saves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from backup_pipeline.stores.s3.bucket.wanted import Document, Wanted

_OURS = "backup-pipeline"
#: Classes from which nothing can be read before it was asked for.
FROZEN = ("GLACIER", "DEEP_ARCHIVE")
#: Bytes; what is not larger is not moved.
SMALL = 1024 * 1024


def rule_id(wanted: Wanted, what: str) -> str:
    """Two vaults may share a bucket: each has rules of its own."""
    return f"{_OURS}: {what} of {wanted.prefix or 'the bucket'}"


def rules(wanted: Wanted) -> tuple[dict[str, Any], ...]:
    life = wanted.lifecycle
    found: list[dict[str, Any]] = []
    if life.transitions:
        found.append(
            {
                "ID": rule_id(wanted, "old objects"),
                "Status": "Enabled",
                "Filter": _freezable(wanted),
                "Transitions": [{"Days": days, "StorageClass": name} for name, days in life.transitions],
            }
        )
    found.append(
        {
            "ID": rule_id(wanted, "broken uploads"),
            "Status": "Enabled",
            "Filter": {"Prefix": wanted.prefix},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": life.abort_uploads_days},
        }
    )
    found.append(
        {
            "ID": rule_id(wanted, "old versions"),
            "Status": "Enabled",
            "Filter": {"Prefix": wanted.prefix},
            "NoncurrentVersionExpiration": {"NoncurrentDays": life.old_versions_days},
            "Expiration": {"ExpiredObjectDeleteMarker": True},
        }
    )
    return tuple(found)


def _freezable(wanted: Wanted) -> dict[str, Any]:
    prefix = wanted.prefix + wanted.freezable
    if wanted.endpoint is not None:
        return {"Prefix": prefix}  # few other servers know rules by size
    return {"And": {"Prefix": prefix, "ObjectSizeGreaterThan": SMALL}}


def merged(current: tuple[Document, ...], wanted: Wanted) -> tuple[Document, ...]:
    """All rules as they should be. The server takes them as one list: what is not in it is gone."""
    ours = {rule["ID"]: rule for rule in rules(wanted)}
    obsolete = {rule_id(wanted, "old objects")} - ours.keys()
    kept = [rule for rule in current if rule.get("ID") not in ours and rule.get("ID") not in obsolete]
    return (*kept, *ours.values())


def as_wanted(current: tuple[Document, ...], wanted: Wanted) -> bool:
    return _comparable(current) == _comparable(merged(current, wanted))


def dangers(current: tuple[Document, ...], wanted: Wanted) -> Iterator[str]:
    """What foreign rules would do to a vault."""
    ours = {rule["ID"] for rule in rules(wanted)} | {rule_id(wanted, "old objects")}
    for rule in current:
        if rule.get("ID") in ours or rule.get("Status") != "Enabled" or not _touches(rule, wanted.prefix):
            continue
        name = rule.get("ID", "without a name")
        expiration = rule.get("Expiration") or {}
        if "Days" in expiration or "Date" in expiration:
            when = f"after {expiration['Days']} days" if "Days" in expiration else f"on {expiration['Date']}"
            yield f"the rule {name!r} deletes what lies in the vault {when}, backups that are needed too"
        for transition in rule.get("Transitions") or ():
            below = _prefix(rule).startswith(wanted.prefix + wanted.freezable)
            if transition.get("StorageClass") in FROZEN and not below:
                yield f"the rule {name!r} moves manifests to {transition['StorageClass']}: nothing could be listed"


def _touches(rule: Document, prefix: str) -> bool:
    theirs = _prefix(rule)
    return theirs.startswith(prefix) or prefix.startswith(theirs)


def _prefix(rule: Document) -> str:
    place = rule.get("Filter") or {}
    inner = place.get("And") or place
    return str(inner.get("Prefix") or rule.get("Prefix") or "")


def _comparable(found: tuple[Document, ...]) -> list[str]:
    """Servers give rules back in another order, numbers as text, and an empty prefix as none."""
    return sorted(repr(_plain(rule)) for rule in found)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        kept = ((key, _plain(item)) for key, item in value.items())
        return sorted((key, item) for key, item in kept if item not in ("", [], "None"))
    if isinstance(value, list | tuple):
        return sorted((_plain(item) for item in value), key=repr)
    return str(value)
