"""What Dagster loads: `dagster-webserver -m backup_pipeline.definitions`, or the workspace.yaml beside this file's graph.

The configuration is $BACKUP_CONFIG or ./backup.yaml. `defs` is made when it is asked for, so that importing this
module reads nothing; Dagster asks at once, and shows a ConfigError with its remedy where the file is missing or wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.project import Project

if TYPE_CHECKING:
    import dagster as dg

    defs: dg.Definitions

__all__ = ["build_defs", "defs"]


def __getattr__(name: str) -> dg.Definitions:
    if name != "defs":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Kept: Dagster takes two Definitions objects in one module for a mistake.
    globals()["defs"] = made = _alone(build_defs(Project.load()))
    return made


def _alone(ours: dg.Definitions) -> dg.Definitions:
    """This code location is ours: what is materialized outside of a job runs in one process, too."""
    import dagster as dg

    return dg.Definitions.merge(ours, dg.Definitions(executor=dg.in_process_executor))


def __dir__() -> list[str]:
    """Dagster looks for `defs` among the names of the module."""
    return sorted({*globals(), "defs"})
