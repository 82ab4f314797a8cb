"""`status`: what it says of the schedules, and of systems that have left the configuration."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._daemon.types import DaemonHeartbeat

from backup_pipeline.operations import Site
from backup_pipeline.orchestration.daemon_sqlite import daemon
from backup_pipeline_tests.cli.conftest import Folder


def beat(home: Path, at: datetime) -> None:
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), "SCHEDULER", "one", []))


def test_a_schedule_that_nothing_runs_is_said(shop: Folder) -> None:
    shop.backup()
    shown = shop.run("status").stdout
    assert "next backup" in shown
    assert "WARN  schedule-not-run" in shown
    assert "no Dagster daemon ever ran on this machine" in shown
    told = shop.run("status", "--json").document["data"]["daemon"]
    assert told == {"state": "never", "seen": None, "off": []}


def test_a_daemon_is_seen_by_its_heartbeat(shop: Folder) -> None:
    home = shop.path / ".backup-pipeline" / "dagster"
    home.mkdir(parents=True)
    site, now = Site.load(shop.path / "backup.yaml"), datetime.now(UTC)
    assert daemon(site, {}).state == "never"
    beat(home, now - timedelta(days=3))
    assert daemon(site, {}).state == "stopped"
    assert "the Dagster daemon of this machine was last seen" in shop.run("status").stdout
    beat(home, now)
    assert daemon(site, {}).state == "runs"
    shown = shop.run("status").stdout
    assert "are run by the Dagster daemon" in shown
    assert "schedule-not-run" not in shown


def test_an_instance_elsewhere_is_not_judged_from_here(shop: Folder, tmp_path: Path) -> None:
    site = Site.load(shop.path / "backup.yaml")
    (tmp_path / "dagster.yaml").write_text("storage: {postgres: {postgres_url: x}}\n")
    assert daemon(site, {"DAGSTER_HOME": str(tmp_path)}).state == "unknown"
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (tmp_path / "history").mkdir()
    (tmp_path / "history" / "runs.db").write_bytes(b"not a database, but long enough to be looked at")
    assert daemon(site, {"DAGSTER_HOME": str(tmp_path)}).state == "unknown"


def test_a_daemon_is_seen_in_an_instance_that_is_kept_elsewhere(shop: Folder, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "dagster.yaml").write_text(f"storage: {{sqlite: {{base_dir: {tmp_path / 'kept'}}}}}\n")
    shop.backup()
    quiet = shop.run("status", DAGSTER_HOME=str(home))
    assert "schedule-not-run" in quiet.stdout
    with dg.DagsterInstance.from_config(str(home)) as instance:
        instance.add_daemon_heartbeat(DaemonHeartbeat(datetime.now(UTC).timestamp(), "SCHEDULER", "one", []))
    seen = shop.run("status", DAGSTER_HOME=str(home))
    assert "are run by the Dagster daemon" in seen.stdout
    assert "schedule-not-run" not in seen.stdout


def test_cron_that_makes_the_scheduled_backups_is_seen_by_them(shop: Folder) -> None:
    shop.backup()
    assert "schedule-not-run" in shop.run("status").stdout, "a backup by hand says nothing of tonight"
    shop.good("--quiet", "backup", "shop", "--no-record", "--kind", "scheduled")
    assert "schedule-not-run" not in shop.run("status").stdout


def test_cron_hears_of_status_and_doctor_only_when_something_is_wrong(shop: Folder) -> None:
    assert "ERROR no-backup" in shop.run("--quiet", "status").stdout
    shop.backup()
    shop.good("drill", "shop", "--no-record")
    shop.accept_that_nothing_runs()
    assert shop.good("--quiet", "status").stdout == ""
    config = shop.path / "backup.yaml"
    hook = "alerts: ['json://127.0.0.1:9/']\n"
    assert shop.good("--quiet", "doctor", "shop").stdout == ""
    config.write_text(hook + config.read_text())
    ended = shop.run("--quiet", "doctor", "--alert", "never")
    assert (ended.code, "alert-unreachable" in ended.stdout) == (14, True)


def test_the_last_failure_of_a_job_stands_in_status_until_it_succeeds(shop: Folder) -> None:
    shop.backup()
    (shop.path / "shop.db").rename(shop.path / "away.db")
    assert shop.run("backup", "shop").code == 4
    shown = shop.run("status").stdout
    assert "ERROR last-run-failed: the last backup failed at" in shown
    assert "shop.db" in shown
    (shop.path / "away.db").rename(shop.path / "shop.db")
    shop.backup()
    assert "last-run-failed" not in shop.run("status").stdout


@pytest.fixture
def retired(shop: Folder) -> Folder:
    shop.backup()
    config = shop.path / "backup.yaml"
    config.write_text(config.read_text().replace("  shop:\n", "  store:\n"))
    return shop


def test_a_system_that_left_the_configuration_can_still_be_looked_at_and_proven(retired: Folder) -> None:
    retired.good("drill", "shop")
    ended = retired.good("status", "shop")
    assert "not-configured" in ended.stdout
    assert "proven by a drill" in ended.stdout
    retired.good("verify", "shop")
    retired.good("restore", "shop", "--to", retired.restored)


def test_status_names_the_systems_that_left_and_an_unknown_one_is_an_error(retired: Folder) -> None:
    ended = retired.run("status")
    assert "not in the configuration: shop" in ended.stdout
    assert retired.run("status", "shpo").code == 3


def test_what_a_new_backup_cannot_heal_is_not_sent_to_one(shop: Folder) -> None:
    """A row names a file that the application has lost: the stored bytes are as they should be."""
    (shop.path / "media").mkdir()
    (shop.path / "media" / "Ann").write_text("a picture of Ann")
    with (shop.path / "backup.yaml").open("a") as config:
        config.write("    files: {media: {path: ./media, refs: {customers.name: path}}}\n")
    assert shop.run("backup", "shop").code == 10
    assert shop.run("verify", "shop").code == 10
    (one,) = shop.run("status", "--json").document["data"]["systems"]
    (failed,) = [finding for finding in one["findings"] if finding["severity"] == "error"]
    assert failed["code"] == "file-missing", "one cause is told once"
    assert "restore … --files" in failed["remedy"]
    assert "--full" not in failed["remedy"]
