"""The files of deploy/, as they are: a history in a real PostgreSQL, and units that name real programs."""

from __future__ import annotations

import configparser
import shutil
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import dagster as dg
import pytest
import yaml

from backup_pipeline.databases.postgres.server import EmbeddedPostgres
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.orchestration import naming
from backup_pipeline.orchestration.instance import open_instance
from backup_pipeline.orchestration.launch import run_backup
from backup_pipeline_tests.orchestration.conftest import Shop

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


@pytest.mark.slow
@pytest.mark.server
def test_the_history_can_be_in_postgres(
    shop: Shop, pg_server: EmbeddedPostgres, pg_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "dagster-home"
    home.mkdir()
    # The file as it is, but for the port: this server listens on a socket only.
    parts = urlsplit(pg_database)
    query = parse_qs(parts.query)
    settings = yaml.safe_load((DEPLOY / "dagster.yaml").read_text())
    settings["storage"]["postgres"]["postgres_db"] |= {
        "port": int(query["port"][0]),
        "params": {"host": query["host"][0]},
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    for name, value in {
        "DAGSTER_HOME": str(home),
        "DAGSTER_LOGS": str(tmp_path / "logs"),
        "DAGSTER_PG_HOST": "",
        "DAGSTER_PG_USER": parts.username or "",
        "DAGSTER_PG_PASSWORD": "",
        "DAGSTER_PG_DB": parts.path.lstrip("/"),
    }.items():
        monkeypatch.setenv(name, value)
    manifest = run_backup(shop.site, BackupOrder("shop"))
    with open_instance(shop.site) as instance:
        assert "Postgres" in type(instance.event_log_storage).__name__
        event = instance.get_latest_materialization_event(naming.PLAIN.manifest_key("shop"))
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["backup"].value == manifest.id
        assert {run.status for run in instance.get_runs()} == {dg.DagsterRunStatus.SUCCESS}


def test_the_units_start_programs_that_exist_with_the_module_that_exists() -> None:
    units = sorted(DEPLOY.glob("*.service"))
    assert [unit.stem for unit in units] == [
        "backup-pipeline-code",
        "backup-pipeline-daemon",
        "backup-pipeline-webserver",
    ]
    bin_folder = Path(shutil.which("dagster") or ROOT / ".venv/bin/dagster").parent
    for unit in units:
        parser = configparser.RawConfigParser(strict=False)
        parser.read(unit)
        command = parser.get("Service", "ExecStart").split()
        assert (bin_folder / Path(command[0]).name).exists() or (
            ROOT / ".venv/bin" / Path(command[0]).name
        ).exists()
        assert parser.get("Service", "EnvironmentFile") == "/etc/backup-pipeline/environment"
        # Debian has a user called backup, whose home is elsewhere.
        assert parser.get("Service", "User") == "backup-pipeline"
        # Where the README sends what a host keeps: beside backup.yaml it could not be written.
        assert "state: /var/lib/backup-pipeline/state" in (DEPLOY / "README.md").read_text()
        assert "/var/lib/backup-pipeline" in parser.get("Service", "ReadWritePaths").split()
    code = (DEPLOY / "backup-pipeline-code.service").read_text()
    assert "--module-name backup_pipeline.definitions --attribute defs" in code
    workspace = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())
    server = workspace["load_from"][0]["grpc_server"]
    assert f"--host {server['host']} --port {server['port']}" in code
    assert f"--location-name {server['location_name']}" in code


def test_both_instances_are_loadable_and_agree_on_how_runs_wait() -> None:
    files = (DEPLOY / "dagster.yaml", ROOT / "backup_pipeline" / "orchestration" / "dagster.yaml")
    deployed, local = (yaml.safe_load(file.read_text()) for file in files)
    for name in ("telemetry", "run_monitoring", "run_retries", "retention"):
        assert deployed[name] == local[name]
    assert deployed["concurrency"]["pools"] == local["concurrency"]["pools"]
    assert "psycopg2" in deployed["storage"]["postgres"]["postgres_db"]["scheme"]
