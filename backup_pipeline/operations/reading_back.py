"""Which part of a copy is read back today: the state folder remembers where the last look ended.

Only a convenience: where the memory is lost, the next look begins at 0, and what was read is read again.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.copies.sampling import Arc, sample
from backup_pipeline.errors import BackupError
from backup_pipeline.model.findings import Report
from backup_pipeline.model.progress import Listener, silent
from backup_pipeline.state import paths
from backup_pipeline.stores.base import Store
from backup_pipeline.stores.rights import write
from backup_pipeline.vault import layout

if TYPE_CHECKING:
    from backup_pipeline.operations.site import Site


def look(site: Site, system: str, ids: Sequence[str], percent: float, listener: Listener = silent) -> Report:
    """The place of the site is the copy."""
    copy, name, vault = site.vault, site.place or "", site.at("vault")
    memory = paths.read_back(site.settings.state_folder, system, name)
    arc = Arc(_start(memory), percent / 100) if percent > 0 else None
    report = sample((name, copy), system, ids, arc=arc, trusted=_trusted(vault), listener=listener)
    if arc is not None:
        with contextlib.suppress(OSError, BackupError):
            site.settings.make_state(memory.parent)
            write(memory, json.dumps({"next": arc.end}).encode())
    return report


def _trusted(site: Site) -> Store | None:
    """Where right bytes can be read for nothing. A vault that is far away costs what reading the copy would cost."""
    try:
        store = site.vault.store
        at_hand = store.features.cheap_stat and store.stat(layout.VAULT) is not None
    except BackupError:
        return None  # the vault is gone: the copies are looked at because of that
    return store if at_hand else None


def _start(memory: Path) -> float:
    try:
        held = json.loads(memory.read_text(encoding="utf-8"))
        start = float(held["next"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0
    return start % 1.0 if math.isfinite(start) else 0.0
