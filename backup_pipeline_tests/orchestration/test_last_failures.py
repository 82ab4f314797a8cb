"""What `status` is told of failures that no step of ours could write down: read from Dagster's files, without Dagster."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import TickData, TickStatus
from dagster._daemon.types import DaemonHeartbeat
from dagster._utils.error import SerializableErrorInfo

from backup_pipeline.model.acts import Act
from backup_pipeline.operations import Site
from backup_pipeline.orchestration.failures_sqlite import last_failures
from backup_pipeline.orchestration.instance import home
from backup_pipeline_tests.orchestration.conftest import Shop


@pytest.fixture
def instance(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """That of this machine, as the daemon opens it."""
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with dg.DagsterInstance.from_config(str(home(shop.site))) as made:
        yield made


def failing(shop: Shop, *, ago: timedelta = timedelta()) -> dict[str, Act]:
    site = Site(shop.site.settings, clock=lambda: datetime.now(UTC) + ago)
    return {act.verb: act for act in last_failures(site, "shop", {})}


def ticked(
    instance: dg.DagsterInstance, name: str, status: TickStatus, error: str = "", at: float | None = None
) -> None:
    instance.create_tick(
        TickData(
            instigator_origin_id=name,
            instigator_name=name,
            instigator_type=InstigatorType.SCHEDULE,
            status=status,
            timestamp=datetime.now(UTC).timestamp() if at is None else at,
            selector_id=name,
            run_ids=[],
            error=SerializableErrorInfo(f"builtins.ValueError: {error}", [], "ValueError") if error else None,
        )
    )


def test_a_run_that_never_came_to_a_step_is_told_until_one_succeeds(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    run = instance.create_run_for_job(shop.job(), tags={"backup_pipeline/system": "shop"})
    instance.report_run_failed(run, "the process that should have run it could not be started")
    told = failing(shop)["backup"]
    assert told.run == run.run_id
    assert "could not be started" in told.message
    assert told.remedy
    assert shop.run(instance).success
    assert failing(shop) == {}
    # One that failed in a step of ours is told once, with the remedy that the step gave.
    shop.database.rename(shop.folder / "away")
    assert not shop.run(instance).success
    (told,) = failing(shop).values()
    assert told.code != "run-failed"
    assert "shop.sqlite3" in told.message


def test_a_tick_that_raises_is_told_until_one_does_not(shop: Shop, instance: dg.DagsterInstance) -> None:
    ticked(instance, "backup_shop_schedule", TickStatus.FAILURE, "no such zone")
    ticked(instance, "backup_other_schedule", TickStatus.FAILURE, "of another system")
    ticked(instance, "somebody_elses_sensor", TickStatus.FAILURE, "of another project")
    (told,) = failing(shop).values()
    assert (told.verb, told.message) == ("backup_shop_schedule", "no such zone")
    ticked(instance, "backup_shop_schedule", TickStatus.SUCCESS)
    assert failing(shop) == {}


def test_a_daemon_that_evaluates_nothing_of_ours_is_told(shop: Shop, instance: dg.DagsterInstance) -> None:
    now = datetime.now(UTC)
    alive = DaemonHeartbeat(now.timestamp(), "SCHEDULER", "a daemon", [])
    instance.add_daemon_heartbeat(alive)
    assert failing(shop) == {}, "it has just begun"
    ticked(instance, "history", TickStatus.SKIPPED, at=now.timestamp())
    later = timedelta(minutes=12)
    assert failing(shop, ago=later) == {}, "the daemon is not there either, which `status` says by itself"
    instance.add_daemon_heartbeat(replace_time(alive, now + later))
    told = failing(shop, ago=later)["schedules"]
    assert told.code == "not-loaded"
    assert "does not load" in told.message
    ticked(instance, "history", TickStatus.SKIPPED, at=(now + later).timestamp())
    assert failing(shop, ago=later) == {}


def replace_time(heartbeat: DaemonHeartbeat, at: datetime) -> DaemonHeartbeat:
    return heartbeat._replace(timestamp=at.timestamp())


def test_an_instance_elsewhere_or_of_another_version_leaves_the_log_of_acts(shop: Shop) -> None:
    assert failing(shop) == {}
    folder = home(shop.site, {})
    (folder / "history").mkdir(exist_ok=True)
    (folder / "history" / "runs.db").write_text("no database")
    assert failing(shop) == {}
