"""A backup before every set of migrations, once, and again when it failed: with Alembic's own folder and table."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from alembic import command
from alembic.config import Config
from dagster._core.utils import make_new_run_id
from hypothesis import given
from hypothesis import strategies as st

from backup_pipeline.backups import making
from backup_pipeline.model.ids import timestamp
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.model.orders import BackupOrder
from backup_pipeline.operations import Site
from backup_pipeline.operations.backup import backup
from backup_pipeline.operations.reading import show
from backup_pipeline.orchestration import sensors
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.sensors import Attempt, PendingSince, decide
from backup_pipeline_tests.orchestration.conftest import Shop

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
SUCCESS, FAILURE, QUEUED, STARTED = (
    dg.DagsterRunStatus.SUCCESS,
    dg.DagsterRunStatus.FAILURE,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTED,
)


class Daemon:
    """The sensor's daemon in small: keeps the cursor, drops run keys that it has seen, runs what is asked for."""

    def __init__(self, site: Site, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        self.cursor: str | None = None
        self.keys: list[str] = []
        self.requests: list[dg.RunRequest] = []
        self.use(site)

    def use(self, site: Site) -> None:
        self.defs = build_defs(site)

    def tick(self, *, run: bool = True) -> str:
        """What the sensor said; a run that it asked for is over when this returns."""
        sensor = self.defs.resolve_sensor_def("pending_migrations_shop")
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=self.defs.get_repository_def()
        ) as context:
            result = sensor.evaluate_tick(context)
        self.cursor = result.cursor
        for request in result.run_requests or ():
            assert request.run_key is not None
            assert request.run_key not in self.keys, "Dagster would drop this request for ever"
            self.keys.append(request.run_key)
            self.requests.append(request)
            if run:
                self.defs.resolve_job_def("backup_shop").execute_in_process(
                    instance=self.instance,
                    run_config=dict(request.run_config),
                    tags=dict(request.tags),
                    raise_on_error=False,
                )
        return result.skip_message or "asked"


class Application:
    """An application with Alembic migrations, whose database is the shop's."""

    def __init__(self, shop: Shop) -> None:
        self.shop = shop
        self.config = Config(str(shop.folder / "alembic.ini"), stdout=io.StringIO())
        command.init(self.config, str(shop.folder / "migrations"))
        shop.configure("migrations: {tool: alembic, path: .}")

    def add(self, name: str) -> None:
        command.revision(self.config, message=name, rev_id=name)

    def stamp(self, name: str | None) -> None:
        """What `alembic upgrade` leaves in the database."""
        with closing(sqlite3.connect(self.shop.database)) as connection, connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)"
            )
            connection.execute("DELETE FROM alembic_version")
            if name is not None:
                connection.execute("INSERT INTO alembic_version VALUES (?)", (name,))


@pytest.fixture
def application(shop: Shop) -> Application:
    made = Application(shop)
    made.add("a1")
    made.stamp("a1")
    shop.site.inventory("shop")
    return made


def test_once_for_each_set_and_the_list_is_in_the_manifest(
    application: Application, instance: dg.DagsterInstance
) -> None:
    site = application.shop.site
    daemon = Daemon(site, instance)
    assert daemon.tick() == "no migration is pending"
    application.add("b2")
    assert daemon.tick() == "asked"
    manifest = show(site, "shop")
    assert manifest.kind == "pre-migration"
    assert manifest.migrations is not None
    assert manifest.migrations.pending == ("b2",)
    assert daemon.tick().endswith("backed up")
    assert daemon.tick().endswith("backed up")
    # Another migration joins: another set.
    application.add("c3")
    assert daemon.tick() == "asked"
    assert daemon.tick().endswith("backed up")
    application.stamp("c3")
    assert daemon.tick() == "no migration is pending"
    assert len(site.vault.ids("shop")) == 2


def test_again_when_the_backup_failed(
    application: Application, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensors, "FIRST_PAUSE", timedelta(0))
    application.add("b2")

    def broken(*_: object, **__: object) -> Manifest:
        raise RuntimeError("the disk is full")

    daemon = Daemon(application.shop.site, instance)
    with monkeypatch.context() as patch:
        patch.setattr(making, "export", broken)
        assert daemon.tick() == "asked"
        assert daemon.tick() == "asked"
    assert daemon.tick() == "asked"
    assert daemon.tick().endswith("backed up")
    assert len(set(daemon.keys)) == 3
    assert [request.tags["backup_pipeline/attempt"] for request in daemon.requests] == ["1", "2", "3"]
    assert len(application.shop.site.vault.ids("shop")) == 1


