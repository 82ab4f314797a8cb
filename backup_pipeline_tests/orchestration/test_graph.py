"""What the definitions hold, and what they need to load: an inventory at most; no database, no secret, no time."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest
from dagster import AssetKey as Key
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.model.inventory import InventoryTable
from backup_pipeline.model.schema import TableId
from backup_pipeline.operations import Site
from backup_pipeline.operations.reading import show
from backup_pipeline.orchestration import naming
from backup_pipeline.orchestration.graph import build_defs, without_configuration
from backup_pipeline.state import inventories
from backup_pipeline_tests.orchestration.conftest import Shop


def keys(defs: dg.Definitions) -> set[str]:
    return {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}


@given(st.lists(st.builds(TableId, st.text(min_size=1), st.text(min_size=1)), unique=True))
def test_every_name_becomes_a_key_of_its_own(tables: list[TableId]) -> None:
    components = naming.table_components(tables)
    assert set(components) == set(tables)
    outputs = {naming.PLAIN.table_key("shop", one).to_python_identifier() for one in components.values()}
    assert len(outputs) == len(tables)
    assert all(re.fullmatch(r"\w+", output, re.ASCII) for output in outputs)


def test_names_that_would_be_one_output_are_told_apart() -> None:
    found = naming.table_components([TableId("a", "b_c"), TableId("a_b", "c"), TableId("a", "b c")])
    assert found[TableId("a", "b_c")] == "a.b_c"
    assert found[TableId("a_b", "c")].startswith("a_b.c-")
    assert found[TableId("a", "b c")].startswith("a.b_c-")


def test_the_graph_of_a_system(shop: Shop) -> None:
    shop.configure(
        'owners: ["team:ops"]\ntags: {tier: gold}\nschedule: "30 1 * * *"\ntimezone: Europe/Berlin'
    )
    defs = build_defs(shop.site)
    dg.Definitions.validate_loadable(defs)
    found = keys(defs)
    assert {"shop/schema", "shop/manifest", "shop/drill", "shop/tables/main.orders"} <= found
    assert {key for key in found if "live" in key} == {"shop/live"}
    graph = defs.resolve_asset_graph()
    assert graph.get(Key(["shop", "tables", "main.orders"])).parent_keys == {Key(["shop", "live"])}
    assert not graph.get(Key(["shop", "live"])).is_executable
    assert len(graph.get(naming.PLAIN.manifest_key("shop")).parent_keys) == 5
    manifest = next(s for s in defs.resolve_all_asset_specs() if s.key == naming.PLAIN.manifest_key("shop"))
    assert manifest.group_name == "shop"
    assert list(manifest.owners) == ["team:ops"]
    assert manifest.tags["tier"] == "gold"
    assert manifest.code_version
    assert manifest.freshness_policy is not None
    checks = {(key.name, graph.get_check_spec(key).blocking) for key in graph.asset_check_keys}
    assert checks == {
        ("complete", False),
        ("integrity", True),
        ("row_counts", False),
        ("foreign_keys", False),
        ("schema_drift", False),
        ("verdict", False),
        ("fresh", False),
        ("proven", False),
        ("storage", False),
    }


def test_descriptions_are_plain_text_because_the_catalog_shows_them_as_they_are(shop: Shop) -> None:
    shop.configure("files: {media: {path: ./media}}\nretention: {last: 1}", top="copies: {disk: ./disk}")
    specs = list(build_defs(shop.site).resolve_all_asset_specs())
    assert {"media", "disk", "retention", "drill"} <= {spec.key.path[-1] for spec in specs}
    for spec in specs:
        assert spec.description, spec.key
        assert not set(spec.description) & set("*`"), spec.description


def test_schedules_run_without_a_switch_in_the_zone_of_the_system(shop: Shop) -> None:
    shop.configure(
        'schedule: "30 1 * * *"\ndrill_schedule: "0 5 * * 0"\ntimezone: Europe/Berlin',
        top="timezone: Asia/Tokyo",
    )
    defs = build_defs(shop.site)
    for name, cron in (("backup_shop_schedule", "30 1 * * *"), ("drill_shop_schedule", "0 5 * * 0")):
        schedule = defs.resolve_schedule_def(name)
        assert schedule.cron_schedule == cron
        assert schedule.execution_timezone == "Europe/Berlin"
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
    shop.configure('schedule: "30 1 * * *"', top="timezone: Asia/Tokyo")
    assert (
        build_defs(shop.site).resolve_schedule_def("backup_shop_schedule").execution_timezone == "Asia/Tokyo"
    )


def test_a_scheduled_backup_says_that_it_was(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.configure('schedule: "30 1 * * *"')
    defs = build_defs(shop.site)
    schedule = defs.resolve_schedule_def("backup_shop_schedule")
    with dg.build_schedule_context(instance=instance, repository_def=defs.get_repository_def()) as context:
        tick = schedule.evaluate_tick(context)
    assert tick.run_requests is not None
    (request,) = tick.run_requests
    job = defs.resolve_job_def("backup_shop")
    assert job.execute_in_process(instance=instance, run_config=dict(request.run_config)).success
    assert show(shop.site, "shop").kind == "scheduled"


def test_sensors_run_without_a_switch(shop: Shop) -> None:
    (shop.folder / "migrations").mkdir()
    shop.configure("migrations: {tool: alembic, path: migrations}", top='alerts: ["json://localhost"]')
    repository = build_defs(shop.site).get_repository_def()
    names = {sensor.name: sensor.default_status for sensor in repository.sensor_defs}
    assert names.keys() >= {"pending_migrations_shop", "failure_alert", "watch"}
    assert set(names.values()) == {dg.DefaultSensorStatus.RUNNING}


def test_definitions_load_without_a_database_a_secret_or_an_inventory(tmp_path: Path) -> None:
    (tmp_path / "backup.yaml").write_text(
        "vault: ${env:NOT_SET_VAULT}\nalerts: ['${env:NOT_SET_ALERT}']\nsystems:\n"
        "  shop: {database: '${env:NOT_SET_DATABASE}', schedule: '0 2 * * *'}\n"
        "  blog: {database: 'postgresql://nobody@127.0.0.1:1/none'}\n"
    )
    defs = build_defs(Site.load(tmp_path / "backup.yaml", environ={}))
    dg.Definitions.validate_loadable(defs)
    assert {"shop/schema", "shop/manifest", "shop/drill", "blog/manifest"} <= keys(defs)
    spec = next(s for s in defs.resolve_all_asset_specs() if s.key == naming.PLAIN.schema_key("shop"))
    assert "backup-pipeline inventory shop" in (spec.description or "")
    result = defs.resolve_job_def("backup_shop").execute_in_process(raise_on_error=False)
    assert not result.success
    assert "NOT_SET" in str([e.step_failure_data for e in result.all_events if e.is_step_failure])


def test_two_thousand_tables_load_fast_and_cost_one_asset_a_schema(shop: Shop) -> None:
    known = shop.site.known_inventory("shop")
    assert known is not None
    many = tuple(
        InventoryTable(TableId(f"s{n % 4}", f"table {n}"), "table", 5, 100, 1000) for n in range(2000)
    )
    inventories.save(shop.site.settings.state_folder, "shop", replace(known, tables=many))
    began = time.process_time()
    defs = build_defs(shop.site)
    dg.Definitions.validate_loadable(defs)
    assert len(keys(defs)) == 4 + 1 + 5
    # And with an asset for each, where the configuration asks for it.
    shop.configure("table_assets: 5000\nlive_assets: tables")
    assert len(keys(build_defs(shop.site))) == 2000 * 2 + 5
    assert time.process_time() - began < 3.0


def load_module(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """As Dagster loads it, in a process of its own."""
    code = (
        "import time; t = time.process_time()\n"
        "from dagster._core.workspace.autodiscovery import loadable_targets_from_python_module as f\n"
        "targets = f('backup_pipeline.definitions', working_directory=None)\n"
        "print([t.attribute for t in targets]); print(time.process_time() - t)"
    )
    clean = {key: value for key, value in os.environ.items() if key not in ("BACKUP_CONFIG", "DAGSTER_HOME")}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_dagster_finds_one_definitions_object_in_the_module(shop: Shop) -> None:
    done = load_module(shop.folder)
    assert done.stdout.splitlines()[0] == "['defs']", done.stderr
    assert float(done.stdout.splitlines()[1]) < 6.0, (
        "seconds of the processor: 3 s; waiting for others does not count"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vault: ./v\nsystems:\n  shop:\n    databse: x\n", "line 4"),
        ("nonsense: [", "YAML"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_a_readable_error(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "backup.yaml").write_text(text)
    done = load_module(tmp_path)
    assert done.returncode != 0
    assert said in done.stderr
    assert "\n→ " in done.stderr, "the remedy"


def test_a_folder_without_a_configuration_loads_and_says_what_to_do(tmp_path: Path) -> None:
    """As a fresh clone: `dagster dev` showed a traceback."""
    done = load_module(tmp_path)
    assert done.stdout.splitlines()[0] == "['defs']", done.stderr
    (spec,) = without_configuration(tmp_path).resolve_all_asset_specs()
    assert f"no backup.yaml in {tmp_path}" in (spec.description or "")
    assert "backup-pipeline init" in (spec.description or "")
    job = without_configuration(tmp_path).resolve_implicit_global_asset_job_def()
    assert not job.execute_in_process(raise_on_error=False).success


def test_a_configuration_that_was_named_and_is_missing_is_an_error(tmp_path: Path) -> None:
    done = load_module(tmp_path, BACKUP_CONFIG=str(tmp_path / "mistyped.yaml"))
    assert done.returncode != 0
    assert "there is no configuration" in done.stderr
    assert "\n→ " in done.stderr, "the remedy"


@pytest.mark.parametrize(
    ("files", "environment", "calls"),
    [
        ([], {}, ["demo", "--config demo/backup.yaml ui"]),
        (["demo/backup.yaml"], {}, ["--config demo/backup.yaml ui"]),
        (["backup.yaml"], {}, ["ui"]),
        ([], {"BACKUP_CONFIG": "/etc/backup.yaml"}, ["ui"]),
    ],
)
def test_make_ui_shows_the_demo_where_there_is_nothing_else(
    tmp_path: Path, files: list[str], environment: dict[str, str], calls: list[str]
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    program = tmp_path / "bin" / "backup-pipeline"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$*" >> calls\n')
    program.chmod(0o755)
    makefile = Path(__file__).resolve().parents[2] / "Makefile"
    clean = {key: value for key, value in os.environ.items() if key != "BACKUP_CONFIG"}
    subprocess.run(
        ["make", "-f", makefile, "-o", "setup", "ui", "BIN=./bin"],
        cwd=tmp_path, env={**clean, **environment}, check=True,
    )  # fmt: skip
    assert (tmp_path / "calls").read_text().splitlines() == calls
