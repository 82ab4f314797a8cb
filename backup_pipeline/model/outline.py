"""What may be known of a backup without a key: enough to list it, to copy it and to decide whether to keep it.

In an encrypted vault it lies beside the manifest as `outline.json`; in a plain one it is made from the manifest when
it is asked for. It names no table, no path and no row count.
"""

from __future__ import annotations

from dataclasses import dataclass

from backup_pipeline.model.manifest import Link, Manifest, Scope
from backup_pipeline.model.orders import Kind


@dataclass(frozen=True, slots=True)
class OutlineObject:
    """An object by its stored bytes."""

    sha256: str
    size: int
    suffix: str
    #: Encrypted: the recipients that can open it, where they are others than those of the manifest.
    recipients: str = ""


@dataclass(frozen=True, slots=True)
class Outline:
    system: str
    id: str
    kind: Kind
    scope: Scope
    started_at: str
    snapshot_at: str
    finished_at: str
    #: Of the manifest as it lies in the store (encrypted, where the vault is).
    manifest_sha256: str
    #: Plain bytes of the whole backup: rows, database file and file trees.
    bytes: int
    objects: tuple[OutlineObject, ...]
    previous: Link | None = None
    #: What was wrong with it when it was made, counted: an error makes it degraded.
    errors: int = 0
    warnings: int = 0
    #: Of the plain manifest: what a host without the key remembers of it is compared with this.
    content_sha256: str = ""
    #: Encrypted: the recipients of the manifest and of every object that names no others.
    recipients: str = ""
    format: int = 1

    @property
    def stored(self) -> int:
        return sum(one.size for one in self.objects)

    @property
    def degraded(self) -> bool:
        return self.errors > 0


def outline_of(
    manifest: Manifest, manifest_sha256: str, content_sha256: str = "", recipients: str = ""
) -> Outline:
    return Outline(
        system=manifest.system,
        id=manifest.id,
        kind=manifest.kind,
        scope=manifest.scope,
        started_at=manifest.started_at,
        snapshot_at=manifest.snapshot_at,
        finished_at=manifest.finished_at,
        manifest_sha256=manifest_sha256,
        bytes=manifest.bytes,
        objects=tuple(
            OutlineObject(
                one.sha256, one.size, one.suffix, "" if one.recipients == recipients else one.recipients
            )
            for one in manifest.objects()
        ),
        previous=manifest.previous,
        errors=len(manifest.lacking),
        warnings=sum(1 for finding in manifest.findings if finding.severity == "warning"),
        content_sha256=content_sha256,
        recipients=recipients,
    )
