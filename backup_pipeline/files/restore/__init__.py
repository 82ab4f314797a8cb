"""Bringing file trees back: a plan first, then every file atomically, verified, and never outside the target folder.

`names` says which paths may be written at all, `looking` holds the listing against the target, `run` does what the
plan says; `anchored` and `writing` are how: below an open folder, and one whole file at a time.
"""

from __future__ import annotations

from backup_pipeline.files.restore.plan import FilesOrder, FilesPlan, FilesResult, TreePlan
from backup_pipeline.files.restore.run import plan_files, restore_files, trees_of

__all__ = ["FilesOrder", "FilesPlan", "FilesResult", "TreePlan", "plan_files", "restore_files", "trees_of"]
