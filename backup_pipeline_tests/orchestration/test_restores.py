"""The job restore_<system>: a dry run that shows its plan, and the plan that was approved."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import dagster as dg
import pytest

import backup_pipeline as bp
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations.backup import backup
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline_tests.orchestration.conftest import Shop

KEY = dg.AssetKey(["shop", "restores"])


@pytest.fixture
def spoilt(shop: Shop) -> Shop:
    backup(shop.site, BackupOrder("shop"))
    shop.sql("DELETE FROM orders WHERE id = 12; UPDATE orders SET total = 7 WHERE id = 10;")
    return shop


def orders(shop: Shop) -> list[tuple[int, float]]:
    with closing(sqlite3.connect(shop.database)) as connection:
        return connection.execute("SELECT id, total FROM orders ORDER BY id").fetchall()


def run(
    shop: Shop, instance: dg.DagsterInstance, verb: str = "restore", **config: Any
) -> dg.ExecuteInProcessResult:
    return shop.job(f"{verb}_shop").execute_in_process(
        instance=instance, run_config={"ops": {f"shop__{verb}": {"config": config}}}, raise_on_error=False
    )


def told(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    events = [event for event in result.all_events if event.is_asset_observation]
    (one,) = [event.asset_observation_data.asset_observation for event in events] or [
        event.materialization for event in result.get_asset_materialization_events()
    ]
    assert one.asset_key == KEY
    return {name: value.value for name, value in one.metadata.items() if hasattr(value, "value")}


def test_a_run_is_a_dry_run_until_it_names_the_digest_of_a_plan(
    spoilt: Shop, instance: dg.DagsterInstance
) -> None:
    looked = run(spoilt, instance, only=["orders"], update="all")
    assert looked.success
    plan = told(looked)
    assert "| main.orders | 1 | 1 | – |" in plan["plan"]
    assert orders(spoilt) == [(10, 7.0), (11, 1.25)]
    done = run(spoilt, instance, only=["orders"], update="all", approve=plan["digest"])
    assert done.success
    assert told(done)["created"] == 1
    assert orders(spoilt) == [(10, 9.5), (11, 1.25), (12, 3.0)]
    assert instance.get_latest_materialization_event(KEY) is not None
    undo = told(run(spoilt, instance, "undo"))
    assert orders(spoilt)[0] == (10, 9.5)
    assert run(spoilt, instance, "undo", approve=undo["digest"]).success
    assert orders(spoilt) == [(10, 7.0), (11, 1.25)]


def test_a_plan_that_is_another_by_now_is_not_done(spoilt: Shop, instance: dg.DagsterInstance) -> None:
    plan = told(run(spoilt, instance, only=["orders"]))
    spoilt.sql("DELETE FROM orders WHERE id = 11")
    done = run(spoilt, instance, only=["orders"], approve=plan["digest"])
    assert not done.success
    assert orders(spoilt) == [(10, 7.0)]


def test_a_restore_that_no_run_recorded_is_an_event_as_well(
    spoilt: Shop, instance: dg.DagsterInstance
) -> None:
    bp.plan_restore("shop", live=True, config=spoilt.config).apply()
    sensor = build_defs(spoilt.site).get_repository_def().get_sensor_def("history")
    sensor(dg.build_sensor_context(instance=instance))
    event = instance.get_latest_materialization_event(KEY)
    assert event is not None
    assert event.asset_materialization is not None
    assert event.asset_materialization.metadata["created"].value == 1
