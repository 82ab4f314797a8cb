"""Copies in the graph: behind the manifest and its blocking checks, tried again when a store is away, watched when nothing runs."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import pytest

from backup_pipeline.backups import making
from backup_pipeline.errors import CopyFailed, StoreUnavailable
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.orders import BackupOrder, CopyOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.operations.copy import Copied, copy_to
from backup_pipeline.orchestration import copies, naming
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.launch import Hearing, run_backup
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.orchestration.conftest import Failure, Shop

TWO = "copies: {disk: ./disk, offsite: {url: ./offsite, within: 1h}}"
DISK, OFFSITE = naming.PLAIN.copy_key("shop", "disk"), naming.PLAIN.copy_key("shop", "offsite")


@pytest.fixture
def copied(shop: Shop) -> Shop:
    shop.configure(top=TWO)
    return shop


def metadata(instance: dg.DagsterInstance, key: dg.AssetKey) -> dict[str, object]:
    event = instance.get_latest_materialization_event(key)
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def outcomes(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], bool]:
    return {
        (one.asset_key.to_user_string(), one.check_name): one.passed
        for one in result.get_asset_check_evaluations()
    }


def test_a_backup_is_copied_when_it_is_checked_and_the_copies_are_checked_then(
    copied: Shop, instance: dg.DagsterInstance
) -> None:
    result = copied.run(instance)
    assert result.success
    order = [event.step_key for event in result.all_events if event.is_step_success]
    assert order.index("shop__manifest") < order.index("shop__copies__disk")
    (backup,) = copied.site.vault.ids("shop")
    shown = metadata(instance, OFFSITE)
    assert (shown["copied"], shown["latest"]) == (1, backup)
    assert {"place", "objects", "bytes", "objects_skipped", "seconds", "bytes_per_second"} <= shown.keys()
    found = outcomes(result)
    assert found["shop/copies/disk", "copied"]
    assert found["shop/copies/offsite", "copied"]
    copied.run(instance)
    again = metadata(instance, OFFSITE)
    assert (again["copied"], again["present"], again["objects"]) == (1, 1, 0)


def test_what_fails_a_blocking_check_is_not_copied(
    copied: Shop, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(vault: Vault, *args: Any, **kwargs: Any) -> Manifest:
        manifest = commit(vault, *args, **kwargs)
        for stat in list(vault.store.list("objects/")):
            vault.store.put(stat.key, b"not this", overwrite=True)
        return manifest

    commit = making.commit
    monkeypatch.setattr(making, "commit", damaged)
    result = copied.run(instance)
    assert not result.success
    assert instance.get_latest_materialization_event(DISK) is None
    assert copied.site.copy("disk").ids("shop") == ()


def test_one_copy_that_fails_keeps_no_other_from_being_made_and_the_run_fails(
    copied: Shop, instance: dg.DagsterInstance, said: Failure
) -> None:
    (copied.folder / "disk").write_text("this is no folder")
    result = copied.run(instance)
    assert not result.success
    assert instance.get_latest_materialization_event(naming.PLAIN.manifest_key("shop")) is not None
    assert instance.get_latest_materialization_event(DISK) is None
    assert metadata(instance, OFFSITE)["copied"] == 1
    assert "Not a directory" in said(result)
    (copied.folder / "disk").unlink()
    assert copied.run(instance, job="copy_shop").success
    assert metadata(instance, DISK)["copied"] == 1


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "PAUSE", 0.0)


def test_a_store_that_is_away_for_a_moment_is_tried_again(
    copied: Shop, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def flaky(site: Any, order: CopyOrder, target: str, *more: Any, **most: Any) -> object:
        tries.append(target)
        if tries.count("disk") <= 2 and target == "disk":
            raise StoreUnavailable("the store does not answer", remedy="wait")
        return copy_to(site, order, target, *more, **most)

    monkeypatch.setattr(copies, "copy_to", flaky)
    assert copied.run(instance).success
    assert sorted(tries) == ["disk", "disk", "disk", "offsite"]
    assert metadata(instance, DISK)["copied"] == 1


def test_a_damaged_object_fails_the_copy_and_names_what_it_was(
    copied: Shop, instance: dg.DagsterInstance, said: Failure
) -> None:
    site = copied.site
    backup(site, BackupOrder("shop"))
    for stat in list(site.vault.store.list("objects/")):
        site.vault.store.put(stat.key, b"not this", overwrite=True)
    result = copied.run(instance, job="copy_shop")
    assert not result.success
    assert "was not copied" in said(result)
    assert "repair shop" in said(result)


def test_a_launched_backup_says_which_copy_failed_and_makes_the_others(
    copied: Shop, instance: dg.DagsterInstance
) -> None:
    (copied.folder / "disk").write_text("this is no folder")
    told: list[Copied] = []
    with pytest.raises(CopyFailed, match="was committed and is whole, but the copy disk"):
        run_backup(copied.site, BackupOrder("shop"), instance=instance, hearing=Hearing(copied=told.append))
    (backup,) = copied.site.vault.ids("shop")
    assert [(one.name, one.ok) for one in told] == [("disk", False), ("offsite", True)]
    assert copied.site.copy("offsite").ids("shop") == (backup,)
    jobs = {run.job_name: run.status for run in instance.get_runs()}
    assert jobs == {"backup_shop": dg.DagsterRunStatus.FAILURE, "copy_shop": dg.DagsterRunStatus.SUCCESS}


def test_a_launched_backup_can_leave_the_copies_alone(copied: Shop, instance: dg.DagsterInstance) -> None:
    run_backup(copied.site, BackupOrder("shop"), instance=instance, copies=False)
    assert not (copied.folder / "disk").exists()
    run_backup(copied.site, BackupOrder("shop", only=("orders",)), instance=instance)
    assert len(copied.site.copy("disk").ids("shop")) == 2, "a partial backup is copied as well"


def test_a_copy_that_falls_behind_is_noticed_while_nothing_runs(
    copied: Shop, instance: dg.DagsterInstance
) -> None:
    assert copied.run(instance).success
    backup(copied.site, BackupOrder("shop"))
    later = Site(copied.site.settings, clock=lambda: datetime.now().astimezone() + timedelta(hours=2))
    (sensor,) = (one for one in build_defs(later).sensors or () if one.name == "watch")
    assert isinstance(sensor, dg.SensorDefinition)
    with dg.build_sensor_context(instance=instance) as context:
        answer = sensor(context)
    assert isinstance(answer, dg.SensorResult)
    on_disk = dg.AssetCheckKey(DISK, "copied")
    (record,) = instance.event_log_storage.get_asset_check_execution_history(on_disk, limit=2)
    assert record.run_id, "its deadline is a day: nothing is news"
    key = dg.AssetCheckKey(OFFSITE, "copied")
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
    evaluation = history[0].evaluation
    assert isinstance(evaluation, dg.AssetCheckEvaluation)
    assert "1 backup is not there" in str(evaluation.description)


def test_a_system_without_copies_has_none_in_its_graph(shop: Shop) -> None:
    definitions = build_defs(shop.site)
    assert not [key for key in definitions.resolve_all_asset_keys() if "copies" in key.path]
    assert "copy_shop" not in {job.name for job in definitions.jobs or ()}
