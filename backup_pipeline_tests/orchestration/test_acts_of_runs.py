"""Runs of the graph stand in the log of acts: a failed one with its cause and remedy, until one of its kind succeeds."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from backup_pipeline.model.acts import LOOK_BACK, unmended
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.orchestration.launch import Hearing, run_backup
from backup_pipeline.state import acts
from backup_pipeline_tests.orchestration.conftest import Shop


def failing(shop: Shop) -> list[tuple[str, str, str]]:
    found = unmended(acts.of(shop.site.settings, "shop", datetime.now(UTC) - LOOK_BACK))
    return [(act.verb, act.message, act.remedy) for act in found]


def test_a_run_that_failed_is_told_until_one_succeeds(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.database.rename(shop.folder / "away")
    failed = shop.run(instance)
    assert not failed.success
    ((verb, message, remedy),) = failing(shop)
    assert verb == "backup"
    assert "shop.sqlite3" in message
    assert remedy
    (act,) = acts.of(shop.site.settings)
    assert (act.origin, act.run) == ("dagster", failed.run_id)
    (shop.folder / "away").rename(shop.database)
    assert shop.run(instance).success
    assert failing(shop) == []
    *_, made = acts.of(shop.site.settings)
    assert (made.verb, made.backup) == ("backup", shop.site.vault.ids("shop")[-1])
    # One line a backup, not one a step.
    assert [act.verb for act in acts.of(shop.site.settings)] == ["backup", "backup"]
    assert shop.run(instance, job="drill_shop").success
    assert [act.verb for act in acts.of(shop.site.settings)][-1] == "drill"


def test_a_launcher_in_this_process_writes_the_line_itself(shop: Shop, instance: dg.DagsterInstance) -> None:
    runs: list[str] = []
    run_backup(shop.site, BackupOrder("shop"), instance=instance, hearing=Hearing(began=runs.append))
    assert runs == [run.run_id for run in instance.get_runs()]
    assert list(acts.of(shop.site.settings)) == []
