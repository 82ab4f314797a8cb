"""The Dagster home on this machine: one history for the CLI, the schedules and the UI.

$DAGSTER_HOME where it is set; its dagster.yaml is the user's then (see deploy/). Else `dagster` in the state folder,
into which our dagster.yaml is written once.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef

from backup_pipeline.errors import ConfigError
from backup_pipeline.model.overview import Runner
from backup_pipeline.operations import Site
from backup_pipeline.orchestration.daemon_sqlite import SCHEDULER, runner_of

VARIABLE = "DAGSTER_HOME"
FILE_NAME = "dagster.yaml"
#: What says where our code is, for the UI and the daemon.
WORKSPACE = "workspace.yaml"


def home(site: Site, environ: Mapping[str, str] | None = None) -> Path:
    """The folder, made and furnished where it is ours to make."""
    environ = os.environ if environ is None else environ
    given = environ.get(VARIABLE)
    if given:
        folder = Path(given)
        if not folder.is_absolute() or not folder.is_dir():
            raise ConfigError(
                f"{VARIABLE} is {given!r}, which is not an absolute path of a folder",
                remedy=f"make that folder, or unset {VARIABLE} to use the one beside the configuration",
            )
        return folder
    return site.furnished_for_dagster(FILE_NAME, template(FILE_NAME))


def last_heartbeat(site: Site) -> Runner:
    """Of the daemon of an instance that is not kept on this machine. One that does not answer is no sign of life."""
    try:
        with open_instance(site) as found:
            beats = found.get_daemon_heartbeats()
    except Exception:  # noqa: BLE001 - a database that is down, a dagster.yaml of another version: all the same here
        return Runner("unknown")
    last = max((beat.timestamp for kind, beat in beats.items() if kind == SCHEDULER), default=None)
    return runner_of("never" if last is None else datetime.fromtimestamp(last, UTC), site.clock())


def open_instance(site: Site, environ: Mapping[str, str] | None = None) -> dg.DagsterInstance:
    """The instance, for runs in this process; close it (it is a context manager).

    Their output stays with this process: Dagster's log capture would take the terminal away from the progress
    display, and start two processes a step to do so.
    """
    folder = home(site, environ)
    overrides: dict[str, Any] = {
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        }
    }
    said = _said(folder)
    if "telemetry" not in said:
        overrides["telemetry"] = {
            "enabled": False
        }  # on unless it is said, with a banner in the log of each backup
    # Where dagster.yaml sends the history elsewhere (PostgreSQL), ours goes there.
    if not {"storage", "run_storage", "event_log_storage"} & said.keys():
        overrides["storage"] = {
            "custom": {
                "module": "backup_pipeline.orchestration.local_storage",
                "class": "LocalStorage",
                "config": {"base_dir": str(folder)},
            }
        }
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(folder), overrides=overrides))


def _said(folder: Path) -> dict[str, Any]:
    """What its dagster.yaml says."""
    file = folder / FILE_NAME
    settings = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None
    return settings or {}


def template(name: str) -> bytes:
    return resources.files("backup_pipeline.orchestration").joinpath(name).read_bytes()
