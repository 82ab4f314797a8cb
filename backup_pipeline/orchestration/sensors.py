"""What looks without being asked: migrations that wait (a backup before they run), and backups that grow old.

A run key deduplicates for ever in Dagster. A key of the migrations alone would never try again after a failure: the
attempt is part of it. The runs themselves tell whether a set was backed up. A cursor would move with the mere request
for a run.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import TypeVar

import dagster as dg
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionRecord
from pydantic import TypeAdapter, ValidationError

from backup_pipeline.errors import BackupError
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.model.manifest import Migrations
from backup_pipeline.model.outcome import Outcome
from backup_pipeline.operations import Site, monitoring
from backup_pipeline.operations.migrating import state_of
from backup_pipeline.operations.storage import has_a_vault
from backup_pipeline.orchestration.asset_checks import result
from backup_pipeline.orchestration.asset_plan import SystemPlan
from backup_pipeline.orchestration.maintenance import daily_checks
from backup_pipeline.orchestration.naming import SYSTEM_TAG, Names
from backup_pipeline.orchestration.resources import StepFailure, failures_told, tick_failures_told
from backup_pipeline.orchestration.tokens import digest_of

T = TypeVar("T")

#: The set of pending migrations that a run was started for.
PENDING_TAG = "backup_pipeline/pending"
#: After the first failed attempt; twice as long after each further one, up to the longest.
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
#: Dagster ends a tick after a minute; so many seconds of it are for looking.
BUDGET = 40.0
#: How often a system is looked at.
EVERY = timedelta(minutes=10)
#: An outcome that stays the same is recorded again after this, so that the UI shows that the sensor looks.
RECORD_AGAIN = timedelta(hours=24)

_UNFINISHED = frozenset(
    {
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    }
)


@dataclass(frozen=True)
class PendingSince:
    """The cursor: which set was pending at the last look, and since when."""

    set: str = ""
    since: str = ""

    def __post_init__(self) -> None:
        if self.set:
            parse_timestamp(self.since)

    @classmethod
    def parse(cls, cursor: str | None) -> PendingSince:
        """A cursor that this version cannot read is replaced: the set is then seen anew."""
        try:
            return TypeAdapter(cls).validate_json(cursor or "{}")
        except ValidationError:
            return cls()

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that was started for a set."""

    status: dg.DagsterRunStatus
    created: datetime
    ended: datetime | None = None
    #: It failed for what was found in its backup, and the backup is made.
    made: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    #: The number of the attempt to make now; None: none.
    attempt: int | None
    why: str


def decide(
    pending: Sequence[str],
    seen: PendingSince,
    attempts: Sequence[Attempt],
    now: datetime,
    made: int | None = None,
) -> Decision:
    """Pure: whether a backup is due. `attempts` are the newest runs that were started for this very set, oldest first;
    `made` is how many there ever were."""
    if not pending:
        return Decision(None, "no migration is pending")
    names = f"{len(pending)} pending ({', '.join(pending[:3])}{', …' if len(pending) > 3 else ''})"
    if any(attempt.status in _UNFINISHED for attempt in attempts):
        return Decision(None, f"{names}: the backup is under way")
    # Those from before the set was last seen anew belong to an earlier time: it was applied, and came back.
    mine = [attempt for attempt in attempts if attempt.created >= parse_timestamp(seen.since)]
    if any(attempt.made or attempt.status is dg.DagsterRunStatus.SUCCESS for attempt in mine):
        return Decision(None, f"{names}: backed up")
    number = (len(attempts) if made is None else made) + 1
    if mine:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(len(mine) - 1, 10))
        due = (mine[-1].ended or mine[-1].created) + pause
        if now < due:
            return Decision(
                None, f"{names}: attempt {len(mine)} failed; the next one is at {due:%H:%M:%S} UTC"
            )
    return Decision(number, f"{names}: attempt {len(mine) + 1}")


def set_of(state: Migrations) -> str:
    """Names a set of pending migrations, together with what they would be applied to."""
    return digest_of([state.tool, *sorted(state.applied), "--", *state.pending])[:24]


