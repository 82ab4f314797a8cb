"""Nothing of the graph turns red unheard: the checks, jobs, schedules and sensors are taken from the definitions
themselves. Each is made to fail in a real instance, and a real web server waits for the message."""

from __future__ import annotations

import json
import logging
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.remote_origin import (
    InProcessCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import ModuleTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster_shared.error import SerializableErrorInfo
from dagster_shared.record import replace

from backup_pipeline.model.outcome import Outcome
from backup_pipeline.operations import Site, monitoring
from backup_pipeline.orchestration import sensors
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.naming import PLAIN
from backup_pipeline_tests.harness.listening import Hook
from backup_pipeline_tests.harness.ports import free_port
from backup_pipeline_tests.orchestration.conftest import Impatient, Shop

# Apprise asks Python's own imghdr what kind a picture is.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

CONFIG = """\
vault: ./vault
alerts: [%s]
copies: {offsite: ./offsite}
systems:
  blog: {database: "sqlite:///shop.sqlite3", schedule: "0 3 * * *", copies: []}
  shop:
    retention: {last: 3, schedule: "0 4 * * *"}
    database: sqlite:///shop.sqlite3
    schedule: "0 2 * * *"
    drill_schedule: "0 5 * * *"
    files: {media: {path: ./media}}
    migrations: {tool: django, path: ./migrations}
"""


@dataclass
class Graph:
    """Two systems with all that a system can have, and the sensor that tells of failures."""

    site: Site
    instance: dg.DagsterInstance
    hook: Hook
    cursor: str | None = None
    watched: str | None = None

    def __post_init__(self) -> None:
        self.defs = build_defs(self.site)
        self.repository = self.defs.get_repository_def()

    def heard(self) -> list[str]:
        """The titles of the messages that come by the next tick of failure_alert; the one after it sends nothing."""
        before = len(self.hook.titles)
        self._tick()
        found = self.hook.titles[before:]
        self._tick()
        assert len(self.hook.titles) == before + len(found), "told twice"
        return found

    def _tick(self) -> None:
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=self.repository
        ) as context:
            self.cursor = self.defs.resolve_sensor_def("failure_alert").evaluate_tick(context).cursor

    def watch(self) -> None:
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.watched, repository_def=self.repository
        ) as context:
            self.watched = self.defs.resolve_sensor_def("watch").evaluate_tick(context).cursor

    def last(self, key: dg.AssetCheckKey) -> dg.AssetCheckEvaluation:
        (record,) = self.instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        assert isinstance(record.evaluation, dg.AssetCheckEvaluation)
        return record.evaluation

    def turns(
        self,
        key: dg.AssetCheckKey,
        passed: bool,
        severity: dg.AssetCheckSeverity = dg.AssetCheckSeverity.ERROR,
    ) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(
                asset_key=key.asset_key, check_name=key.name, passed=passed, severity=severity, metadata={}
            )
        )


@pytest.fixture
def graph(shop: Shop, hook: Hook, tmp_path: Path) -> Iterator[Graph]:
    for name in ("media", "migrations", "home"):
        (tmp_path / name).mkdir()
    (tmp_path / "media" / "a.txt").write_text("a")
    shop.config.write_text(CONFIG % json.dumps(hook.address))
    site = Impatient.load(shop.config)
    for system in site.systems:
        site.inventory(system)
    with dg.DagsterInstance.local_temp(str(tmp_path / "home")) as instance:
        yield Graph(site, instance, hook)


def fresh(system: str) -> dg.AssetCheckKey:
    return dg.AssetCheckKey(PLAIN.manifest_key(system), "fresh")


def system_of(name: str) -> str:
    return next((system for system in ("blog", "shop") if system in name), "vault")


def test_every_check_that_turns_red_is_told(graph: Graph) -> None:
    keys = sorted(graph.repository.asset_graph.asset_check_keys)
    assert {key.name for key in keys} >= {
        "fresh",
        "proven",
        "copied",
        "retention",
        "storage",
        "integrity",
        "files",
    }
    for key in keys:
        graph.turns(key, passed=False)
        assert graph.heard() == [f"[backup] {system_of(str(key.asset_key))}: check {key.name} failed"], key
        assert "/assets/" + "/".join(key.asset_key.path) in graph.hook.bodies[-1]["message"]


