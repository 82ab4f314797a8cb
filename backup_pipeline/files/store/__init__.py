"""File trees into the vault: what changed is read, hashed, packed and listed; what did not is recognised.

`previous` is what earlier runs left, `reading` takes one file as it is, `packing` puts contents into packs, `run` walks
through both listings side by side and writes the new one, `report` says what could not be taken. `database` copies a SQLite
file that lies in a tree. Nothing here knows a manifest: `backup` puts the parts together.
"""

from __future__ import annotations

from backup_pipeline.files.store.order import StoredTree, TreeOrder
from backup_pipeline.files.store.run import store_tree

__all__ = ["StoredTree", "TreeOrder", "store_tree"]
