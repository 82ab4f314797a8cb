"""What came of a verb, for the log of acts: the same for the CLI and the Python API. The figures have the names that the
assets of the graph show them by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.errors import BackupError
from backup_pipeline.health.outcome import Outcome
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.operations import copying
from backup_pipeline.operations.copying import Copied
from backup_pipeline.state.acts import Act, Check, Fact

if TYPE_CHECKING:
    from backup_pipeline.copies import RepairReport
    from backup_pipeline.copies.replicate import CopyReport
    from backup_pipeline.drills import DrillReport
    from backup_pipeline.retention.prune import PruneReport
    from backup_pipeline.verification.scrub import ScrubReport

Facts = dict[str, Fact]


def of_backup(
    made: Manifest, bad: BackupError | None, copies: Sequence[Copied], outcomes: Iterable[Outcome]
) -> tuple[Act, ...]:
    """A backup, and its copies: one that could not be made is no failure of the backup. `bad`: what its checks found."""
    act = Act("backup", system=made.system, backup=made.id, checks=checks_of(outcomes))
    return (act.failed(bad) if bad else act, *of_copies(copies))


def checks_of(outcomes: Iterable[Outcome]) -> tuple[Check, ...]:
    return tuple(Check(one.name, one.description, one.findings) for one in outcomes)


def of_copies(done: Sequence[Copied]) -> tuple[Act, ...]:
    return tuple(_copy(one) for one in done)


def _copy(one: Copied) -> Act:
    act = Act("copy", system=one.system, place="" if one.name == copying.VAULT else one.name)
    if one.report is not None:
        act = replace(act, facts=of_copy(one.report))
    failure = copying.failure_of([one])
    return act if failure is None else act.failed(failure)


def of_copy(report: CopyReport) -> Facts:
    return {
        "copied": len(report.copied),
        "present": report.present,
        "objects": report.objects,
        "bytes": report.bytes,
        "objects_skipped": report.skipped,
        "bytes_skipped": report.skipped_bytes,
        "bytes_per_second": round(report.rate, 1),
    }


def of_prune(report: PruneReport) -> Facts:
    backups = [one for plan in report.systems for one in plan.backups]
    return {
        "kept": sum(1 for one in backups if one.keep),
        "forgotten": len(report.forgotten),
        "pinned": sum(1 for one in backups if one.pinned),
        "freed_bytes": report.freed.bytes,
        "freed_objects": report.freed.objects,
        "waiting_bytes": report.waiting.bytes,
    }


def of_scrub(found: ScrubReport) -> Facts:
    return {
        "parts_read": found.read,
        "parts_within_window": found.covered,
        "known_bytes": found.known_bytes,
        "oldest": found.oldest or "not all was read yet",
    }


def of_drill(result: DrillReport) -> Facts:
    return {"recovery_seconds": round(result.recovery_seconds, 3)}


def of_repair(report: RepairReport) -> Facts:
    return {
        "healed": len(report.healed),
        "brought_back": len(report.brought_back),
        "set_aside": len(report.set_aside),
    }
