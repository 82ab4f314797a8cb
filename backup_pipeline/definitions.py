"""What Dagster loads: `dagster-webserver -m backup_pipeline.definitions`, or the workspace.yaml beside this file's graph.

The configuration is $BACKUP_CONFIG or ./backup.yaml. `defs` is made when it is asked for, so that importing this
module reads nothing; Dagster asks at once, and shows a ConfigError with its remedy where a file that was named is missing,
or the file is wrong. Where none was named and none is in the folder, one asset says how to write one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.config import FILE_NAME, VARIABLE
from backup_pipeline.operations import Site
from backup_pipeline.orchestration.graph import build_defs, without_configuration

if TYPE_CHECKING:
    import dagster as dg

    defs: dg.Definitions

__all__ = ["build_defs", "defs"]


def __getattr__(name: str) -> dg.Definitions:
    if name != "defs":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Kept: Dagster takes two Definitions objects in one module for a mistake.
    here = Path.cwd()
    known = os.environ.get(VARIABLE) or (here / FILE_NAME).exists()
    made = _alone(build_defs(Site.load())) if known else without_configuration(here)
    globals()["defs"] = made
    return made


def _alone(ours: dg.Definitions) -> dg.Definitions:
    """This code location is ours: what is materialized outside of a job runs in one process, too."""
    import dagster as dg

    return dg.Definitions.merge(ours, dg.Definitions(executor=dg.in_process_executor))


def __dir__() -> list[str]:
    """Dagster looks for `defs` among the names of the module."""
    return sorted({*globals(), "defs"})
