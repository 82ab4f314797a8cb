"""File trees into the vault: changed files are read, hashed, packed and listed; unchanged ones are recognised.

Belongs here: `previous` has the knowledge of earlier runs, `reading` takes one file as it is, `packing` puts contents into
packs. `run` walks through both listings side by side and writes the new one. `report` names files that could not be taken.
`database` copies a SQLite file in a tree. Not here: the manifest (`backups`), and the walk itself (`files/sources`).
"""

from __future__ import annotations

from backup_pipeline.files.store.order import KnownTree, StoredTree, TreeOrder
from backup_pipeline.files.store.run import store_tree

__all__ = ["KnownTree", "StoredTree", "TreeOrder", "store_tree"]
