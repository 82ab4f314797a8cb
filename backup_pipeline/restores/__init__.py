"""Restores: a backup goes back into a new or an empty database. A target that holds rows is refused.

Belongs here: `run` opens the target by its address. Not here: the work of an engine (its folder in `databases`), and file
trees (`files/restore`).
"""

from backup_pipeline.databases.restore_plan import RestorePlan, RestoreResult, TablePlan
from backup_pipeline.restores.run import plan_restore, restore

__all__ = ["RestorePlan", "RestoreResult", "TablePlan", "plan_restore", "restore"]
