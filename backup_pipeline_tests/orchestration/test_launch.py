"""Runs in the process of the CLI: the same history, the original errors, and silence."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from backup_pipeline.errors import ConfigError, ProofFailed, SourceUnavailable, VaultBusy
from backup_pipeline.model.ids import timestamp
from backup_pipeline.model.orders import AckOrder, BackupOrder
from backup_pipeline.model.outcome import Outcome, found_by
from backup_pipeline.model.overview import Runner
from backup_pipeline.model.progress import Advance
from backup_pipeline.operations.ack import accept
from backup_pipeline.operations.status import InstanceView
from backup_pipeline.orchestration import naming, processes
from backup_pipeline.orchestration.incidents import Cursor, look
from backup_pipeline.orchestration.instance import home, open_instance
from backup_pipeline.orchestration.launch import Hearing, run_backup, run_drill
from backup_pipeline.orchestration.processes import PROCESS_TAG, fail_abandoned_runs
from backup_pipeline.orchestration.subjects import Subjects
from backup_pipeline.vault import layout, lock
from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.orchestration.conftest import Impatient, Shop


@pytest.fixture(autouse=True)
def no_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


def test_a_backup_and_a_drill_are_in_the_history_of_this_machine(
    shop: Shop, capfd: pytest.CaptureFixture[str]
) -> None:
    heard: list[Advance] = []
    manifest = run_backup(shop.site, BackupOrder("shop"), hearing=Hearing(heard.append))
    assert shop.site.vault.ids("shop") == (manifest.id,)
    report = run_drill(shop.site, "shop")
    assert report.report.ok
    assert heard
    assert capfd.readouterr() == ("", ""), "Dagster's lines are not for the terminal"
    # What the UI would read: its own classes, on the same files.
    with dg.DagsterInstance.from_config(str(home(shop.site))) as instance:
        runs = instance.get_runs()
        assert [run.job_name for run in runs] == ["drill_shop", "backup_shop"]
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        event = instance.get_latest_materialization_event(naming.PLAIN.manifest_key("shop"))
        assert event is not None
        assert event.run_id == runs[1].run_id
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["backup"].value == manifest.id
        check = dg.AssetCheckKey(naming.PLAIN.manifest_key("shop"), "proven")
        history = instance.event_log_storage.get_asset_check_execution_history(check, limit=5)
        passed = [
            one.evaluation.passed for one in history if isinstance(one.evaluation, dg.AssetCheckEvaluation)
        ]
        assert passed == [True, False]
        # And a run of the daemon's lands beside them.
        assert shop.run(instance).success
        assert len(instance.get_runs()) == 3
    settings = (shop.site.settings.state_folder / "dagster" / "dagster.yaml").read_text()
    assert "telemetry" in settings


def test_names_make_a_partial_backup_also_of_a_table_that_is_new(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    shop.configure("groups: {people: [customers]}")
    shop.sql("CREATE TABLE added (x)")
    manifest = run_backup(shop.site, BackupOrder("shop", only=("people", "added")), instance=instance)
    assert manifest.scope == "partial"
    assert sorted(table.name for table in manifest.tables) == ["added", "customers"]
    with pytest.raises(ConfigError, match="nonsense"):
        run_backup(shop.site, BackupOrder("shop", only=("nonsense",)), instance=instance)


def test_one_table_of_many_is_still_one_table(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.configure("table_assets: 1")
    manifest = run_backup(shop.site, BackupOrder("shop", only=("orders",)), instance=instance)
    assert [table.name for table in manifest.tables] == ["orders"]
    assert manifest.scope == "partial"


def test_a_system_that_was_never_looked_at_is_looked_at_first(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    (shop.site.settings.state_folder / "inventory" / "shop.json").unlink()
    run_backup(shop.site, BackupOrder("shop"), instance=instance)
    assert dg.AssetKey(["shop", "tables", "main.orders"]) in instance.all_asset_keys()


def test_an_error_is_raised_as_it_happened_and_recorded(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.site.vault.prepare()
    with lock.hold(shop.site.vault.store, "shop", "a test"), pytest.raises(VaultBusy, match="a test"):
        run_backup(shop.site, BackupOrder("shop"), instance=instance)
    shop.config.write_text("vault: ./vault\nsystems:\n  shop: {database: 'postgresql://x@127.0.0.1:1/x'}\n")
    with pytest.raises(SourceUnavailable):
        run_backup(Impatient.load(shop.config), BackupOrder("shop"), instance=instance)
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE] * 2


@pytest.mark.usefixtures("damaging")
def test_a_failed_blocking_check_is_an_error_that_names_the_backup(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    with pytest.raises(ProofFailed, match="integrity") as caught:
        run_backup(shop.site, BackupOrder("shop"), instance=instance)
    (backup,) = shop.site.vault.ids("shop")
    assert backup in caught.value.message
    assert caught.value.remedy


def test_a_table_that_is_gone_is_said_and_loses_no_backup(shop: Shop, instance: dg.DagsterInstance) -> None:
    before = run_backup(shop.site, BackupOrder("shop"), instance=instance)
    shop.sql("DROP TABLE empty")
    for _ in range(2):
        told: list[Outcome] = []
        made = run_backup(
            shop.site, BackupOrder("shop"), instance=instance, hearing=Hearing(judged=told.extend)
        )
        errors = [(one.code, one.table) for one in found_by(told) if one.severity == "error"]
        assert errors == [("table-removed", "main.empty")], "told until it is accepted"
        assert before.id in found_by(told)[0].message
    order, nothing = AckOrder("shop", "table-removed"), InstanceView(Runner("never"), lambda _: ())
    accept(shop.site, order, nothing)
    told = []
    run_backup(shop.site, BackupOrder("shop"), instance=instance, hearing=Hearing(judged=told.extend))
    assert [one for one in found_by(told) if one.severity == "error"] == []
    assert made.findings == (), "the backup itself lacks nothing that there is"


@pytest.mark.usefixtures("damaging")
def test_a_damaged_backup_is_an_error_also_where_a_table_is_gone(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    shop.sql("DROP TABLE empty")
    with pytest.raises(ProofFailed, match="integrity"):
        run_backup(shop.site, BackupOrder("shop"), instance=instance)


def test_a_damaged_backup_does_not_fail_the_next_one(shop: Shop, instance: dg.DagsterInstance) -> None:
    first = run_backup(shop.site, BackupOrder("shop"), instance=instance)
    (shop.folder / "vault" / layout.manifest_key("shop", first.id)).write_bytes(b"")
    second = run_backup(shop.site, BackupOrder("shop"), instance=instance)
    assert shop.site.vault.resolve("shop", "latest") == second.id


def test_a_drill_that_finds_a_difference_is_a_report(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.configure("invariants: {nobody_buys: 'SELECT id FROM orders'}")
    run_backup(shop.site, BackupOrder("shop"), instance=instance)
    result = run_drill(shop.site, "shop", instance=instance)
    assert not result.report.ok
    assert [run.status for run in instance.get_runs()] == [
        dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.SUCCESS,
    ]


def test_ctrl_c_ends_the_run_and_is_recorded(shop: Shop, instance: dg.DagsterInstance) -> None:
    def press(_: Advance) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_backup(shop.site, BackupOrder("shop"), hearing=Hearing(press), instance=instance)
    assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.FAILURE]
    assert shop.site.vault.ids("shop") == ()


def test_a_run_whose_process_was_killed_is_marked_as_failed_by_the_next(shop: Shop) -> None:
    code = (
        "import os, sys\n"
        "from backup_pipeline.model.orders import BackupOrder\n"
        "from backup_pipeline.operations import Site\n"
        "from backup_pipeline.orchestration.launch import Hearing, run_backup\n"
        "run_backup(Site.load(sys.argv[1]), BackupOrder('shop'), hearing=Hearing(lambda advance: os.kill(os.getpid(), 9)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(shop.config)], check=False)
    assert done.returncode == -9
    with open_instance(shop.site, {}) as instance:
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.STARTED
        assert str(os.getpid()) != run.tags[PROCESS_TAG].split(":")[-2]
        # Executed again from the UI, it has the tags of the first one, and is alive in the daemon's process.
        again = instance.create_run_for_job(
            shop.job(),
            status=dg.DagsterRunStatus.STARTED,
            tags={PROCESS_TAG: run.tags[PROCESS_TAG]},
            parent_run_id=run.run_id,
            root_run_id=run.run_id,
        )
        assert fail_abandoned_runs(instance) == 1
        assert fail_abandoned_runs(instance) == 0
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status is dg.DagsterRunStatus.FAILURE
        assert ended.remote_job_origin is not None, "the timeline shows it"
        instance.delete_run(again.run_id)
        # A run that is alive (this process) stays.
        run_backup(shop.site, BackupOrder("shop"), instance=instance)
        assert instance.get_runs()[0].status is dg.DagsterRunStatus.SUCCESS


def test_a_run_whose_process_was_killed_before_the_start_is_marked_as_failed_and_told_once(
    shop: Shop,
) -> None:
    code = (
        "import os, sys\n"
        "from backup_pipeline.model.orders import BackupOrder\n"
        "from backup_pipeline.operations import Site\n"
        "from backup_pipeline.orchestration.launch import run_backup\n"
        "from backup_pipeline.orchestration.local_storage import _Runs\n"
        "add = _Runs.add_run\n"
        "_Runs.add_run = lambda *given: (add(*given), os.kill(os.getpid(), 9))\n"
        "run_backup(Site.load(sys.argv[1]), BackupOrder('shop'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(shop.config)], check=False)
    assert done.returncode == -9
    with open_instance(shop.site, {}) as instance:
        (run,) = instance.get_runs()
        assert run.status is dg.DagsterRunStatus.NOT_STARTED
        of_the_daemon = instance.create_run_for_job(shop.job(), status=dg.DagsterRunStatus.NOT_STARTED)
        alive = instance.create_run_for_job(
            shop.job(), status=dg.DagsterRunStatus.NOT_STARTED, tags=processes.tags()
        )
        assert fail_abandoned_runs(instance) == 1
        assert fail_abandoned_runs(instance) == 0
        found = {one.run_id: one.status for one in instance.get_runs()}
        assert found == {
            run.run_id: dg.DagsterRunStatus.FAILURE,
            of_the_daemon.run_id: dg.DagsterRunStatus.NOT_STARTED,
            alive.run_id: dg.DagsterRunStatus.NOT_STARTED,
        }
        now = datetime.now(UTC)
        subjects = Subjects(checks={}, assets={}, jobs={"backup_shop": "shop"}, instigators={})
        first = look(instance, subjects, Cursor(timestamp(now - timedelta(hours=1))), now)
        assert [one.run_id for one in first.incidents] == [run.run_id]
        assert look(instance, subjects, first.after, now).incidents == ()


def test_dagster_home_names_another_instance(shop: Shop, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    assert home(shop.site, {"DAGSTER_HOME": str(folder)}) == folder
    assert (folder / "dagster.yaml").read_text() == "telemetry: {enabled: false}\n"
    with pytest.raises(ConfigError, match="DAGSTER_HOME"):
        home(shop.site, {"DAGSTER_HOME": "relative"})


def test_the_settings_of_the_instance_are_written_once_and_stay_the_users(shop: Shop) -> None:
    file = home(shop.site, {}) / "dagster.yaml"
    file.write_text("telemetry: {enabled: false}\n# mine\n")
    assert home(shop.site, {}) == file.parent
    assert "# mine" in file.read_text()


def test_the_files_are_those_that_dagster_would_have_made(shop: Shop) -> None:
    def tables(file: Path) -> list[tuple[object, ...]]:
        with closing(sqlite3.connect(file)) as connection:
            made = connection.execute(
                "SELECT type, name, sql FROM sqlite_master ORDER BY type, name"
            ).fetchall()
            return [*made, *connection.execute("SELECT * FROM alembic_version")]

    folder = home(shop.site, {})
    run_backup(shop.site, BackupOrder("shop"))
    with dg.DagsterInstance.from_config(str(folder)) as theirs:
        (subjects,) = theirs.get_runs()
        made_by_dagster = shop.run(theirs).run_id
        assert [entry.dagster_event_type for entry in theirs.all_logs(subjects.run_id)].count(
            dg.DagsterEventType.ASSET_MATERIALIZATION
        ) == 6
    shards = folder / "history" / "runs"
    assert tables(shards / f"{subjects.run_id}.db") == tables(shards / f"{made_by_dagster}.db")
    with closing(sqlite3.connect(shards / f"{subjects.run_id}.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_home_without_a_dagster_yaml_tells_no_one_and_prints_no_banner(shop: Shop, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    ended = commands.run("backup", "shop", "--quiet", cwd=shop.folder, env={"DAGSTER_HOME": str(home)})
    assert (ended.code, ended.stdout, ended.stderr) == (0, "", "")
    assert not (home / ".telemetry").exists()
    assert not (home / ".logs_queue").exists()
    with dg.DagsterInstance.from_config(str(home)) as instance:
        assert [run.job_name for run in instance.get_runs()] == ["backup_shop"]
    # Where its owner says so, it stays on.
    (home / "dagster.yaml").write_text("telemetry: {enabled: true}\n")
    with open_instance(shop.site, {"DAGSTER_HOME": str(home)}) as instance:
        assert instance.telemetry_enabled
