"""Restores: a backup goes back into a new or an empty database. A target that holds rows is refused.

`run` opens the target by its address. The work of an engine belongs to its folder in databases/.
"""

from backup_pipeline.databases.plan import RestorePlan, RestoreResult, TablePlan
from backup_pipeline.restores.run import plan_restore, restore

__all__ = ["RestorePlan", "RestoreResult", "TablePlan", "plan_restore", "restore"]
