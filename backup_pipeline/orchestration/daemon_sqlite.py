"""Does anything run the schedules? Read from the daemon's heartbeats in the Dagster home of this machine.

`status` says when the next backup is due, which is only worth something where a daemon lives. Loading Dagster would
take longer than the rest of `status`. So the one row is read straight from Dagster's SQLite file. Where the instance
lives elsewhere (PostgreSQL, another host), the answer is unknown.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from backup_pipeline.model.overview import Runner

if TYPE_CHECKING:
    from backup_pipeline.operations import Site

#: The daemon notes every half minute that it lives, and every thread of it does so on its own.
SCHEDULER = "SCHEDULER"
DEAD_AFTER = timedelta(minutes=5)


def daemon(site: Site, environ: Mapping[str, str] | None = None) -> Runner:
    home = home_on_this_machine(site, environ)
    if home is None:
        return Runner("unknown")
    return runner_of(_last_heartbeat(home / "history" / "runs.db"), site.clock(), _switched_off(home))


def runner_of(
    seen: datetime | Literal["never", "unknown"], now: datetime, off: tuple[str, ...] = ()
) -> Runner:
    if isinstance(seen, datetime):
        return Runner("runs" if now - seen < DEAD_AFTER else "stopped", seen, off)
    return Runner(seen, off=off)


def _switched_off(home: Path) -> tuple[str, ...]:
    """The schedules that a person switched off in the UI; another version of Dagster may not tell."""
    query = "SELECT instigator_body FROM instigators WHERE status = 'STOPPED'"
    try:
        bodies = [json.loads(body) for (body,) in rows(home / "schedules" / "schedules.db", query) or ()]
    except ValueError:
        return ()
    return tuple(str((body.get("origin") or {}).get("job_name", "")) for body in bodies)


def home_on_this_machine(site: Site, environ: Mapping[str, str] | None = None) -> Path | None:
    """Where the instance's SQLite files are; None: it is kept elsewhere."""
    given = (os.environ if environ is None else environ).get("DAGSTER_HOME")
    home = Path(given) if given else site.dagster_folder
    return None if _lives_elsewhere(home / "dagster.yaml") else home


def _lives_elsewhere(file: Path) -> bool:
    try:
        settings = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return False
    return isinstance(settings, dict) and bool({"storage", "run_storage"} & settings.keys())


def _last_heartbeat(file: Path) -> datetime | Literal["never", "unknown"]:
    if not file.exists():
        return "never"
    found = rows(file, f"SELECT max(timestamp) FROM daemon_heartbeats WHERE daemon_type = '{SCHEDULER}'")
    if found is None:
        return "unknown"
    try:
        return datetime.fromisoformat(found[0][0]).replace(tzinfo=UTC) if found[0][0] else "never"
    except ValueError:
        return "unknown"


def rows(file: Path, query: str) -> list[tuple[Any, ...]] | None:
    """None: there is no such file, or another version of Dagster made it, or Dagster is just making it."""
    if not file.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=1)) as connection:
            return connection.execute(query).fetchall()
    except sqlite3.Error:
        return None
