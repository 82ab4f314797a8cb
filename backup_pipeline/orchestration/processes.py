"""Runs that live in a process of ours: where their code is, and the end of those whose process was killed.

A run that the CLI executes has no launcher that would notice its death: it would be shown as running for ever. It
is tagged with its process instead, and the next one that looks on the same machine marks it as failed.

It was not launched from a code location either, and the UI's timeline shows only runs that were. So it is given the
origin of the location that serves the same jobs. Then the daemon could start it again, too; a person at a terminal decides
that for himself, hence no retries.
"""

from __future__ import annotations

import os
import socket

import dagster as dg
from dagster._core.remote_origin import (  # not exported at the top
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from backup_pipeline.processes.birth import born

#: host:pid:start of the process that a run lives in. Under `.dagster/` the UI does not show it.
PROCESS_TAG = ".dagster/backup_pipeline_process"


#: The location's name in workspace.yaml, and what Dagster calls its one repository.
LOCATION = "backup_pipeline"
_REPOSITORY = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), "__repository__")

#: A process can die between the creation of its run and the start. A queued run belongs to the daemon.
_UNFINISHED = (dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)


def tags() -> dict[str, str]:
    return {
        PROCESS_TAG: f"{socket.gethostname()}:{os.getpid()}:{born(os.getpid())}",
        ".dagster/repository": _REPOSITORY.get_label(),
        "dagster/code_location": LOCATION,
        "dagster/max_retries": "0",
    }


def locate(instance: dg.DagsterInstance, run_id: str) -> None:
    """Say where the code of a run in this process is; Dagster offers no way to say it when the run is made."""
    run = instance.get_run_by_id(run_id)
    if run is not None and run.remote_job_origin is None:
        instance.run_storage.replace_job_origin(run, RemoteJobOrigin(_REPOSITORY, run.job_name))


def fail_abandoned_runs(instance: dg.DagsterInstance) -> int:
    """Mark each run of a dead process on this machine as failed, and return the number of these runs."""
    found = 0
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        host, _, rest = run.tags.get(PROCESS_TAG, "").rpartition(":")[0].rpartition(":")
        start = run.tags.get(PROCESS_TAG, "").rpartition(":")[2]
        # A run that the UI executes again has the tags of the first run, and lives in another process.
        if host != socket.gethostname() or not rest.isdigit() or run.parent_run_id is not None:
            continue
        if born(int(rest)) != start:
            locate(instance, run.run_id)
            instance.report_run_failed(
                run, "The process of this run was killed. No backup was committed by it, or it is listed."
            )
            found += 1
    return found
