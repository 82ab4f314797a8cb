"""The checks of a system between its backups: pure functions of what was looked at or measured before.

`operations/monitoring.py` looks and measures, and orchestration only shows the outcomes.
"""

from __future__ import annotations

from collections.abc import Sequence

from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.outcome import Outcome
from backup_pipeline.model.overview import CopyLag, SystemStatus


def fresh(status: SystemStatus, seconds: float = 0.0) -> Outcome:
    found = tuple(one for one in status.findings if one.topic != "proof")
    latest = status.latest.id if status.latest else ""
    return Outcome("fresh", found, _counted(status), seconds, f"the newest full backup is {latest}")


def proven(status: SystemStatus, seconds: float = 0.0) -> Outcome:
    nothing = status.latest is None
    found = [one for one in status.findings if one.topic == "proof"]
    found += [one for one in status.findings if nothing and one.marked("nothing_to_prove")]
    last = status.proven
    good = f"{last.id} was restored and compared at {last.proven_at}" if last else ""
    return Outcome("proven", tuple(found), _counted(status), seconds, good)


def _counted(status: SystemStatus) -> dict[str, int]:
    return {"backups": status.backups}


def verdict(backup: str, errors: Sequence[Finding]) -> Outcome:
    """Of a backup that was made. It fails for each error that no person accepted."""
    good = f"the backup {backup} is made" + (", with an error" if errors else "")
    return Outcome("verdict", tuple(errors), good=good)


def copied(lag: CopyLag, seconds: float = 0.0) -> Outcome:
    good = f"{lag.backups} held, {lag.latest} the newest" if lag.latest else "no backup yet"
    if lag.missing:
        good += f"; {len(lag.missing)} on their way"
    counted = {"backups": lag.backups, "missing": len(lag.missing)}
    return Outcome("copied", lag.findings, counted, seconds, good)


def retention(report: Report) -> Outcome:
    good = f"{report.counted['days_covered']} days are covered"
    return Outcome("retention", report.findings, report.counted, report.seconds, good)


def storage(report: Report) -> Outcome:
    left = report.counted.get("days_left")
    good = f"{report.counted['bytes'] / 2**20:,.1f} MiB in {report.counted['objects']:,} objects"
    good += f"; full in about {left:,} days" if left is not None else ""
    return Outcome("storage", report.findings, report.counted, report.seconds, good)
