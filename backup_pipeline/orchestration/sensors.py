"""What looks without being asked: migrations that wait (a backup before they run), and backups that grow old.

A run key deduplicates for ever in Dagster, so a key that names only the migrations would never try again after a
failure: the attempt is part of it. And whether a set was backed up is read from the runs themselves, not from a
cursor that moved when the run was merely asked for.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import dagster as dg

from backup_pipeline.model.ids import parse_timestamp, timestamp
from backup_pipeline.model.manifest import Migrations
from backup_pipeline.orchestration.asset_checks import Outcome, judge_status
from backup_pipeline.orchestration.copies import judge_copies
from backup_pipeline.orchestration.keeping import daily_checks
from backup_pipeline.orchestration.naming import SYSTEM_TAG, Names
from backup_pipeline.orchestration.plan import SystemPlan
from backup_pipeline.orchestration.resources import tick_failures_told
from backup_pipeline.orchestration.tokens import digest_of
from backup_pipeline.project import Project

#: The set of pending migrations that a run was started for.
PENDING_TAG = "backup_pipeline/pending"
#: After the first failed attempt; twice as long after each further one, up to the longest.
FIRST_PAUSE = timedelta(minutes=1)
LONGEST_PAUSE = timedelta(hours=1)
#: An outcome that stays the same is recorded again after this, so that the UI shows that somebody looks.
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


@dataclass(frozen=True, slots=True)
class Seen:
    """The cursor: which set was pending at the last look, and since when."""

    set: str = ""
    since: str = ""

    @classmethod
    def parse(cls, cursor: str | None) -> Seen:
        return cls(**json.loads(cursor)) if cursor else cls()

    def dump(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that was started for a set."""

    status: dg.DagsterRunStatus
    created: datetime
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    #: The number of the attempt to make now; None: none.
    attempt: int | None
    why: str


def decide(pending: Sequence[str], seen: Seen, attempts: Sequence[Attempt], now: datetime) -> Decision:
    """Pure: whether a backup is due. `attempts` are all runs ever started for this very set, oldest first."""
    if not pending:
        return Decision(None, "no migration is pending")
    names = f"{len(pending)} pending ({', '.join(pending[:3])}{', …' if len(pending) > 3 else ''})"
    if any(attempt.status in _UNFINISHED for attempt in attempts):
        return Decision(None, f"{names}: the backup is under way")
    # Those from before the set was last seen anew belong to an earlier time: it was applied, and came back.
    mine = [attempt for attempt in attempts if attempt.created >= parse_timestamp(seen.since)]
    if any(attempt.status is dg.DagsterRunStatus.SUCCESS for attempt in mine):
        return Decision(None, f"{names}: backed up")
    number = len(attempts) + 1
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


def pending_migrations(project: Project, plan: SystemPlan) -> dg.SensorDefinition:
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
        with tick_failures_told(project):
            state = project.migrations(system)
        now = project.clock()
        if state is None or not state.pending:
            return dg.SensorResult(
                skip_reason=decide((), Seen(), (), now).why, cursor=Seen("", timestamp(now)).dump()
            )
        name = set_of(state)
        seen = Seen.parse(context.cursor)
        if seen.set != name:
            seen = Seen(name, timestamp(now))
        decision = decide(state.pending, seen, attempts_for(context.instance, names.tag(system), name), now)
        if decision.attempt is None:
            return dg.SensorResult(skip_reason=decision.why, cursor=seen.dump())
        context.log.info(decision.why)
        request = _request(plan, state, name, decision.attempt)
        return dg.SensorResult(run_requests=[request], cursor=seen.dump())

    return sense


def _request(plan: SystemPlan, state: Migrations, name: str, attempt: int) -> dg.RunRequest:
    config = {"kind": "pre-migration", "pending": list(state.pending)}
    return dg.RunRequest(
        run_key=f"{name}-{attempt}",
        run_config={"ops": {plan.names.read_step(plan.system): {"config": config}}},
        tags={
            PENDING_TAG: name,
            SYSTEM_TAG: plan.names.tag(plan.system),
            "backup_pipeline/attempt": str(attempt),
        },
    )