def pending_migrations(site: Site, plan: SystemPlan) -> dg.SensorDefinition:
    system, names = plan.system, plan.names

    @dg.sensor(
        name=names.migration_sensor(system),
        job_name=names.backup_job(system),
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Takes a pre-migration backup of {system} when its project holds migrations that the database "
        "has not seen: once per set of them, and again when that backup failed.",
    )
    def sense(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with tick_failures_told(site):
            state = state_of(site, system)
        now = site.clock()
        if state is None or not state.pending:
            why = decide((), PendingSince(), (), now).why if state is None or state.known else state.told()
            return dg.SensorResult(skip_reason=why, cursor=PendingSince("", timestamp(now)).dump())
        name = set_of(state)
        seen = PendingSince.parse(context.cursor)
        if seen.set != name:
            seen = PendingSince(name, timestamp(now))
        decision = _decided(context.instance, plan, state, seen, now)
        if decision.attempt is None:
            return dg.SensorResult(skip_reason=decision.why, cursor=seen.dump())
        context.log.info(decision.why)
        request = _request(plan, state, name, decision.attempt)
        return dg.SensorResult(run_requests=[request], cursor=seen.dump())

    return sense


def _request(plan: SystemPlan, state: Migrations, name: str, attempt: int) -> dg.RunRequest:
    config = {"kind": "pre-migration"}
    return dg.RunRequest(
        run_key=f"{name}-{attempt}",
        run_config={"ops": {plan.names.read_step(plan.system): {"config": config}}},
        tags={
            PENDING_TAG: name,
            SYSTEM_TAG: plan.names.tag(plan.system),
            "backup_pipeline/attempt": str(attempt),
        },
    )


def _decided(
    instance: dg.DagsterInstance, plan: SystemPlan, state: Migrations, seen: PendingSince, now: datetime
) -> Decision:
    wanted = dg.RunsFilter(tags={PENDING_TAG: seen.set, SYSTEM_TAG: plan.names.tag(plan.system)})
    # All are counted, and the newest are looked at: a number that stood still would be a run key that Dagster has seen.
    made = instance.get_runs_count(wanted)
    attempts = attempts_for(instance, wanted, plan.names.manifest_key(plan.system))
    return decide(state.pending, seen, attempts, now, made)


def attempts_for(
    instance: dg.DagsterInstance, wanted: dg.RunsFilter, manifest: dg.AssetKey
) -> tuple[Attempt, ...]:
    """The newest of them, oldest first. Only of the last one it is asked whether it made a backup all the same: after
    such a one there is no other."""
    records = instance.get_run_records(wanted, limit=100)
    last = records[0].dagster_run.run_id if records else ""
    made = {
        entry.asset_materialization.asset_key
        for entry in (
            instance.all_logs(last, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION) if last else ()
        )
        if entry.asset_materialization is not None
    }
    return tuple(
        Attempt(
            record.dagster_run.status,
            record.create_timestamp,
            datetime.fromtimestamp(record.end_time, record.create_timestamp.tzinfo)
            if record.end_time
            else None,
            record.dagster_run.run_id == last and manifest in made,
        )
        for record in reversed(records)
    )


def watch(site: Site, names: Names) -> dg.SensorDefinition:
    """fresh, proven and copied, judged while nothing runs: a backup that silently stopped is what no run can tell of.
    retention and storage walk over the whole vault, so they are judged by a run, once a day."""

    @dg.sensor(
        name=names.watch_sensor,
        job_name=names.daily_job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Judges the checks `fresh`, `proven` and `copied` of every system, and records them when they change; "
        "starts a run for `retention` and `storage` once a day.",
    )
    def sense(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now, began = site.clock(), time.monotonic()
        looked = _when_looked_at(context.cursor, site)
        said = []
        for system in sorted(site.systems, key=lambda name: looked.get(name, 0.0)):
            left = BUDGET - (time.monotonic() - began)
            if left <= 0 or 0 <= now.timestamp() - looked.get(system, 0.0) < EVERY.total_seconds():
                continue
            for asset, outcome in _judged(site, system, names, left):
                key = dg.AssetCheckKey(asset, outcome.name)
                if is_news(context.instance, key, outcome, now):
                    said.append(_report(context.instance, key, outcome, names))
            looked[system] = now.timestamp()
        left = BUDGET - (time.monotonic() - began)
        for line in said:
            context.log.info(line)
        if left > 0 and _daily_is_due(context.instance, site, names, now, left):
            return dg.SensorResult(run_requests=[dg.RunRequest()], cursor=json.dumps(looked))
        return dg.SensorResult(skip_reason="; ".join(said) or "nothing changed", cursor=json.dumps(looked))

    return sense


def _when_looked_at(cursor: str | None, site: Site) -> dict[str, float]:
    """System → when. A cursor that this version cannot read is replaced: then every system is due."""
    try:
        found = TypeAdapter(dict[str, float]).validate_json(cursor or "{}")
    except ValidationError:
        return {}
    return {name: at for name, at in found.items() if name in site.systems}


def _judged(site: Site, system: str, names: Names, seconds: float) -> Sequence[tuple[dg.AssetKey, Outcome]]:
    """A vault that does not answer is the news that this is for: then `fresh` fails, and the other systems are judged."""

    def look() -> list[tuple[dg.AssetKey, Outcome]]:
        with failures_told(site):
            found = [(names.manifest_key(system), one) for one in monitoring.watched(site.one_look(), system)]
            copies = monitoring.copied(site, system)
            return [*found, *((names.copy_key(system, name), one) for name, one in copies)]

    try:
        return within(seconds, look)
    except StepFailure as failure:
        told = failure.metadata.get("remedy")
        why, remedy = str(failure.description), str(told.value) if told else ""
    except TimeoutError:
        why = f"the vault did not answer within {seconds:.0f} s"
        remedy = f"look whether the vault can be reached from here: `backup-pipeline status {system}`"
    unknown = Finding.of("not-judged", system=system, why=why, remedy=remedy)
    return [(names.manifest_key(system), Outcome("fresh", (unknown,)))]


def within(seconds: float, work: Callable[[], T]) -> T:
    """The result, or TimeoutError; then the work goes on in a thread that no one waits for."""
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            done.set_exception(error)

    threading.Thread(target=run, daemon=True, name="watch").start()
    return done.result(seconds)


def _daily_is_due(
    instance: dg.DagsterInstance, site: Site, names: Names, now: datetime, seconds: float
) -> bool:
    """Not judged for a day, and not tried for a day: a run that failed is told of, and not repeated all day."""
    if not any(is_old(instance, key, now) for key in daily_checks(site, names)):
        return False
    since = now - RECORD_AGAIN
    if instance.get_runs_count(dg.RunsFilter(job_name=names.daily_job, created_after=since)):
        return False
    try:
        return within(seconds, lambda: has_a_vault(site))
    except (BackupError, TimeoutError):
        return False  # `fresh` says that


def _report(instance: dg.DagsterInstance, key: dg.AssetCheckKey, outcome: Outcome, names: Names) -> str:
    found = result(outcome, key.asset_key)
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=found.passed,
            metadata=found.metadata,
            severity=found.severity,
            description=found.description,
        )
    )
    system = names.system_of_key(key.asset_key)
    of_a_backup = key.asset_key == names.manifest_key(system)
    what = system if of_a_backup else key.asset_key.to_user_string()
    return f"{what}: {outcome.name} {'passed' if outcome.passed else 'failed'}"


