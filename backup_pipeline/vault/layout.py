"""Every key of a vault, in one place, each with an example."""

from __future__ import annotations

from typing import Protocol

#: What this folder is, and which format it has.
VAULT = "vault.json"
#: The description of the format, for a reader in ten years.
FORMAT = "FORMAT.md"
OBJECTS = "objects/"
#: Beside a backup: who wrote it.
SEAL_SIGNATURE = "seal.sig"
#: Behind the name of a record of forgetting: who wrote it.
SIGNATURE = ".sig"
#: Damaged objects that were taken out of the way. No system can be called this.
SET_ASIDE = "set-aside/"
#: A prune is running: only one does at a time.
PRUNE_LOCK = "lock.json"
#: Objects that nothing names: since when, and which of them are being deleted at this moment.
GARBAGE = "garbage.json"
#: What was read back, and when.
SCRUB = "scrub.json"
#: Keys that come and go while people work (fnmatch): no store may lock them against deletion.
MUTABLE = (
    "*/lock.json",
    "*/drafts/*",
    "*/journal/*",
    "*/proofs/*",
    "*/pin.json",
    "*/newest.json",
    "*/accepted.json",
    "*/acks.json",
    "*/acks.json.age",
    "lock.json",
    "garbage.json",
    "scrub.json",
)

#: Keys that a writer creates and never overwrites.
CREATED_ONCE = (f"{OBJECTS}*", "*/manifest.json*", "*/outline.json*", "*/forgotten/*", "*/restores/*")
#: Keys that a prune writes beside its deletions.
PRUNE_RECORDS = (
    "*/forgotten/*",
    "*/accepted.json",
    "*/acks.json",
    "*/acks.json.age",
    "*/lock.json",
    "lock.json",
    "garbage.json",
)
#: The folders of backups, as a glob: shop/2026-11-21T02-00-00-123Z
BACKUPS = "*/[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]T*Z"

#: Rows, blocks and packs: large, and read for a restore only. What a listing or the next backup reads (manifests,
#: schemas, maps, digests, listings) stays where it can be read at once. Encrypted objects end with .age.
ARCHIVABLE = tuple(
    f"{OBJECTS}*{suffix}{end}"
    for suffix in (".tsv.zst", ".blocks.zst", ".tar", ".tar.zst")
    for end in ("", ".age")
)


class StoredObject(Protocol):
    """What names an object: ObjectRef, and OutlineObject where there is no key."""

    @property
    def sha256(self) -> str: ...
    @property
    def suffix(self) -> str: ...


def object_key(reference: StoredObject) -> str:
    """objects/9f/9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08.tsv.zst"""
    return f"{OBJECTS}{reference.sha256[:2]}/{reference.sha256}{reference.suffix}"


def backup_prefix(system: str, identifier: str) -> str:
    """shop/2026-11-21T02-00-00-123Z/"""
    return f"{system}/{identifier}/"


def manifest_key(system: str, identifier: str) -> str:
    """shop/2026-11-21T02-00-00-123Z/manifest.json"""
    return f"{system}/{identifier}/manifest.json"


def seal_key(system: str, identifier: str) -> str:
    """shop/2026-11-21T02-00-00-123Z/manifest.json.sha256"""
    return f"{system}/{identifier}/manifest.json.sha256"


def recover_key(system: str, identifier: str) -> str:
    """shop/2026-11-21T02-00-00-123Z/RECOVER.md"""
    return f"{system}/{identifier}/RECOVER.md"


def proof_key(system: str, identifier: str, kind: str, at: str) -> str:
    """shop/2026-11-21T02-00-00-123Z/proofs/drill-2026-11-21T03-00-00-000Z.json"""
    return f"{system}/{identifier}/proofs/{kind}-{at}.json"


def proofs_prefix(system: str, identifier: str) -> str:
    """shop/2026-11-21T02-00-00-123Z/proofs/"""
    return f"{system}/{identifier}/proofs/"


def journal_key(system: str, identifier: str, number: int) -> str:
    """shop/2026-11-21T02-00-00-123Z/journal/000001.json"""
    return f"{system}/{identifier}/journal/{number:06d}.json"


def journal_prefix(system: str, identifier: str) -> str:
    """shop/2026-11-21T02-00-00-123Z/journal/"""
    return f"{system}/{identifier}/journal/"


def draft_key(system: str, token: str) -> str:
    """shop/drafts/5f0c….json — an export that is not committed yet, handed from one step to the next"""
    return f"{system}/drafts/{token}.json"


def outline_key(system: str, identifier: str) -> str:
    """shop/2026-11-21T02-00-00-123Z/outline.json — in an encrypted vault: what may be known without a key"""
    return f"{system}/{identifier}/outline.json"


def signature_key(system: str, identifier: str) -> str:
    """shop/2026-11-21T02-00-00-123Z/seal.sig — who wrote it: 64 bytes, over the seal"""
    return f"{system}/{identifier}/{SEAL_SIGNATURE}"


def pin_key(system: str, identifier: str) -> str:
    """shop/2026-11-21T02-00-00-123Z/pin.json — a person wants this one kept, and why"""
    return f"{system}/{identifier}/pin.json"


def forgotten_key(system: str, identifier: str) -> str:
    """shop/forgotten/2026-11-21T02-00-00-123Z.json — a backup that was removed on purpose"""
    return f"{system}/forgotten/{identifier}.json"


def forgotten_prefix(system: str) -> str:
    """shop/forgotten/"""
    return f"{system}/forgotten/"


def restores_prefix(system: str) -> str:
    """shop/restores/"""
    return f"{system}/restores/"


def restore_prefix(system: str, identifier: str) -> str:
    """shop/restores/r-2026-11-21T02-00-00-123Z/ — the record of a restore that changed a database"""
    return f"{system}/restores/{identifier}/"


def newest_key(system: str) -> str:
    """shop/newest.json — which backup was written last: a newest one that is gone is missed"""
    return f"{system}/newest.json"


def accepted_key(system: str) -> str:
    """shop/accepted.json — up to here a person has looked at an anomaly and found it right"""
    return f"{system}/accepted.json"


def acks_key(system: str) -> str:
    """shop/acks.json — findings that a person accepted, and until when; encrypted in an encrypted vault"""
    return f"{system}/acks.json"


def drafts_prefix(system: str) -> str:
    """shop/drafts/"""
    return f"{system}/drafts/"


def lock_key(system: str) -> str:
    """shop/lock.json"""
    return f"{system}/lock.json"
