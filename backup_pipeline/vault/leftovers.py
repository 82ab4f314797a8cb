"""Removes the leftovers of killed processes and of forgotten backups before new bytes are written."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from backup_pipeline.stores.base import Store
from backup_pipeline.vault import layout

#: In seconds. A folder of a backup is made once, so no writer is about to put a file into an old empty one.
_EMPTY_FOR = 3600.0


def sweep(store: Store) -> None:
    """Half-written files, and folders of backups that were empty for an hour: a listing would look into each folder."""
    if store.folder is not None:
        for backup in store.folder.glob(layout.BACKUPS):
            for path, _, _ in os.walk(backup, topdown=False):
                with contextlib.suppress(OSError):
                    if time.time() - Path(path).stat().st_mtime > _EMPTY_FOR:
                        Path(path).rmdir()
    store.sweep()
