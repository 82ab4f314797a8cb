"""Alerts to a real mail server and a real web server: once each, with a remedy and a link, and without a secret."""

from __future__ import annotations

import json
from dataclasses import dataclass

import dagster as dg
import pytest

from backup_pipeline.backups import making
from backup_pipeline.model.manifest import Manifest
from backup_pipeline.operations import Site
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline_tests.harness.listening import Hook, Mailbox
from backup_pipeline_tests.orchestration.conftest import Impatient, Shop

# Apprise asks Python's own imghdr what kind a picture is.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


@dataclass
class Alerting:
    """The sensor and its cursor."""

    site: Site
    instance: dg.DagsterInstance
    cursor: str | None = None

    def tick(self) -> str:
        defs = build_defs(self.site)
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursor, repository_def=defs.get_repository_def()
        ) as context:
            result = defs.resolve_sensor_def("failure_alert").evaluate_tick(context)
        self.cursor = result.cursor
        return result.skip_message or ""


def alerting(shop: Shop, instance: dg.DagsterInstance, *addresses: str, settings: str = "") -> Alerting:
    site = shop.configure(
        settings, top=f"alerts: {json.dumps(list(addresses))}\nui_url: https://dagster.example.com/"
    )
    return Alerting(site, instance)


def fail(shop: Shop, instance: dg.DagsterInstance) -> str:
    """A run that fails; its id."""
    result = shop.run(instance, config={"only": ["nothing*"]})
    assert not result.success
    return result.run_id


def test_a_failed_run_is_told_once_with_what_failed_the_remedy_and_a_link(
    shop: Shop, instance: dg.DagsterInstance, mailbox: Mailbox, hook: Hook
) -> None:
    alerts = alerting(shop, instance, mailbox.address, hook.address)
    assert alerts.tick() == "nothing failed since the last look"
    run = fail(shop, instance)
    assert alerts.tick() == "1 alerts sent"
    assert alerts.tick() == "nothing failed since the last look"
    assert mailbox.subjects == ["[backup] shop: backup_shop failed"]
    text = mailbox.letters[0].get_body(("plain",)).get_content()  # type: ignore[attr-defined]
    for said in ("shop", "nothing*", "Remedy:", "backup-pipeline inventory shop"):
        assert said in text
    assert f"https://dagster.example.com/runs/{run}" in text
    (body,) = hook.bodies
    assert body["title"] == "[backup] shop: backup_shop failed"
    assert f"/runs/{run}" in body["message"]
    # The next failure is another one.
    fail(shop, instance)
    assert alerts.tick() == "1 alerts sent"
    assert len(mailbox.letters) == len(hook.bodies) == 2


def test_a_failed_check_is_told_once_with_its_findings(
    shop: Shop, instance: dg.DagsterInstance, hook: Hook
) -> None:
    alerts = alerting(shop, instance, hook.address)
    shop.sql("INSERT INTO orders VALUES (99, 404, 0)")
    assert shop.run(instance).success
    assert alerts.tick() == "1 alerts sent"
    assert alerts.tick() == "nothing failed since the last look"
    (body,) = hook.bodies
    assert "foreign_keys" in body["title"]
    assert "main.orders" in body["message"]
    # One message for all that this run found; `proven` warns as well.
    assert "proven (warn)" in body["message"]


def test_a_check_that_goes_on_warning_is_told_when_it_begins_to(
    shop: Shop, instance: dg.DagsterInstance, hook: Hook
) -> None:
    alerts = alerting(shop, instance, hook.address)
    for _ in range(3):
        assert shop.run(instance).success
        alerts.tick()
    assert [body["title"] for body in hook.bodies] == ["[backup] shop: check proven warns"]
    assert shop.run(instance, job="drill_shop").success
    alerts.tick()
    assert len(hook.bodies) == 1


@pytest.mark.usefixtures("damaging")
def test_a_blocking_check_and_the_run_that_it_fails_are_one_alert(
    shop: Shop, instance: dg.DagsterInstance, hook: Hook
) -> None:
    alerts = alerting(shop, instance, hook.address)
    assert not shop.run(instance).success
    assert alerts.tick() == "1 alerts sent"
    assert "integrity (error)" in hook.bodies[0]["message"]
    assert alerts.tick() == "nothing failed since the last look"
    assert len(hook.bodies) == 1


