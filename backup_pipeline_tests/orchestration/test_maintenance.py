"""Retention, scrub and their checks in the graph."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from backup_pipeline.model.orders import BackupOrder, CopyOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.operations.copy import copy_to
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.naming import PLAIN
from backup_pipeline.vault import layout, lock
from backup_pipeline_tests.orchestration.conftest import Failure, Shop

RULES = 'retention: {last: 2, grace: 1s, schedule: "0 5 * * *"}\nscrub: {schedule: "0 6 1 * *"}'


@pytest.fixture
def kept(shop: Shop) -> Shop:
    shop.configure(top=RULES)
    for _ in range(4):
        backup(shop.site, BackupOrder("shop", full=True))
    return shop


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, object]:
    (event,) = result.get_asset_materialization_events()
    return {
        name: value if isinstance(value, dg.TableMetadataValue) else value.value
        for name, value in event.materialization.metadata.items()
    }


def outcomes(result: dg.ExecuteInProcessResult) -> dict[str, bool]:
    return {one.check_name: one.passed for one in result.get_asset_check_evaluations()}


def test_the_prune_job_prunes_says_why_and_checks_what_is_left(
    kept: Shop, instance: dg.DagsterInstance
) -> None:
    result = kept.job("prune_shop").execute_in_process(instance=instance)
    told = metadata(result)
    assert (told["kept"], told["forgotten"]) == (2, 2)
    shown = told["backups"]
    assert isinstance(shown, dg.TableMetadataValue)
    assert shown.records[0].data["why"] == "the newest full backup; last 1 of 2"
    assert outcomes(result) == {"retention": True}
    assert len(kept.site.vault.ids("shop")) == 2


def test_to_materialize_everything_makes_a_backup_and_deletes_nothing(
    kept: Shop, instance: dg.DagsterInstance
) -> None:
    """The button "Materialize all" once turned 18 backups into 4."""
    before = kept.site.vault.ids("shop")
    result = (
        build_defs(kept.site).resolve_implicit_global_asset_job_def().execute_in_process(instance=instance)
    )
    assert result.success
    after = kept.site.vault.ids("shop")
    assert set(before) < set(after)
    told = {
        name: value.value
        for name, value in result.asset_materializations_for_node("shop__retention")[0].metadata.items()
    }
    assert (told["kept"], told["forgotten"], told["would_forget"]) == (2, 0, len(after) - 2)
    config = {"ops": {"shop__retention": {"config": {"delete": False}}}}
    kept.job("prune_shop").execute_in_process(instance=instance, run_config=config)
    assert kept.site.vault.ids("shop") == after


def test_the_schedule_prunes_as_the_job_does(kept: Shop, instance: dg.DagsterInstance) -> None:
    kept.configure(top="retention: {last: 1, schedule: '0 5 * * *'}\n")
    defs = build_defs(kept.site)
    schedule = defs.resolve_schedule_def("prune_shop_schedule")
    with dg.build_schedule_context(instance=instance, repository_def=defs.get_repository_def()) as context:
        tick = schedule.evaluate_tick(context)
    assert tick.run_requests is not None
    (request,) = tick.run_requests
    kept.job("prune_shop").execute_in_process(instance=instance, run_config=request.run_config or None)
    assert len(kept.site.vault.ids("shop")) == 1


def test_a_prune_that_meets_another_one_waits_for_it(kept: Shop, instance: dg.DagsterInstance) -> None:
    """The CLI's, or that of another system where the instance has no limit for the pool."""
    began, met = threading.Event(), kept.site.vault.store

    def other() -> None:
        with lock.hold_key(met, layout.PRUNE_LOCK, "prune"):
            began.set()
            time.sleep(2)

    beside = threading.Thread(target=other)
    beside.start()
    assert began.wait(10)
    result = kept.job("prune_shop").execute_in_process(instance=instance)
    beside.join()
    assert metadata(result)["forgotten"] == 2


