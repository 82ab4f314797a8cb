"""Runs that live in a process of ours, and the end of those whose process was killed.

A run that the CLI executes has no launcher that would notice its death: it would be shown as running for ever. It
is tagged with its process instead, and the next one that looks on the same machine marks it as failed.
"""

from __future__ import annotations

import os
import socket

import dagster as dg

from backup_pipeline.vault.lock import born

#: host:pid:start of the process that a run lives in. Under `.dagster/` the UI does not show it.
PROCESS_TAG = ".dagster/backup_pipeline_process"


def tags() -> dict[str, str]:
    return {PROCESS_TAG: f"{socket.gethostname()}:{os.getpid()}:{born(os.getpid())}"}


def bury_the_dead(instance: dg.DagsterInstance) -> int:
    """Mark runs as failed whose process on this machine is gone; how many there were."""
    found = 0
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        host, _, rest = run.tags.get(PROCESS_TAG, "").rpartition(":")[0].rpartition(":")
        start = run.tags.get(PROCESS_TAG, "").rpartition(":")[2]
        if host != socket.gethostname() or not rest.isdigit():
            continue
        if born(int(rest)) != start:
            instance.report_run_failed(
                run, "The process of this run was killed. No backup was committed by it, or it is listed."
            )
            found += 1
    return found
