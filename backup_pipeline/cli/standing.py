"""What is wrong with a system now, from everything that this machine can see: for `status` and `ack`."""

from __future__ import annotations

from backup_pipeline.cli.call import Call
from backup_pipeline.overview import SystemStatus


def standing_of(call: Call, system: str) -> SystemStatus:
    from backup_pipeline.project import keeping
    from backup_pipeline.project.copying import with_copies

    project = call.project
    return keeping.with_retention(project, with_copies(project, project.status_of(system)))
