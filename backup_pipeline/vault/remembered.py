"""Which backup this host wrote last into a vault, so that a vault that was set back is noticed.

Who writes to a store can delete the newest backup and set newest.json back, or put the whole vault back to an older state:
what is there is then whole, and nothing in it misses anything. This host does. It speaks of what it wrote itself: of
several hosts each remembers its own.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.manifest import Link
from backup_pipeline.model.vault_records import Newest
from backup_pipeline.stores.rights import make_folders, write
from backup_pipeline.vault import records, signing

if TYPE_CHECKING:
    from backup_pipeline.vault.vault import Vault


@dataclass(frozen=True, slots=True)
class Remembered:
    #: Of one vault, in the state folder.
    folder: Path
    #: That there is a vault at this address: who takes it away begins an empty vault there (`project.expected`).
    place: Path

    def newest(self, system: str) -> Link | None:
        """None where this host never wrote one, and where its note cannot be read."""
        path = self._path(system)
        if not self.place.exists():
            return None
        try:
            found = canonical.decode(Newest, path.read_bytes(), what=str(path))
        except (OSError, Damaged):
            return None
        return Link(found.id, found.manifest_sha256)

    def keep(self, system: str, link: Link | None) -> None:
        """A backup that was made does not fail for this; `doctor` tells of a state folder that cannot be written."""
        path = self._path(system)
        with suppress(OSError):
            if link is None:
                path.unlink(missing_ok=True)
                return
            # <state>/newest/<this>
            make_folders(self.folder, self.folder.parent.parent)
            made = path.with_suffix(".new")
            write(made, canonical.encode(Newest(link.id, link.sha256)))
            made.replace(path)

    def clear(self) -> None:
        with suppress(OSError):
            for path in self.folder.glob("*.json"):
                path.unlink(missing_ok=True)

    def _path(self, system: str) -> Path:
        return self.folder / f"{system}.json"


def set_back(vault: Vault, system: str) -> Link | None:
    """What this host wrote last, where it is not there as it was written, and no record says that it was forgotten."""
    wrote = vault.remembered.newest(system) if vault.remembered else None
    if wrote is None:
        return None
    backup = vault.backup(system, wrote.id)
    recorded = records.forgotten(vault.backup(system, wrote.id)) is not None
    if recorded and signing.counts(backup):
        return None
    try:
        return None if backup.link == wrote else wrote
    except NotFound:
        return wrote
    except Damaged:
        return None  # told of that backup