def test_not_while_a_backup_for_the_set_is_under_way(
    application: Application, instance: dg.DagsterInstance
) -> None:
    application.add("b2")
    daemon = Daemon(application.shop.site, instance)
    assert daemon.tick(run=False) == "asked"
    instance.create_run_for_job(
        daemon.defs.resolve_job_def("backup_shop"), tags=dict(daemon.requests[0].tags), status=STARTED
    )
    assert daemon.tick().endswith("under way")


def test_a_lost_cursor_costs_at_most_one_more_backup(
    application: Application, instance: dg.DagsterInstance
) -> None:
    application.add("b2")
    daemon = Daemon(application.shop.site, instance)
    daemon.tick()
    daemon.cursor = None
    daemon.tick()
    assert daemon.tick().endswith("backed up")
    assert len(daemon.keys) == 2


def test_a_set_that_was_applied_and_taken_back_is_backed_up_again(
    application: Application, instance: dg.DagsterInstance
) -> None:
    application.add("b2")
    daemon = Daemon(application.shop.site, instance)
    assert daemon.tick() == "asked"
    application.stamp("b2")
    assert daemon.tick() == "no migration is pending"
    application.stamp("a1")
    assert daemon.tick() == "asked"
    assert daemon.tick().endswith("backed up")


def test_a_database_that_does_not_answer_fails_the_tick_and_moves_nothing(
    application: Application, instance: dg.DagsterInstance
) -> None:
    application.add("b2")
    daemon = Daemon(application.shop.site, instance)
    application.shop.database.rename(application.shop.folder / "away")
    with pytest.raises(dg.Failure, match=r"there is no file .*\n→ check the path"):
        daemon.tick()
    assert daemon.cursor is None
    (application.shop.folder / "away").rename(application.shop.database)
    assert daemon.tick() == "asked"


def attempts(*statuses: dg.DagsterRunStatus, ended: timedelta) -> list[Attempt]:
    return [Attempt(status, NOW - timedelta(hours=1), NOW - ended) for status in statuses]


SEEN = PendingSince("x", timestamp(NOW - timedelta(hours=2)))


def test_attempts_that_fail_are_made_less_and_less_often() -> None:
    pauses = []
    for failures in range(1, 9):
        made = attempts(*[FAILURE] * failures, ended=timedelta(0))
        wait = next(m for m in range(200) if decide(["m"], SEEN, made, NOW + timedelta(minutes=m)).attempt)
        pauses.append(wait)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


@given(st.lists(st.sampled_from([SUCCESS, FAILURE, QUEUED])))
def test_a_set_is_never_asked_for_twice_after_success_and_never_with_a_used_number(
    statuses: list[dg.DagsterRunStatus],
) -> None:
    made = attempts(*statuses, ended=timedelta(days=1))
    decision = decide(["m"], SEEN, made, NOW)
    if SUCCESS in statuses or QUEUED in statuses:
        assert decision.attempt is None
    else:
        assert decision.attempt == len(statuses) + 1


def test_attempts_are_counted_beyond_the_thousandth(
    application: Application, instance: dg.DagsterInstance
) -> None:
    application.add("b2")
    daemon = Daemon(application.shop.site, instance)
    daemon.tick(run=False)
    failed = dg.DagsterRun("backup_shop", status=FAILURE, tags=dict(daemon.requests[0].tags))
    for _ in range(1000):
        instance.add_run(failed._replace(run_id=make_new_run_id()))
    for hours in (2, 4):
        later = datetime.now(UTC) + timedelta(hours=hours)
        daemon.use(Site(application.shop.site.settings, clock=lambda later=later: later))
        assert daemon.tick(run=False) == "asked"
        instance.add_run(failed._replace(run_id=make_new_run_id()))
    assert [key.rpartition("-")[2] for key in daemon.keys] == ["1", "1001", "1002"]


@pytest.mark.parametrize(
    "cursor", ["garbage", "[]", '{"set": "x"}', '{"set": 3}', '{"since": "", "later": 1}']
)
def test_a_cursor_that_cannot_be_read_is_replaced(
    application: Application, instance: dg.DagsterInstance, cursor: str
) -> None:
    application.add("b2")
    daemon = Daemon(application.shop.site, instance)
    daemon.cursor = cursor
    assert daemon.tick(run=False) == "asked"


def test_a_backup_that_is_made_and_has_an_error_is_not_made_again_and_again(
    application: Application, instance: dg.DagsterInstance
) -> None:
    daemon = Daemon(application.shop.site, instance)
    backup(application.shop.site, BackupOrder("shop"))
    application.shop.sql("DELETE FROM orders")
    application.add("b2")
    assert daemon.tick() == "asked"
    (run,) = instance.get_runs()
    assert run.status is FAILURE, "its verdict says that a table is empty"
    later = datetime.now(UTC) + timedelta(hours=2)
    daemon.use(Site(application.shop.site.settings, clock=lambda: later))
    assert daemon.tick().endswith("backed up")
