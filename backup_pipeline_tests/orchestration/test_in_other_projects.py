"""In the code location of another project: beside other jobs, with an executor of its own, twice in one, a part of it."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from backup_pipeline.errors import ConfigError
from backup_pipeline.operations import Site
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.naming import Names
from backup_pipeline_tests.orchestration.conftest import SHOP, Shop

EVERYTHING = """copies: [second]
files: {media: {path: ./media}}
schedule: "0 2 * * *"
drill_schedule: "0 3 * * *"
migrations: {tool: alembic, path: migrations}"""
TOP = """alerts: ["json://localhost"]
copies: {second: ./second}
retention: {last: 3, schedule: "0 5 * * *"}
scrub: {schedule: "0 6 1 * *"}"""


def everything(shop: Shop) -> Site:
    (shop.folder / "migrations").mkdir()
    (shop.folder / "media").mkdir()
    site = shop.configure(EVERYTHING, top=TOP)
    site.inventory("shop")
    return site


@pytest.fixture
def other(tmp_path: Path) -> Shop:
    """Another backup.yaml, with a system of the same name."""
    folder = tmp_path / "other"
    folder.mkdir()
    made = Shop(folder)
    made.sql(SHOP)
    return made


@dg.asset
def mine() -> None: ...


def host(**more: object) -> dg.Definitions:
    return dg.Definitions(assets=[mine], jobs=[dg.define_asset_job("scrub_floors", [mine])], **more)  # type: ignore[arg-type]


def test_the_jobs_of_others_keep_the_executor_that_they_had(shop: Shop) -> None:
    merged = dg.Definitions.merge(host(), build_defs(shop.site))
    assert merged.executor is None
    assert merged.resolve_job_def("scrub_floors").executor_def.name == "multi_or_in_process_executor"
    assert merged.resolve_job_def("backup_shop").executor_def is dg.in_process_executor
    theirs = dg.multiprocess_executor.configured({"max_concurrent": 3})
    merged = dg.Definitions.merge(host(executor=theirs), build_defs(shop.site))
    assert merged.resolve_job_def("scrub_floors").executor_def is theirs
    for job in ("backup_shop", "drill_shop", "scrub"):
        assert merged.resolve_job_def(job).executor_def is dg.in_process_executor
    given = build_defs(shop.site, executor=theirs)
    assert given.resolve_job_def("backup_shop").executor_def is theirs


def test_two_configurations_and_a_host_share_a_code_location(
    shop: Shop, other: Shop, instance: dg.DagsterInstance
) -> None:
    one, two = build_defs(everything(shop)), build_defs(everything(other), prefix="team_a")
    merged = dg.Definitions.merge(host(executor=dg.multiprocess_executor), one, two)
    dg.Definitions.validate_loadable(merged)
    names = [_names(found) for found in (one, two)]
    assert not names[0] & names[1]
    assert len(names[0]) == len(names[1])
    assert {f"team_a_{name}" for name in names[0] if "/" not in name} == {n for n in names[1] if "/" not in n}
    assert {f"team_a/{name}" for name in names[0] if "/" in name} == {n for n in names[1] if "/" in n}
    for job in (
        "backup_shop",
        "team_a_backup_shop",
        "team_a_prune_shop",
        "team_a_scrub",
        "team_a_drill_shop",
    ):
        assert merged.resolve_job_def(job).execute_in_process(instance=instance).success, job
    assert [len(found.site.vault.ids("shop")) for found in (shop, other)] == [1, 1]
    assert len(other.site.copy("second").ids("shop")) == 1
    event = instance.get_latest_materialization_event(Names("team_a").manifest_key("shop"))
    assert event is not None
    run = instance.get_run_by_id(event.run_id)
    assert run is not None
    assert run.tags["backup_pipeline/system"] == "team_a/shop"


def _names(defs: dg.Definitions) -> set[str]:
    repository = defs.get_repository_def()
    found = {spec.key.to_user_string() for spec in defs.resolve_all_asset_specs()}
    found |= {spec.group_name or "" for spec in defs.resolve_all_asset_specs()}
    found |= {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
    found |= {schedule.name for schedule in repository.schedule_defs}
    found |= {sensor.name for sensor in repository.sensor_defs}
    found |= set(repository.get_top_level_resources())
    for asset in defs.assets or ():
        if isinstance(asset, dg.AssetsDefinition) and asset.is_executable:
            found.add(asset.op.pool or "")
    return found - {"", "io_manager"}


def test_a_part_of_the_systems_is_watched_and_alerts_as_all_are(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    text = "vault: ./vault\nalerts: ['json://localhost']\nsystems:\n"
    text += "".join(f"  {name}: {{database: 'sqlite:///shop.sqlite3'}}\n" for name in ("shop", "blog"))
    shop.config.write_text(text)
    defs = build_defs(Site.load(shop.config), systems=["shop"])
    repository = defs.get_repository_def()
    assert {"watch", "failure_alert"} <= {sensor.name for sensor in repository.sensor_defs}
    assert defs.resolve_job_def("scrub")
    watch = repository.get_sensor_def("watch")
    with dg.build_sensor_context(instance=instance, repository_def=repository) as context:
        said = watch.evaluate_tick(context).skip_message or ""
    assert "shop: fresh failed" in said
    assert "blog" not in said, "the asset that this would be recorded for is in no graph here"


def test_a_prefix_is_a_plain_word(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="Team A"):
        build_defs(shop.site, prefix="Team A")