def test_the_copies_that_say_so_are_pruned_after_the_vault(
    shop: Shop, instance: dg.DagsterInstance, said: Failure
) -> None:
    copies = "copies: {near: {url: ./near, prune: true}, far: ./far, gone: {url: ./gone, prune: true}}\n"
    shop.configure(top=copies + RULES)
    for _ in range(4):
        backup(shop.site, BackupOrder("shop", full=True))
    for name in ("near", "far", "gone"):
        copy_to(shop.site, CopyOrder("shop"), name)
    job = shop.job("prune_shop")
    dry = {"ops": {"shop__retention": {"config": {"delete": False}}}}
    told = metadata(job.execute_in_process(instance=instance, run_config=dry))
    assert (told["forgotten"], told["would_forget_in_near"]) == (0, 2)
    assert len(shop.site.copy("near").ids("shop")) == 4
    told = metadata(job.execute_in_process(instance=instance))
    assert (told["forgotten"], told["forgotten_in_near"], told["forgotten_in_gone"]) == (2, 2, 2)
    assert "forgotten_in_far" not in told
    assert [len(shop.site.copy(name).ids("shop")) for name in ("near", "far", "gone")] == [2, 4, 2]
    backup(shop.site, BackupOrder("shop", full=True))
    copy_to(shop.site, CopyOrder("shop"), "near")
    (shop.folder / "gone").rename(shop.folder / "not-mounted")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    assert "copy gone: " in said(result)
    assert [len(shop.site.vault.ids("shop")), len(shop.site.copy("near").ids("shop"))] == [2, 2]


def test_a_prune_that_found_something_in_its_way_fails_loudly(
    kept: Shop, instance: dg.DagsterInstance, said: Failure
) -> None:
    path = kept.folder / "vault/shop" / kept.site.vault.ids("shop")[0] / "manifest.json"
    path.unlink()
    result = kept.job("prune_shop").execute_in_process(instance=instance, raise_on_error=False)
    assert not result.success
    assert "it is unknown what" in said(result)
    assert "backup-pipeline forget shop" in said(result)


def test_the_scrub_job_reads_the_vault_back_and_looks_at_its_size(
    kept: Shop, instance: dg.DagsterInstance, said: Failure
) -> None:
    config = {"ops": {"vault__scrub": {"config": {"everything": True}}}}
    result = kept.job("scrub").execute_in_process(instance=instance, run_config=config)
    told = metadata(result)
    assert (told["parts_read"], told["parts_within_window"]) == (256, 256)
    assert "storage" in outcomes(result)
    # 256 parts are no 256 lines, and none of them is a warning.
    said_by_us = [one for one in instance.all_logs(result.run_id) if not one.is_dagster_event]
    assert len(said_by_us) < 20
    assert not [one.user_message for one in said_by_us if one.level >= logging.WARNING]
    victim = next(path for path in (kept.folder / "vault/objects").rglob("*") if path.is_file())
    victim.unlink()
    result = kept.job("scrub").execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    assert not result.success
    assert "is missing; it belongs to shop" in said(result)


def test_schedules_run_in_the_zone_of_their_system(kept: Shop) -> None:
    defs = build_defs(kept.configure("timezone: Europe/Berlin", RULES))
    found = {one.name: one for one in defs.get_repository_def().schedule_defs}
    assert set(found) == {"prune_shop_schedule", "scrub_schedule"}
    assert (found["prune_shop_schedule"].cron_schedule, found["prune_shop_schedule"].execution_timezone) == (
        "0 5 * * *",
        "Europe/Berlin",
    )
    assert found["scrub_schedule"].execution_timezone == "UTC"
    assert all(one.default_status is dg.DefaultScheduleStatus.RUNNING for one in found.values())


def test_without_rules_there_is_no_retention_in_the_graph(shop: Shop) -> None:
    names = {job.name for job in build_defs(shop.site).get_repository_def().get_all_jobs()}
    assert "prune_shop" not in names
    assert "scrub" in names


def test_the_sensor_watch_has_retention_and_storage_judged_by_a_run_once_a_day(
    kept: Shop, instance: dg.DagsterInstance
) -> None:
    def watched(later: timedelta = timedelta(0)) -> int:
        """How many runs it asks for; they are made, as the daemon would."""
        site = Site(kept.site.settings, clock=lambda: datetime.now(UTC) + later)
        defs = build_defs(site)
        with dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def()) as context:
            asked = defs.resolve_sensor_def("watch").evaluate_tick(context).run_requests or ()
        for _ in asked:
            assert defs.resolve_job_def("daily_checks").execute_in_process(instance=instance).success
        return len(asked)

    assert watched() == 1
    for key, name in ((PLAIN.scrub_key, "storage"), (PLAIN.retention_key("shop"), "retention")):
        (record,) = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(key, name), limit=5
        )
        assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
    assert watched() == 0
    assert watched(timedelta(hours=25)) == 1


def test_before_the_first_backup_there_is_nothing_to_watch(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.configure(top=RULES)
    defs = build_defs(shop.site)
    with dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def()) as context:
        answer = defs.resolve_sensor_def("watch").evaluate_tick(context)
    assert not answer.run_requests
    assert "shop: fresh failed" in (answer.skip_message or "")
    assert not (shop.folder / "vault").exists()