def attempts_for(instance: dg.DagsterInstance, tag: str, name: str) -> tuple[Attempt, ...]:
    records = instance.get_run_records(
        dg.RunsFilter(tags={PENDING_TAG: name, SYSTEM_TAG: tag}), ascending=True, limit=1000
    )
    return tuple(
        Attempt(
            record.dagster_run.status,
            record.create_timestamp,
            datetime.fromtimestamp(record.end_time, record.create_timestamp.tzinfo)
            if record.end_time
            else None,
        )
        for record in records
    )


def watch(project: Project, names: Names) -> dg.SensorDefinition:
    """fresh, proven and copied, judged while nothing runs: the backup that silently stopped is what nobody looks for. And
    retention and storage, once a day: growth is only known to whoever looks again and again."""

    @dg.sensor(
        name=names.watch_sensor,
        minimum_interval_seconds=600,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Judges the checks `fresh`, `proven` and `copied` of every system, and records them when they change; "
        "`retention` and `storage` once a day.",
    )
    def sense(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        said = []
        for system in project.systems:
            with tick_failures_told(project):
                outcomes = [(names.manifest_key(system), one) for one in judge_status(project, system)]
                outcomes += judge_copies(project, system, names)
            for asset, outcome in outcomes:
                key = dg.AssetCheckKey(asset, outcome.name)
                if is_news(context.instance, key, outcome.passed, project.clock()):
                    said.append(_report(context.instance, key, outcome, names))
        for key, judge in daily_checks(project, names):
            if is_old(context.instance, key, project.clock()):
                with tick_failures_told(project):
                    said.append(_report(context.instance, key, judge(), names))
        return dg.SkipReason("; ".join(said) or "nothing changed")

    return sense


def _report(instance: dg.DagsterInstance, key: dg.AssetCheckKey, outcome: Outcome, names: Names) -> str:
    result = outcome.result(key.asset_key)
    instance.report_runless_asset_event(
        dg.AssetCheckEvaluation(
            asset_key=key.asset_key,
            check_name=key.name,
            passed=result.passed,
            metadata=result.metadata,
            severity=result.severity,
            description=result.description,
        )
    )
    system = names.system_of_key(key.asset_key)
    of_a_backup = key.asset_key == names.manifest_key(system)
    what = system if of_a_backup else key.asset_key.to_user_string()
    return f"{what}: {outcome.name} {'passed' if outcome.passed else 'failed'}"


@dataclass(frozen=True, slots=True)
class Recorded:
    """The last outcome of a check that the history knows."""

    passed: bool
    at: float

    def is_old(self, now: datetime) -> bool:
        return now.timestamp() - self.at > RECORD_AGAIN.total_seconds()


def is_old(instance: dg.DagsterInstance, key: dg.AssetCheckKey, now: datetime) -> bool:
    """Not recorded for a day, or never."""
    latest = last_recorded(instance, key)
    return latest is None or latest.is_old(now)


def is_news(instance: dg.DagsterInstance, key: dg.AssetCheckKey, passed: bool, now: datetime) -> bool:
    latest = last_recorded(instance, key)
    return latest is None or latest.passed != passed or latest.is_old(now)


def last_recorded(instance: dg.DagsterInstance, key: dg.AssetCheckKey) -> Recorded | None:
    history = instance.event_log_storage.get_asset_check_execution_history(check_key=key, limit=10)
    # A record may be of a check that is only planned yet.
    done = [record for record in history if isinstance(record.evaluation, dg.AssetCheckEvaluation)]
    if not done:
        return None
    latest = max(done, key=lambda record: record.id)
    assert isinstance(latest.evaluation, dg.AssetCheckEvaluation)
    return Recorded(latest.evaluation.passed, latest.create_timestamp)
