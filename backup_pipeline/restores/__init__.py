"""Bringing a backup back, into a new or an empty database.

`plan` is what would be done and what was done, `statements` how a dump's text falls apart, `run` the way in; each
engine has its own folder or file. A target that holds something is refused: putting rows back into a living database
is another strategy.
"""

from backup_pipeline.databases.plan import RestorePlan, RestoreResult, TablePlan
from backup_pipeline.restores.run import plan_restore, restore

__all__ = ["RestorePlan", "RestoreResult", "TablePlan", "plan_restore", "restore"]
