"""One history: what the commands, Python and the daemon did is seen in the UI."""

from __future__ import annotations

import json
import threading
from typing import Any

import dagster as dg
import pytest

import backup_pipeline as bp
from backup_pipeline.errors import ErrorsFound, StoreUnavailable
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations.backup import backup
from backup_pipeline.orchestration.asset_checks import INLINE
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.instance import open_instance
from backup_pipeline.orchestration.launch import run_backup, run_drill
from backup_pipeline.orchestration.ui import serve
from backup_pipeline.state import acts
from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.harness.damage import alter
from backup_pipeline_tests.harness.ports import free_port
from backup_pipeline_tests.orchestration.conftest import Shop
from backup_pipeline_tests.orchestration.test_ui import ask

#: What the page that opens first asks for (CompletedRunTimelineQuery); it leaves out runs without a repositoryOrigin.
TIMELINE = """{ runsOrError(filter: {statuses: [SUCCESS, FAILURE, CANCELED]}, limit: 500) { ... on Runs { results {
  id pipelineName startTime endTime repositoryOrigin { repositoryName repositoryLocationName } } } }
  repositoriesOrError { ... on RepositoryConnection { nodes { name location { name } jobs { name } } } } }"""


@pytest.fixture(autouse=True)
def no_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.mark.slow
@pytest.mark.server
def test_runs_of_the_commands_are_in_the_timeline(shop: Shop) -> None:
    run_backup(shop.site, BackupOrder("shop"))
    run_drill(shop.site, "shop")
    stop, port = threading.Event(), free_port()
    answers: list[Any] = []

    def announced(_: str) -> None:
        answers.append(ask(port, TIMELINE))
        stop.set()

    serve(shop.site, port=port, say=announced, stop=stop)
    (answer,) = answers
    (repository,) = answer["repositoriesOrError"]["nodes"]
    place = {
        "repositoryName": repository["name"],
        "repositoryLocationName": repository["location"]["name"],
    }
    ours = {"backup_shop", "drill_shop"}
    runs = [run for run in answer["runsOrError"]["results"] if run["pipelineName"] in ours]
    shown = {run["pipelineName"]: run["repositoryOrigin"] for run in runs}
    assert shown == {"backup_shop": place, "drill_shop": place}, json.dumps(answer)
    assert shown.keys() <= {job["name"] for job in repository["jobs"]}
    with open_instance(shop.site) as instance:
        # The daemon would otherwise start a run again whose process a person has killed.
        mine = [run for run in instance.get_runs() if run.job_name in shown]
        assert [run.tags["dagster/max_retries"] for run in mine] == ["0", "0"]


