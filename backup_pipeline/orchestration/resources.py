"""What the steps are given: the site, and who listens to their progress.

A resource is a plain object, so that a test or a launcher passes its own; nothing in it is opened, and no
secret is looked up, before a step needs it.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import dagster as dg

from backup_pipeline.config import redact
from backup_pipeline.errors import BackupError
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.outcome import Outcome
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.operations import Site, audit
from backup_pipeline.operations.audit import Doing
from backup_pipeline.operations.copy import Copied
from backup_pipeline.orchestration import processes
from backup_pipeline.orchestration.naming import PLAIN, Names
from backup_pipeline.processes import waiting

if TYPE_CHECKING:
    from backup_pipeline.operations.drill import DrillReport


@dataclass
class Kept:
    """What the steps of a run in this process made, for its launcher."""

    manifest: Manifest | None = None
    outcomes: Sequence[Outcome] = ()
    drill: DrillReport | None = None
    copied: list[Copied] = field(default_factory=list)


@dataclass(frozen=True)
class Backups:
    site: Site
    #: Who is told of progress; the run's log unless a launcher says otherwise.
    listener: Listener | None = None
    kept: Kept = field(default_factory=Kept)
    names: Names = PLAIN

    def listen(self, log: dg.DagsterLogManager) -> Listener:
        return self.listener or LogListener(log)


def given(
    context: dg.OpExecutionContext | dg.AssetExecutionContext | dg.AssetCheckExecutionContext, names: Names
) -> Backups:
    """What the definitions, or a launcher, gave to the steps of this run."""
    found: Backups = getattr(context.resources, names.resource)
    return found


@dataclass
class LogListener:
    """Progress as lines in the run's log. Every line is a row in Dagster's storage, so there are few."""

    log: dg.DagsterLogManager
    every_seconds: float = 15.0
    _said_at: float = field(default_factory=time.monotonic)
    _rows: int = 0
    _bytes: int = 0

    def __call__(self, advance: Advance) -> None:
        self._rows += advance.rows
        self._bytes += advance.bytes
        # What is read back, and where a prune is, says its place all the time; a retry or a wait is news.
        if advance.note and advance.note != "reused" and advance.phase not in ("verify", "compare"):
            self.log.warning(f"{advance.subject}: {advance.note}")
        if time.monotonic() - self._said_at >= self.every_seconds:
            self._said_at = time.monotonic()
            self.log.info(
                f"{advance.phase}: {self._rows:,} rows, {self._bytes / 2**20:,.0f} MiB so far ({advance.subject})"
            )


class StepFailure(dg.Failure):
    """A failure as the graph records it. `original` is what happened, for a launcher in this process."""

    def __init__(self, error: BaseException, description: str, metadata: dict[str, dg.MetadataValue]) -> None:
        super().__init__(description=description, metadata=metadata, allow_retries=False)
        self.original = error

    @classmethod
    def of(cls, error: BackupError, metadata: Mapping[str, dg.MetadataValue]) -> StepFailure:
        told = {"code": dg.MetadataValue.text(error.code), "remedy": dg.MetadataValue.md(error.remedy)}
        return cls(error, error.message, {**told, **metadata})


@contextmanager
def failures_told(site: Site) -> Iterator[None]:
    """Every exception of a step becomes a failure with a remedy and without a secret.

    Dagster stores the text and the traceback of an exception, and those of what caused it; a driver's message may
    hold what it was given. So the chain is cut here, and what is kept of it is redacted.
    """
    secrets = site.settings.secrets
    try:
        yield
    except dg.Failure:
        raise
    except BackupError as error:
        told: dict[str, dg.MetadataValue] = {"code": dg.MetadataValue.text(error.code)}
        if error.remedy:
            told["remedy"] = dg.MetadataValue.md(redact(error.remedy, secrets))
        raise StepFailure(error, redact(error.message, secrets), told) from None
    except Exception as error:  # noqa: BLE001 — it goes on, as a failure without secrets
        text = redact("".join(traceback.format_exception(error)), secrets)
        what = redact(f"{type(error).__name__}: {error}", secrets)
        remedy = dg.MetadataValue.md(
            "this is a fault of backup_pipeline: please report it with the traceback"
        )
        told = {
            "code": dg.MetadataValue.text("internal"),
            "remedy": remedy,
            "traceback": dg.MetadataValue.md(f"```\n{text}\n```"),
        }
        raise StepFailure(error, what, told) from None


@contextmanager
def acting(
    context: dg.OpExecutionContext | dg.AssetExecutionContext,
    backups: Backups,
    verb: str,
    system: str = "",
    *,
    place: str = "",
    concludes: bool = True,
) -> Iterator[Doing]:
    """`failures_told`, and a line in the log of acts. Of a step that is a part of an act (`concludes`), a failure only."""
    act = replace(audit.about(verb, system, place=place), origin="dagster", run=context.run.run_id)
    writer = audit.Writer(
        # A launcher in this process writes the line itself, with the exit code of the command.
        lambda: backups.site if backups.listener is None else None,
        _cause,
        unkept=lambda error: context.log.warning(f"{error.message}. {error.remedy}"),
    )
    if backups.listener is not None:
        processes.locate(context.instance, context.run.run_id)
    with audit.acting(writer, act) as done:
        done.concludes = concludes
        with failures_told(backups.site), waiting.having_time(waiting.to(backups.listen(context.log))):
            yield done


def _cause(error: BaseException) -> BaseException | None:
    if isinstance(error, dg.DagsterExecutionInterruptedError | KeyboardInterrupt):
        return KeyboardInterrupt()
    return error.original if isinstance(error, StepFailure) else None


@contextmanager
def tick_failures_told(site: Site) -> Iterator[None]:
    """The same for a sensor's tick, which shows a text only: the remedy is part of it."""
    try:
        with failures_told(site):
            yield
    except StepFailure as failure:
        remedy = failure.metadata.get("remedy")
        text = f"{failure.description}\n→ {remedy.value}" if remedy else str(failure.description)
        raise dg.Failure(text) from None
