"""What went wrong since the last look: failed runs, failed checks of runs that are over or of the sensor `watch`, and
schedules and sensors whose last tick failed.

A run that failed because of a check is one incident, and so are all failed checks of one run. A check that warns is
told when it begins to, unless it has passed since; one that fails is told each time: every backup that is not whole
matters. A tick that fails is told when it begins to, and once a day while it goes on.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

import dagster as dg
from dagster._core.events import JobFailureData  # not exported at the top
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus
from pydantic import TypeAdapter, ValidationError

from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.operations.incidents import Incident
from backup_pipeline.orchestration.metadata import TOLD
from backup_pipeline.orchestration.subjects import Subjects

#: At the first look, and after a long time without one: what is older is history, not news.
LOOK_BACK = timedelta(days=1)
#: The newest evaluations of a check that are looked at; more cannot be new within a sensor's interval.
_DEPTH = 25


@dataclass(frozen=True)
class Cursor:
    """How far was told. It moves past an incident only when every address got it."""

    #: Runs that ended up to here were looked at …
    since: str
    #: … and of those within the last look's overlap, these were told.
    told: tuple[str, ...] = ()
    #: Check → its last evaluation that was looked at.
    checks: dict[str, int] = field(default_factory=dict)
    #: Checks that are failing as far as was told.
    failing: tuple[str, ...] = ()
    #: Incident → addresses (by digest) that have it already, while another one does not answer.
    partly: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: Schedule or sensor that fails → when that was told.
    ticks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for moment in (self.since, *self.ticks.values()):
            parse_timestamp(moment)

    @classmethod
    def parse(cls, text: str | None, now: datetime) -> Cursor:
        """A cursor that this version cannot read is replaced: a day is told again, and nothing is left out."""
        try:
            return TypeAdapter(cls).validate_json(text or "")
        except ValidationError:
            return cls(timestamp(now - LOOK_BACK))

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Look:
    incidents: tuple[Incident, ...]
    #: The cursor once all of them were told.
    after: Cursor


#: Runs are found by when they were last updated; clocks and transactions may be a little behind.
_OVERLAP = timedelta(minutes=5)


def look(
    instance: dg.DagsterInstance,
    subjects: Subjects,
    cursor: Cursor,
    now: datetime,
    told: Collection[str] = (),
    waiting: Collection[str] = (),
) -> Look:
    """A command has told of the runs `told`, and is still at work with the runs `waiting`."""
    # Checks first: a run that ends in between is found by the second query, and then told as one.
    evaluated = _failed_checks(instance, subjects, cursor, now, waiting)
    failed = _failed_runs(instance, subjects, cursor, now)
    incidents: list[Incident] = []
    for run_id, incident in failed.items():
        found = None if run_id in told else evaluated.by_run.pop(run_id, None)
        if incident.id in cursor.told or run_id in told or run_id in waiting:
            continue
        incidents.append(replace(incident, checks=found.checks) if found else incident)
    for incident in evaluated.by_run.values():
        if incident.run_id in told:
            # The command has told of its errors; that another check began to warn is news.
            incidents += [incident.warnings] if incident.warnings.checks else []
        elif incident.run_id not in failed:
            incidents.append(incident)
    incidents += evaluated.runless
    ticks: dict[str, str] = {}
    for incident in _failed_ticks(instance, subjects):
        before = cursor.ticks.get(incident.job)
        if before is None or now - parse_timestamp(before) > LOOK_BACK:
            incidents.append(incident)
            before = timestamp(now)
        ticks[incident.job] = before
    after = Cursor(
        since=cursor.since if failed.keys() & set(waiting) else timestamp(now - _OVERLAP),
        told=tuple(incident.id for run_id, incident in failed.items() if run_id not in waiting),
        checks=evaluated.seen,
        failing=tuple(sorted(evaluated.failing)),
        ticks=ticks,
    )
    return Look(tuple(incidents), after)


def _failed_runs(
    instance: dg.DagsterInstance, subjects: Subjects, cursor: Cursor, now: datetime
) -> dict[str, Incident]:
    since = max(parse_timestamp(cursor.since), now - LOOK_BACK)
    records = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=since),
        order_by="update_timestamp",
        ascending=True,
    )
    found = {}
    for record in records:
        run = record.dagster_run
        system = subjects.subject(run)
        if system is not None:
            message, remedy = _why(instance, run.run_id)
            found[run.run_id] = Incident(
                f"run:{run.run_id}", system, run.run_id, run.job_name, f"runs/{run.run_id}", message, remedy
            )
    return found


def _why(instance: dg.DagsterInstance, run_id: str) -> tuple[str, str]:
    """What the first failed step said, and its remedy; else what is said of the run."""
    entries = instance.all_logs(
        run_id, of_type={dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    )
    message, remedy = "", ""
    for entry in entries:
        event = entry.dagster_event
        if event is None:
            continue
        if event.is_step_failure:
            data = event.step_failure_data
            failure = data.user_failure_data
            if failure is not None:
                told: Mapping[str, dg.MetadataValue] = failure.metadata
                remedy = str(told["remedy"].value) if "remedy" in told else ""
                return failure.description or "", remedy
            message = message or (data.error.message.strip() if data.error else "")
        elif event.is_run_failure:
            # No data: the run did not end by itself, its process was killed.
            ended = event.event_specific_data
            error = ended.error if isinstance(ended, JobFailureData) else None
            message = message or (error.message.strip() if error else event.message or "")
    return message or "the run failed", remedy


def _failed_ticks(instance: dg.DagsterInstance, subjects: Subjects) -> Iterator[Incident]:
    """Schedules and sensors of this configuration whose newest tick failed: what they would have started did not start."""
    if instance.schedule_storage is None:
        return  # an instance in memory has no ticks
    for state in instance.all_instigator_state():
        name = state.instigator_name
        if name not in subjects.instigators:
            continue
        over = [TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE]
        newest = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1, statuses=over)
        for tick in newest:
            if tick.is_failure:
                message, _, remedy = _said_by(tick).partition("\n→ ")
                page = "automation"
                yield Incident(f"tick:{name}", subjects.instigators[name], None, name, page, message, remedy)


def _said_by(tick: InstigatorTick) -> str:
    error = tick.error
    while error is not None and error.cause is not None:
        error = error.cause
    if error is None:
        return "its tick failed"
    # "dagster._core.definitions.events.Failure: the text"
    return error.message.strip().removeprefix(f"{error.cls_name or ''}: ").rpartition(".Failure: ")[2]


@dataclass(slots=True)
class _Evaluated:
    by_run: dict[str, Incident] = field(default_factory=dict)
    runless: list[Incident] = field(default_factory=list)
    seen: dict[str, int] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)


def _failed_checks(
    instance: dg.DagsterInstance, subjects: Subjects, cursor: Cursor, now: datetime, waiting: Collection[str]
) -> _Evaluated:
    found = _Evaluated(seen=dict(cursor.checks), failing=set(cursor.failing))
    latest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(subjects.checks))
    for key, system in subjects.checks.items():
        if key in latest and latest[key].id > found.seen.get(_label(key), 0):
            _one_check(instance, system, key, now, waiting, found)
    return found


def _label(key: dg.AssetCheckKey) -> str:
    return f"{key.asset_key.to_user_string()}:{key.name}"


def _one_check(
    instance: dg.DagsterInstance,
    system: str,
    key: dg.AssetCheckKey,
    now: datetime,
    waiting: Collection[str],
    found: _Evaluated,
) -> None:
    label = _label(key)
    history = instance.event_log_storage.get_asset_check_execution_history(check_key=key, limit=_DEPTH)
    last_pass = max((one.id for one in history if _passed(one.evaluation)), default=0)
    for record in sorted(history, key=lambda record: record.id):
        if record.id <= found.seen.get(label, 0):
            continue
        if record.run_id and (record.run_id in waiting or not _is_over(instance, record.run_id)):
            return  # the run's own end, or that of its command, decides whether this is one incident with it
        found.seen[label] = record.id
        evaluation = record.evaluation
        if not isinstance(evaluation, dg.AssetCheckEvaluation):
            continue  # planned, and the run ended before it came to that
        fresh = now.timestamp() - record.create_timestamp <= LOOK_BACK.total_seconds()
        known = label in found.failing
        if evaluation.passed:
            found.failing.discard(label)
            continue
        found.failing.add(label)
        warns = evaluation.severity is dg.AssetCheckSeverity.WARN
        no_news = warns and (known or record.id < last_pass)
        if not fresh or no_news or evaluation.metadata.get(TOLD) == dg.MetadataValue.bool(True):
            continue
        before = _incident_of(instance, system, key, record.run_id, record.id, found)
        incident = before.failing(
            key.name, evaluation.severity.value.lower(), evaluation.description or "", _remedies(evaluation)
        )
        if record.run_id:
            found.by_run[record.run_id] = incident
        else:
            found.runless.append(incident)


def _passed(evaluation: object) -> bool:
    return isinstance(evaluation, dg.AssetCheckEvaluation) and evaluation.passed


def _incident_of(
    instance: dg.DagsterInstance,
    system: str,
    key: dg.AssetCheckKey,
    run_id: str,
    number: int,
    found: _Evaluated,
) -> Incident:
    """The checks of one run are one incident."""
    if not run_id:
        page = f"assets/{'/'.join(key.asset_key.path)}?view=checks"
        return Incident(f"check:{_label(key)}:{number}", system, None, "watch", page)
    if run_id in found.by_run:
        return found.by_run[run_id]
    run = instance.get_run_by_id(run_id)
    return Incident(f"checks:{run_id}", system, run_id, run.job_name if run else "", f"runs/{run_id}")


def _is_over(instance: dg.DagsterInstance, run_id: str) -> bool:
    run = instance.get_run_by_id(run_id)
    return run is None or run.is_finished


def _remedies(evaluation: dg.AssetCheckEvaluation) -> tuple[str, ...]:
    value = evaluation.metadata.get("findings")
    if not isinstance(value, dg.TableMetadataValue):
        remedy = evaluation.metadata.get("remedy")
        return (str(remedy.value),) if remedy is not None else ()
    found = [str(record.data.get("remedy") or "") for record in value.records]
    return tuple(dict.fromkeys(text for text in found if text))[:3]