def test_an_address_that_does_not_answer_gets_it_later_and_the_others_not_again(
    shop: Shop, instance: dg.DagsterInstance, mailbox: Mailbox, hook: Hook
) -> None:
    alerts = alerting(shop, instance, mailbox.address, hook.address)
    hook.status = 503
    fail(shop, instance)
    assert "could not be sent to 1 of 2 addresses" in alerts.tick()
    assert "could not be sent" in alerts.tick()
    assert len(mailbox.letters) == 1
    assert hook.bodies == []
    hook.status = 200
    fail(shop, instance)
    assert alerts.tick() == "2 alerts sent"
    assert len(mailbox.letters) == len(hook.bodies) == 2
    assert alerts.tick() == "nothing failed since the last look"


def test_an_address_that_does_not_answer_is_tried_once_a_tick(
    shop: Shop, instance: dg.DagsterInstance, mailbox: Mailbox, hook: Hook
) -> None:
    alerts = alerting(shop, instance, mailbox.address, hook.address)
    hook.status = 503
    for _ in range(3):
        fail(shop, instance)
    assert "3 alerts could not be sent to 1 of 2 addresses" in alerts.tick()
    assert (len(mailbox.letters), hook.tries) == (3, 1)
    hook.status = 200
    assert alerts.tick() == "3 alerts sent"
    assert (len(mailbox.letters), len(hook.bodies)) == (3, 3)


def test_no_secret_leaves_by_an_alert(
    shop: Shop, instance: dg.DagsterInstance, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "s3cr3t-w0rd-0f-the-database"
    monkeypatch.setenv("DB", f"postgresql://app:{secret}@127.0.0.1:1/shop")
    shop.config.write_text(
        f"vault: ./vault\nalerts: ['{hook.address}']\nsystems:\n  shop: {{database: '${{env:DB}}'}}\n"
    )
    site = Impatient.load(shop.config)

    def leaking(*_: object, **__: object) -> Manifest:
        raise ValueError(f"could not reach {site.url('shop')} with {secret}")

    monkeypatch.setattr(making, "export", leaking)
    job = build_defs(site).resolve_job_def("backup_shop")
    job.execute_in_process(instance=instance, raise_on_error=False)
    alerts = Alerting(site, instance)
    assert alerts.tick() == "1 alerts sent"
    assert "could not reach" in hook.bodies[0]["message"]
    assert secret not in json.dumps(hook.bodies) + str(alerts.cursor)


def test_runs_of_other_projects_are_not_ours_to_tell(
    shop: Shop, instance: dg.DagsterInstance, hook: Hook
) -> None:
    @dg.op
    def breaks() -> None:
        raise ValueError

    @dg.job
    def foreign() -> None:
        breaks()

    foreign.execute_in_process(instance=instance, raise_on_error=False)
    alerts = alerting(shop, instance, hook.address)
    assert alerts.tick() == "nothing failed since the last look"


def test_an_address_that_apprise_does_not_know_is_an_error_with_a_remedy(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    alerts = alerting(shop, instance, "nonsense://x")
    fail(shop, instance)
    with pytest.raises(dg.Failure, match="mailto://"):
        alerts.tick()


def test_a_backup_that_grows_old_is_told_although_nothing_runs(
    shop: Shop, instance: dg.DagsterInstance, hook: Hook
) -> None:
    alerts = alerting(shop, instance, hook.address, settings="fresh_within: 1s")
    site = alerts.site

    def watch() -> str:
        defs = build_defs(site)
        with dg.build_sensor_context(instance=instance, repository_def=defs.get_repository_def()) as context:
            return defs.resolve_sensor_def("watch").evaluate_tick(context).skip_message or ""

    assert "shop: fresh failed" in watch()
    assert alerts.tick() == "2 alerts sent"
    assert {"[backup] shop: check fresh failed", "[backup] shop: check proven failed"} == {
        body["title"] for body in hook.bodies
    }
    assert "no full backup" in hook.bodies[0]["message"]
    assert watch() == "nothing changed"
    assert alerts.tick() == "nothing failed since the last look"
