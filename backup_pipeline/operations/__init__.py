"""One configuration, and everything that can be done with it: what the CLI, the Dagster graph and the API call.

`project` holds the class and the verbs of databases; beside it, one file a subject, plain functions that take a
Project: `stores` opens the vault and its copies.
"""

from __future__ import annotations

from backup_pipeline.operations.project import Broken, Listed, Project, SystemStatus
from backup_pipeline.operations.site import Site

__all__ = ["Broken", "Listed", "Project", "Site", "SystemStatus"]