def test_a_warning_that_was_mended_by_the_time_of_the_look_is_no_news_and_an_error_is(graph: Graph) -> None:
    key = dg.AssetCheckKey(PLAIN.manifest_key("shop"), "proven")
    for passed in (False, True):
        graph.turns(key, passed, dg.AssetCheckSeverity.WARN)
    assert graph.heard() == []
    for passed in (False, True, False):
        graph.turns(key, passed, dg.AssetCheckSeverity.WARN)
    assert graph.heard() == ["[backup] shop: check proven warns"]
    for passed in (False, True):
        graph.turns(key, passed)
    assert graph.heard() == ["[backup] shop: check proven failed"]


def test_every_job_that_fails_is_told(graph: Graph) -> None:
    names = sorted(job.name for job in graph.repository.get_all_jobs() if not job.name.startswith("__"))
    assert {"scrub", "daily_checks", "copy_shop", "drill_shop", "prune_shop"} <= set(names)
    # A vault that is a file fails every one of them.
    (graph.site.settings.base / "vault").write_text("this is no folder")
    for name in names:
        job = graph.defs.resolve_job_def(name)
        assert not job.execute_in_process(instance=graph.instance, raise_on_error=False).success, name
        assert graph.heard() == [f"[backup] {system_of(name)}: {name} failed"]


def test_what_is_started_from_the_page_of_an_asset_is_told_as_well(graph: Graph) -> None:
    (graph.site.settings.base / "vault").write_text("this is no folder")
    job = graph.repository.get_implicit_global_asset_job_def().get_subset(asset_selection={PLAIN.scrub_key})
    run = graph.instance.create_run_for_job(job, asset_selection=frozenset([PLAIN.scrub_key]))
    graph.instance.report_run_failed(run)
    # Dagster says no more of a run whose process was killed.
    assert graph.heard() == [f"[backup] vault: {run.job_name} failed"]


def test_every_schedule_and_sensor_whose_tick_fails_is_told_once(graph: Graph) -> None:
    others = [one.name for one in graph.repository.sensor_defs if one.name != "failure_alert"]
    kinds = {
        **dict.fromkeys(others, InstigatorType.SENSOR),
        **{one.name: InstigatorType.SCHEDULE for one in graph.repository.schedule_defs},
    }
    assert {"watch", "pending_migrations_shop", "backup_shop_schedule", "scrub_schedule"} <= kinds.keys()
    origin = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="x"), location_name="x")
    for name, kind in kinds.items():
        one = RemoteInstigatorOrigin(RemoteRepositoryOrigin(origin, "__repository__"), name)
        cron = ScheduleInstigatorData("0 2 * * *") if kind is InstigatorType.SCHEDULE else None
        state = InstigatorState(one, kind, InstigatorStatus.DECLARED_IN_CODE, cron)
        graph.instance.add_instigator_state(state)

        def tick(status: TickStatus, state: InstigatorState = state) -> None:
            now, failed = datetime.now(UTC).timestamp(), status is TickStatus.FAILURE
            graph.instance.create_tick(
                TickData(
                    state.instigator_origin_id,
                    state.instigator_name,
                    state.instigator_type,
                    status,
                    now,
                    error=SerializableErrorInfo("no such column", [], "OperationalError") if failed else None,
                    selector_id=state.selector_id,
                )
            )

        tick(TickStatus.FAILURE)
        (title,) = graph.heard()
        assert title.endswith(f": {name} failed")
        tick(TickStatus.FAILURE)
        assert graph.heard() == []
        tick(TickStatus.SKIPPED)
        assert graph.heard() == []
        tick(TickStatus.FAILURE)
        assert len(graph.heard()) == 1
        tick(TickStatus.SKIPPED)