def is_old(instance: dg.DagsterInstance, key: dg.AssetCheckKey, now: datetime) -> bool:
    """Not recorded for a day, or never."""
    latest = last_recorded(instance, key)
    return latest is None or _age(latest, now) > RECORD_AGAIN


def is_news(instance: dg.DagsterInstance, key: dg.AssetCheckKey, outcome: Outcome, now: datetime) -> bool:
    """Another severity or another finding than what is recorded, or recorded too long ago."""
    latest = last_recorded(instance, key)
    if latest is None or _age(latest, now) > RECORD_AGAIN:
        return True
    assert isinstance(latest.evaluation, dg.AssetCheckEvaluation)
    return _said(latest.evaluation) != _said(result(outcome, key.asset_key))


def _said(one: dg.AssetCheckEvaluation | dg.AssetCheckResult) -> tuple[bool, dg.AssetCheckSeverity, set[str]]:
    table = one.metadata.get("findings")
    records = table.records if isinstance(table, dg.TableMetadataValue) else ()
    codes = {str(row.data.get("code")) for row in records if row.data.get("severity") != "info"}
    return bool(one.passed), one.severity, codes


def _age(record: AssetCheckExecutionRecord, now: datetime) -> timedelta:
    return timedelta(seconds=now.timestamp() - record.create_timestamp)


def last_recorded(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> AssetCheckExecutionRecord | None:
    history = instance.event_log_storage.get_asset_check_execution_history(check_key=key, limit=10)
    # A record may be of a check that is only planned yet.
    done = [record for record in history if isinstance(record.evaluation, dg.AssetCheckEvaluation)]
    return max(done, key=lambda record: record.id, default=None)