def tick(shop: Shop, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """One tick of the sensor, as the daemon would have it evaluated."""
    sensor = build_defs(shop.site).get_repository_def().get_sensor_def("history")
    context = dg.build_sensor_context(instance=instance, cursor=cursor)
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def shown(instance: dg.DagsterInstance, *path: str) -> dict[str, object]:
    """The metadata of the last materialization."""
    event = instance.get_latest_materialization_event(dg.AssetKey(path))
    assert event is not None
    assert event.asset_materialization is not None
    return {name: value.value for name, value in event.asset_materialization.metadata.items()}


def observed(instance: dg.DagsterInstance) -> list[str]:
    records = instance.fetch_observations(dg.AssetKey(["shop", "manifest"]), limit=50).records
    told = [record.event_log_entry.asset_observation for record in records]
    return [one.description or "" for one in reversed(told) if one]


def typed(shop: Shop, *words: str, code: int = 0) -> None:
    ended = commands.invoke(*words, cwd=shop.folder)
    assert ended.code == code, str(ended)


def test_what_no_run_recorded_is_reported_at_the_next_tick(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.configure(top="retention: {last: 1, grace: 1s}\ncopies: {offsite: ./offsite}\n")
    assert shop.run(instance).success
    cursor = tick(shop, instance).cursor
    for _ in range(2):
        typed(shop, "backup", "shop", "--no-record", "--full")
    newest = shop.site.vault.ids("shop")[-1]
    typed(shop, "prune", "shop")
    typed(shop, "scrub", "--all")
    typed(shop, "drill", "shop", "--no-record")
    typed(shop, "verify", "shop")
    typed(shop, "repair", "shop")
    typed(shop, "pin", "shop", newest)
    tick_ = tick(shop, instance, cursor)
    manifest = shown(instance, "shop", "manifest")
    assert manifest["backup"] == newest
    assert manifest["dagster/row_count"] == 8, "what the step would have given"
    assert shown(instance, "shop", "retention")["forgotten"] == 2
    assert shown(instance, "shop", "copies", "offsite")["copied"] == 1
    assert shown(instance, "vault", "scrub")["parts_read"] == 256
    assert shown(instance, "shop", "drill")["recovery_seconds"] > 0  # type: ignore[operator]
    assert [text.split(",")[0] for text in observed(instance)] == [
        *[f"backup of {one}" for one in acted(shop, "backup")],
        f"verify of {newest}",
        "repair",
        f"pin of {newest}",
    ]
    before = len(instance.fetch_materializations(dg.AssetKey(["shop", "manifest"]), limit=50).records)
    # Nothing is told twice.
    assert tick(shop, instance, tick_.cursor).skip_reason.skip_message == "nothing new"  # type: ignore[union-attr]
    after = len(instance.fetch_materializations(dg.AssetKey(["shop", "manifest"]), limit=50).records)
    assert (before, after) == (2, 2)


def acted(shop: Shop, verb: str) -> list[str]:
    return [act.backup for act in acts.of(shop.site.settings) if act.verb == verb and act.origin == "cli"]


def test_a_failure_of_a_command_is_told_with_its_remedy_and_turns_the_check_red(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    bp.backup("shop", config=shop.site)
    cursor = tick(shop, instance).cursor
    for stored in (shop.folder / "vault" / "objects").rglob("*.zst"):
        alter(stored)
    typed(shop, "verify", "shop", code=10)
    shop.database.unlink()
    typed(shop, "backup", "shop", "--no-record", code=4)
    tick(shop, instance, cursor)
    assert [text.split(":")[0] for text in observed(instance)] == [
        f"backup of {shop.site.vault.ids('shop')[0]}, by Python",
        f"verify of {shop.site.vault.ids('shop')[0]}, by the command",
        "backup, by the command",
    ]
    key = dg.AssetCheckKey(dg.AssetKey(["shop", "manifest"]), "integrity")
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
    good, bad = [record.evaluation for record in sorted(history, key=lambda record: record.id)]
    assert isinstance(good, dg.AssetCheckEvaluation)
    assert isinstance(bad, dg.AssetCheckEvaluation)
    assert (good.passed, bad.passed) == (True, False)
    assert bad.metadata["remedy"].value


@pytest.mark.parametrize(
    ("stop", "code"),
    [(KeyboardInterrupt(), 130), (StoreUnavailable("the disk is away", remedy="mount it"), 5)],
)
def test_what_was_interrupted_or_was_about_earlier_backups_judges_no_backup(
    shop: Shop,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    stop: BaseException,
    code: int,
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise stop

    assert shop.run(instance).success
    cursor = tick(shop, instance).cursor
    with monkeypatch.context() as patch:
        patch.setattr("backup_pipeline.operations.verify.verify", stopped)
        typed(shop, "verify", "shop", code=code)
    if code != 130:
        shop.sql("INSERT INTO empty VALUES (1)")
        assert shop.run(instance).success
    tick(shop, instance, cursor)
    assert [text.split(":")[0] for text in observed(instance)] == ["verify, by the command"]
    key = dg.AssetCheckKey(dg.AssetKey(["shop", "manifest"]), "integrity")
    history = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
    assert [record.status.value for record in history] == ["SUCCEEDED"] * (1 if code == 130 else 2)


def test_a_backup_of_another_host_is_shown_and_a_vault_that_is_away_fails_no_tick(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    backup(shop.site, BackupOrder("shop"))  # as another host: no line in the log of this one
    tick(shop, instance)
    assert shown(instance, "shop", "manifest")["backup"] == shop.site.vault.ids("shop")[-1]
    (shop.folder / "vault").rename(shop.folder / "away")
    (shop.folder / "vault").write_text("not a folder")
    tick(shop, instance, "what an older version left here")


def test_runs_that_are_recorded_are_not_told_again(shop: Shop) -> None:
    typed(shop, "backup", "shop")
    typed(shop, "drill", "shop")
    with open_instance(shop.site) as instance:
        tick(shop, instance)
        assert observed(instance) == []
        for asset in ("manifest", "drill"):
            records = instance.fetch_materializations(dg.AssetKey(["shop", asset]), limit=5).records
            assert len(records) == 1


@pytest.mark.parametrize("by", ["the command", "Python"])
def test_the_checks_of_a_backup_without_a_record_are_shown(
    shop: Shop, instance: dg.DagsterInstance, by: str
) -> None:
    backup(shop.site, BackupOrder("shop"))
    shop.sql("DROP TABLE empty")
    if by == "Python":
        with pytest.raises(ErrorsFound):
            bp.backup("shop", config=shop.site)
    else:
        typed(shop, "backup", "shop", "--no-record", code=ErrorsFound.exit_code)
    tick(shop, instance)
    found = {}
    for check in INLINE:
        key = dg.AssetCheckKey(dg.AssetKey(["shop", "manifest"]), check.name)
        (record,) = instance.event_log_storage.get_asset_check_execution_history(key, limit=5)
        assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
        found[check.name] = record.evaluation
    red = [name for name, one in found.items() if not one.passed and one.severity.value == "ERROR"]
    assert len(red) == 1
    assert "empty" in str(found[red[0]].description)
    table = found[red[0]].metadata["findings"]
    assert isinstance(table, dg.TableMetadataValue)
    assert table.records[0].data["remedy"]
    # A run that is recorded has them itself: its line in the log stays short.
    typed(shop, "backup", "shop", code=ErrorsFound.exit_code)
    *_, last = acts.of(shop.site.settings)
    assert last.run
    assert last.checks == ()