def test_a_sensor_that_the_daemon_ticks_in_vain_is_told_with_its_remedy(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = graph.site.settings.base
    monkeypatch.setenv("BACKUP_CONFIG", str(base / "backup.yaml"))
    shutil.rmtree(base / "migrations")
    (base / "shop.sqlite3").unlink()
    target = ModuleTarget(
        "backup_pipeline.definitions", attribute=None, working_directory=None, location_name="x"
    )
    with create_test_daemon_workspace_context(target, graph.instance) as workspace:
        for _ in execute_sensor_iteration(workspace, logging.getLogger("quiet"), None, None):
            pass
    titles = graph.heard()
    assert "[backup] shop: pending_migrations_shop failed" in titles
    message = graph.hook.bodies[titles.index("[backup] shop: pending_migrations_shop failed")]["message"]
    assert "Remedy:" in message
    assert "Failure:" not in message


def test_another_severity_and_another_finding_are_told_at_once(graph: Graph) -> None:
    key = fresh("shop")
    graph.watch()
    error = graph.last(key)
    assert error.severity is dg.AssetCheckSeverity.ERROR
    warning = replace(error, severity=dg.AssetCheckSeverity.WARN)
    for other in (warning, replace(error, metadata={})):
        graph.instance.report_runless_asset_event(other)
        graph.heard()
        graph.watched = None
        graph.watch()
        assert graph.last(key).severity is dg.AssetCheckSeverity.ERROR
        assert "findings" in graph.last(key).metadata
        assert "[backup] shop: check fresh failed" in graph.heard()
        graph.watched = None
        graph.watch()
        assert graph.heard() == [], "it is as it was"


def test_a_vault_that_does_not_answer_turns_every_system_red(graph: Graph) -> None:
    config = graph.site.settings.base / "backup.yaml"
    graph.turns(fresh("blog"), passed=True)
    graph.turns(fresh("shop"), passed=True)
    vault = f"{{url: sftp://nobody@127.0.0.1:{free_port()}/vault, max_attempts: 1}}"
    config.write_text(config.read_text().replace("vault: ./vault", f"vault: {vault}"))
    unreachable = Graph(Impatient.load(config), graph.instance, graph.hook)
    unreachable.watch()
    for system in ("blog", "shop"):
        evaluation = graph.last(fresh(system))
        assert (evaluation.passed, evaluation.severity) == (False, dg.AssetCheckSeverity.ERROR)
        assert f"whether {system} is protected is not known" in str(evaluation.description)
    told = unreachable.heard()
    assert {"[backup] blog: check fresh failed", "[backup] shop: check fresh failed"} <= set(told)


def test_a_system_that_hangs_is_red_and_does_not_hold_up_the_tick(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, watched = threading.Event(), monitoring.watched

    def hanging(site: Site, system: str) -> tuple[Outcome, ...]:
        if system == "blog":
            answered.wait()
        return watched(site, system)

    monkeypatch.setattr(monitoring, "watched", hanging)
    monkeypatch.setattr(sensors, "BUDGET", 1.0)
    try:
        graph.watch()
        assert "did not answer within 1 s" in str(graph.last(fresh("blog")).description)
        monkeypatch.setattr(sensors, "BUDGET", 600.0)
        graph.watch()
        assert "no full backup" in str(graph.last(fresh("shop")).description)
    finally:
        answered.set()


@pytest.mark.parametrize(
    "cursor", ["", "garbage", "[]", '{"since": "yesterday"}', '{"since": 3, "told": {}}']
)
def test_a_cursor_that_cannot_be_read_is_replaced(graph: Graph, cursor: str) -> None:
    graph.cursor = cursor
    graph.turns(dg.AssetCheckKey(PLAIN.scrub_key, "storage"), passed=False)
    assert graph.heard() == ["[backup] vault: check storage failed"]


def test_a_cursor_of_another_version_keeps_what_it_knows(graph: Graph) -> None:
    graph.turns(dg.AssetCheckKey(PLAIN.scrub_key, "storage"), passed=False)
    assert len(graph.heard()) == 1
    assert graph.cursor is not None
    known = json.loads(graph.cursor)
    del known["ticks"], known["failing"]
    graph.cursor = json.dumps({**known, "later": [1, 2]})
    assert graph.heard() == []
