"""The one writer of the log of acts: the CLI, the Python API and the steps of the graph run their verbs inside `acting`.

What belongs here: when an act has a line, what the line says, and the figures of each verb. The assets of the graph show
the figures under the same names. What does not: how the log lies on disk (`state/acts`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from backup_pipeline.errors import BackupError, ConfigError, NotFound, ProofFailed, VaultError
from backup_pipeline.model.acts import Act, Check, Fact, Place
from backup_pipeline.model.ids import is_backup_id, timestamp
from backup_pipeline.model.outcome import failed
from backup_pipeline.state import acts

if TYPE_CHECKING:
    from datetime import datetime

    from backup_pipeline.copies import RepairReport
    from backup_pipeline.copies.replicate import CopyReport
    from backup_pipeline.drills import DrillReport
    from backup_pipeline.model.findings import Finding
    from backup_pipeline.model.manifest import Manifest
    from backup_pipeline.model.outcome import Outcome
    from backup_pipeline.operations.copy import Copied
    from backup_pipeline.operations.merge import Merged
    from backup_pipeline.operations.site import Site
    from backup_pipeline.retention.prune import PruneReport
    from backup_pipeline.verification.scrub import ScrubReport

Facts = dict[str, Fact]


def about(verb: str, system: str | None, id: str | None = None, place: str | None = None) -> Act:
    """The line of an act as far as its order tells it. `latest` is no backup yet, and the vault is no place of its own."""
    return Act(
        verb,
        system=system or "",
        backup=id if id and is_backup_id(id) else "",
        place="" if place in (None, "vault") else str(place),
    )


@dataclass(slots=True)
class Doing:
    """An act while it is done. What is learnt of it on the way (its backup, figures) is put into `act`."""

    act: Act
    #: Written when it went well; a step that is a part of an act leaves that to the last one.
    concludes: bool = True
    #: Where it came to be several, as of a copy to each place: these.
    acts: Sequence[Act] = ()

    def learn(
        self, *, backup: str = "", facts: Mapping[str, Fact] | None = None, checks: tuple[Check, ...] = ()
    ) -> None:
        self.act = replace(self.act.learning(backup, facts), checks=checks or self.act.checks)

    def judge(self, what: str, findings: Iterable[Finding]) -> None:
        """The work is done; an error among its findings is the outcome."""
        if (error := failed(ProofFailed, what, findings)) is not None:
            self.act = self.act.failed(error)


def begun(error: BaseException) -> BaseException | None:
    """The error that an act failed of. None: the command or the configuration is wrong, so nothing was begun."""
    return None if isinstance(error, ConfigError | NotFound) else error


@dataclass(frozen=True, slots=True)
class Writer:
    """The caller of a verb, as far as the log is concerned."""

    #: None: no line is written, because there is no configuration or because another writer writes the line.
    site: Callable[[], Site | None]
    #: The error behind a failure of the caller's own kind; None: it is no failure of an act.
    cause: Callable[[BaseException], BaseException | None] = begun
    #: Adds what only the caller knows.
    completed: Callable[[Act], Act] = lambda act: act
    #: Is told why a line could not be written.
    unkept: Callable[[VaultError], None] = lambda _: None


@contextmanager
def acting(writer: Writer, act: Act) -> Iterator[Doing]:
    """What comes of the block is written down; an error of the block goes on. A log that cannot be written fails nothing."""
    began, done = time.monotonic(), Doing(act)
    try:
        yield done
    except BaseException as error:
        cause = writer.cause(error)
        done.concludes, done.acts = cause is not None, ()
        done.act = done.act.failed(cause) if cause else done.act
        raise
    finally:
        site = writer.site() if done.concludes else None
        if site is not None:
            ended = replace(done.act, at=timestamp(site.clock()), seconds=round(time.monotonic() - began, 3))
            _write(site, writer, [_of_one(one, ended) for one in done.acts] or [ended])


def _of_one(one: Act, ended: Act) -> Act:
    return replace(
        one, at=ended.at, seconds=one.seconds or ended.seconds, origin=ended.origin, run=one.run or ended.run
    )


def _write(site: Site, writer: Writer, done: Sequence[Act]) -> None:
    for act in done:
        if (unkept := acts.record(site.settings, writer.completed(act))) is not None:
            return writer.unkept(unkept)


def log_of(site: Site, system: str, since: datetime) -> tuple[Act, ...]:
    """The acts of a system, those of all systems included, oldest first."""
    return tuple(acts.of(site.settings, system, since))


def written_since(site: Site, place: Place, *, most: int | None) -> tuple[tuple[Act, ...], Place]:
    """The acts behind a place of the log (at most so many), and the place where they end."""
    return acts.beyond(site.settings, place, most=most)


without_secrets = acts.redacted


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
    from backup_pipeline.operations.copy import failure_of

    act = about("copy", one.system, place=one.name)
    if one.report is not None:
        act = replace(act, facts=of_copy(one.report))
    failure = failure_of([one])
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


def of_merge(merged: Merged) -> Facts:
    plan = merged.plan
    return {
        "restore": merged.restore_id,
        "created": sum(table.create for table in plan.tables),
        "updated": sum(table.update for table in plan.tables),
        "deleted": sum(table.delete for table in plan.tables),
        "kept": sum(table.kept for table in plan.tables),
        "conflicts": plan.conflicts,
        "rejected": len(merged.rejected),
    }


def of_repair(report: RepairReport) -> Facts:
    return {
        "healed": len(report.healed),
        "brought_back": len(report.brought_back),
        "set_aside": len(report.set_aside),
    }
