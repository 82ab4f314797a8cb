"""The last failure of each job of a system, also of what failed before any step of ours ran. Loads no Dagster.

The log of acts knows what steps and commands did. A run whose process could not start, and a tick of a schedule or sensor that
raised, never came that far; Dagster wrote them down, and `status` reads the few rows from its SQLite files, as in
`daemon_sqlite`. Where the instance lies elsewhere, what is known is what the log of acts of this host says.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backup_pipeline.model.acts import LOOK_BACK, Act, unmended
from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.operations import audit
from backup_pipeline.orchestration.daemon_sqlite import daemon, home_on_this_machine, rows

if TYPE_CHECKING:
    from backup_pipeline.operations import Site

#: Newest first; of each job the first row counts. A job that fails each minute is one row, too.
_RUNS = """
SELECT pipeline_name, run_id, status, max(coalesce(end_time, 0)) FROM runs
WHERE status IN ('SUCCESS', 'FAILURE') GROUP BY pipeline_name
"""
_TICKS = """
SELECT tick_body, selector_id IN (SELECT selector_id FROM instigators WHERE status = 'STOPPED') FROM job_ticks
WHERE id IN (SELECT max(id) FROM job_ticks WHERE status != 'STARTED' GROUP BY selector_id)
"""
_WHY = "SELECT event FROM event_logs WHERE dagster_event_type IN ('STEP_FAILURE', 'PIPELINE_FAILURE') ORDER BY id"
#: What all systems share.
_SHARED = frozenset({"watch", "history", "failure_alert", "scrub_schedule"})
_EACH_MINUTE = re.compile(r"(?:\w+_)?(?:watch|history)")
#: Without a tick of these for so long, while the daemon lives, nothing of ours is loaded in it.
SILENT_AFTER = timedelta(minutes=10)
_LOOK = "`backup-pipeline ui` shows it: in Runs the run, in Automation the tick"


def last_failures(site: Site, system: str, environ: Mapping[str, str] | None = None) -> tuple[Act, ...]:
    """Newest failures that nothing has mended: of each job, and of the schedules and sensors that start them. The verb of
    a tick's failure is the name of its schedule or sensor."""
    settings, now = site.settings, site.clock()
    environ = os.environ if environ is None else environ
    home = home_on_this_machine(site, environ)
    log = audit.log_of(site, system, now - LOOK_BACK)
    if home is None:
        return unmended(log)
    known = {act.run for act in log if act.run}
    runs = [act for act in _runs(home, system) if act.run not in known]
    ticks = tuple(_ticks(home, system))
    failed = [act for act in ticks if not act.ok and act.at >= timestamp(now - LOOK_BACK)]
    silent = _not_loaded(site, system, home, ticks, environ)
    found = (*unmended((*log, *runs)), *failed, *silent)
    return tuple(audit.without_secrets(act, settings.secrets) for act in found)


def _verb_of(job: str, system: str) -> str | None:
    """backup_shop → backup; team_a_backup_shop, of a graph whose names have a prefix, as well."""
    found = re.fullmatch(rf"(?:\w+_)?(backup|copy|drill|prune)_{re.escape(system)}", job)
    return found[1] if found else "scrub" if job == "scrub" else None


def _runs(home: Path, system: str) -> Iterator[Act]:
    for job, run, status, ended in rows(home / "history" / "runs.db", _RUNS) or ():
        verb = _verb_of(str(job), system)
        if verb is None or not ended:
            continue
        act = Act(verb, status == "SUCCESS", system, origin="dagster", run=str(run), at=_moment(ended))
        yield act if act.ok else act.because("run-failed", _why(home, str(run)), _LOOK)


def _why(home: Path, run: str) -> str:
    """What its first failure said."""
    for (event,) in rows(home / "history" / "runs" / f"{run}.db", _WHY) or ():
        said = _loaded(event).get("dagster_event") or {}
        error = (said.get("event_specific_data") or {}).get("error") or {}
        text = _message(error) or str(said.get("message") or "")
        if text:
            return text
    return "its run failed before a step began"


def _ticks(home: Path, system: str) -> Iterator[Act]:
    """The last of each schedule and sensor that has to do with a system."""
    name_of_one = re.escape(system)
    ours = re.compile(
        rf"(?:\w+_)?(?:(?:backup|drill|prune)_{name_of_one}_schedule|pending_migrations_{name_of_one})"
    )
    for body, is_stopped in rows(home / "schedules" / "schedules.db", _TICKS) or ():
        tick = _loaded(body)
        name = str(tick.get("job_name", ""))
        if is_stopped or not (name in _SHARED or ours.fullmatch(name)):
            continue
        act = Act(name, True, system, origin="dagster", at=_moment(tick.get("timestamp") or 0))
        failed = (tick.get("status") or {}).get("__enum__") == "TickStatus.FAILURE"
        said = _message(tick.get("error") or {}) or "its tick failed"
        yield act.because("tick-failed", said, _LOOK) if failed else act


def _not_loaded(
    site: Site, system: str, home: Path, ticks: Sequence[Act], environ: Mapping[str, str]
) -> Iterator[Act]:
    """A location that does not load leaves no tick and no error: what is seen is a daemon that evaluates nothing."""
    looks = [act.at for act in ticks if _EACH_MINUTE.fullmatch(act.verb)]
    since = max(looks, default=None) or _furnished(home)
    if since is None or daemon(site, environ).state != "runs":
        return
    if site.clock() - parse_timestamp(since) > SILENT_AFTER:
        act = Act("schedules", False, system, origin="dagster", at=since)
        yield act.because(
            "not-loaded",
            f"the daemon runs, and has looked at no schedule of this configuration since {since[:16]}Z: "
            "its code does not load there",
            "`backup-pipeline ui` shows why, in Deployment; daemon.log and code.log lie in `dagster/logs` of the state folder. "
            "What the daemon's environment lacks, a shell may have",
        )


def _furnished(home: Path) -> str | None:
    """When the instance began, as far as its files tell."""
    try:
        return _moment((home / "dagster.yaml").stat().st_mtime)
    except OSError:
        return None


def _message(error: Mapping[str, Any]) -> str:
    """The innermost cause, without the class that Dagster puts before it: the outer ones say that a step failed."""
    while error.get("cause"):
        error = error["cause"]
    text = str(error.get("message") or "").strip()
    name = str(error.get("cls_name") or "")
    return re.sub(rf"^[\w.]*{re.escape(name)}: ", "", text) if name else text


def _moment(seconds: float) -> str:
    return timestamp(datetime.fromtimestamp(float(seconds), UTC))


def _loaded(text: object) -> dict[str, Any]:
    try:
        found = json.loads(str(text))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
