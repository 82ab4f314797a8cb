"""Does a manifest belong where it lies? What every reader asks before it believes one.

A writer to the store can copy an old backup to a newer id, exchange two manifests, or name an object `../x`. `verify` tells
each of these apart (`checks.structure`); every other verb refuses the backup and goes on with the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from backup_pipeline.errors import Damaged
from backup_pipeline.model.findings import HEAL_MANIFEST
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.manifest import Manifest

if TYPE_CHECKING:
    from backup_pipeline.vault.backup import Backup

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"(\.[a-z0-9]+)+")
#: Of an object, in bytes; what is added up of them must fit a machine's number.
_MOST = 1 << 50


class Named(Protocol):
    """An object, as a manifest or an outline names it."""

    @property
    def sha256(self) -> str: ...
    @property
    def suffix(self) -> str: ...
    @property
    def size(self) -> int: ...


def demand(backup: Backup, manifest: Manifest) -> None:
    """Raises Damaged with what is wrong."""
    what = f"the manifest of {backup}"
    if (manifest.system, manifest.id) != (backup.system, backup.id):
        raise Damaged(
            f"{what} is that of {manifest.system} {manifest.id}: it was put in its place",
            remedy=HEAL_MANIFEST,
        )
    if not backup.seal_holds():
        raise Damaged(f"{what} was altered since it was sealed", remedy=HEAL_MANIFEST)
    sound(what, (manifest.started_at, manifest.snapshot_at, manifest.finished_at), manifest.objects())


def sound(what: str, times: Iterable[str], objects: Iterable[Named]) -> None:
    """Of a manifest or an outline: nothing in it can end a reader that builds on it."""
    for moment in times:
        parse_timestamp(moment)
    for one in objects:
        if not (_DIGEST.fullmatch(one.sha256) and _SUFFIX.fullmatch(one.suffix) and 0 <= one.size < _MOST):
            raise Damaged(
                f"{what} names an object that can be none: {(one.sha256 + one.suffix)[:80]!r}",
                remedy=HEAL_MANIFEST,
            )
