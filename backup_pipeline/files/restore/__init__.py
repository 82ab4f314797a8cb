"""Bringing file trees back: a plan first, then every file atomically, verified, and never outside the target folder.

Belongs here: `names` has the allowed paths, `looking` holds the listing against the target, `run` carries the plan out.
`anchored` works below an open folder, `writing` writes one whole file at a time. Not here: the choice of backup and tree
(`operations`).
"""

from __future__ import annotations

from backup_pipeline.files.restore.plan import FilesOrder, FilesPlan, FilesResult, TreePlan
from backup_pipeline.files.restore.run import plan_files, restore_files, trees_of

__all__ = ["FilesOrder", "FilesPlan", "FilesResult", "TreePlan", "plan_files", "restore_files", "trees_of"]
