"""Places that this machine has written to, so that one that is gone is not taken for an empty one.

A disk that is not mounted looks like a new and empty folder. A new vault in it would be good in every check, fill the
disk of the system, and be hidden by the next mount. So the first backup or copy into a place leaves a
note in the state folder. From then on a place without a vault is an error. Only a person's command brings a lost place
back from another one.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from backup_pipeline.config import Settings
from backup_pipeline.errors import VaultError
from backup_pipeline.state import paths
from backup_pipeline.stores.rights import write
from backup_pipeline.vault import layout
from backup_pipeline.vault.vault import Vault


def expect(settings: Settings, vault: Vault) -> None:
    """Raises where a vault was once, and is none."""
    note = note_of(settings, vault)
    if note.exists() and vault.store.stat(layout.VAULT) is None:
        raise VaultError(
            f"there was a vault in {vault.store.address}, and nothing is there now: a disk that is not mounted, or a loss",
            remedy=f"mount it, or correct its address. If it is lost: to begin an empty one there, remove {note}",
        )


def remember(settings: Settings, vault: Vault) -> None:
    note = note_of(settings, vault)
    # A backup that was made does not fail for a note of it.
    with suppress(OSError, VaultError):
        if not note.exists():
            settings.make_state(note.parent)
            write(note, f"{vault.store.address}\n".encode())


def begin_anew(settings: Settings, vault: Vault) -> None:
    """Where a person removed the note of a lost vault, what this host wrote there before is no loss that is told again."""
    if vault.remembered is None or note_of(settings, vault).exists():
        return
    if vault.store.stat(layout.VAULT) is None:
        vault.remembered.clear()


def note_of(settings: Settings, vault: Vault) -> Path:
    return paths.place(settings.state_folder, vault.store.address)
