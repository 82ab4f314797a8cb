"""Alerts by commands: `alert test`, what `doctor` says of `alerts:`, and what a command tells that fails under cron.

A real web server, a real mail server, a closed port; and the daemon's sensor on the instance that the commands record in.
"""

from __future__ import annotations

import json
import os
import pty
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace

import dagster as dg
import pytest

from backup_pipeline.alerts import outbox
from backup_pipeline.operations import Site
from backup_pipeline.orchestration.graph import build_defs
from backup_pipeline.orchestration.instance import open_instance
from backup_pipeline_tests.cli.conftest import Folder
from backup_pipeline_tests.harness import commands
from backup_pipeline_tests.harness.listening import Hook, Mailbox
from backup_pipeline_tests.harness.ports import free_port

# Apprise asks Python's own imghdr what kind a picture is.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")


def told_to(shop: Folder, *addresses: str) -> None:
    config = shop.path / "backup.yaml"
    config.write_text(f"alerts: {json.dumps(list(addresses))}\n{config.read_text()}")


def found(shop: Folder) -> dict[str, str]:
    """Code → severity of what `doctor` says of alerts; its exit code is 14 exactly when one is an error."""
    ended = shop.run("doctor", "--json")
    findings = ended.document["data"]["alerts"]["findings"]
    errors = [one for one in findings if one["severity"] == "error"]
    assert ended.code == (14 if errors else 0), str(ended)
    return {one["code"]: one["severity"] for one in findings}


def test_doctor_says_that_no_alert_would_reach_anyone(shop: Folder) -> None:
    assert found(shop) == {"no-alert-route": "warning"}


def test_doctor_tries_each_address_and_sends_nothing(shop: Folder, hook: Hook, mailbox: Mailbox) -> None:
    told_to(shop, hook.address, mailbox.address)
    assert found(shop) == {}
    assert hook.bodies == mailbox.letters == []


@pytest.mark.parametrize("one_works", [True, False])
def test_doctor_names_addresses_that_cannot_work(one_works: bool, shop: Folder, hook: Hook) -> None:
    closed = f"json://127.0.0.1:{free_port()}/x"
    told_to(shop, "slackk://foo/bar", closed, "${env:NOT_SET}", *([hook.address] if one_works else []))
    expected = {"alert-address-wrong": "error", "alert-unreachable": "error"}
    assert found(shop) == expected | ({} if one_works else {"no-alert-arrives": "error"})
    text = shop.run("doctor").stdout
    assert "alerts[0] (slackk) is no address" in text
    assert "alerts[1] (json): 127.0.0.1 does not answer" in text
    assert "NOT_SET" in text


def test_doctor_says_where_only_a_message_shows_whether_it_arrives(shop: Folder) -> None:
    token = "cccccccccccccccccccccccc"
    told_to(shop, f"slack://AAAAAAAAA/BBBBBBBBB/{token}")
    assert found(shop) == {"alert-not-tried": "info"}
    assert token not in shop.run("doctor").stdout


def test_alert_test_sends_to_each_address_and_says_which_did_not_take_it(
    shop: Folder, hook: Hook, mailbox: Mailbox
) -> None:
    told_to(shop, hook.address, mailbox.address)
    assert shop.good("alert", "test").stdout == "alerts[0] (json): arrived\nalerts[1] (mailto): arrived\n"
    assert hook.titles == mailbox.subjects == ["[backup] test of the alerts"]
    hook.status = 503
    ended = shop.run("alert", "test", "--json")
    assert (ended.code, ended.error["code"]) == (14, "not-ready")
    first, second = ended.document["data"]["addresses"]
    assert (first["arrived"], second["arrived"]) == (False, True)
    assert "503" in first["why"]
    assert len(mailbox.letters) == 2


def test_alert_test_without_an_address_is_no_success(shop: Folder) -> None:
    ended = shop.run("alert", "test")
    assert ended.code == 14
    assert "alerts: [ADDRESS]" in ended.stderr


# ── a command that fails, and no person looks on


def damage(shop: Folder) -> None:
    """An object of the newest backup has other bytes."""
    (victim, *_) = sorted(path for path in (shop.path / "vault" / "objects").rglob("*") if path.is_file())
    victim.chmod(0o644)
    victim.write_bytes(b"not this")


def test_a_command_that_fails_under_cron_tells_of_it_and_one_that_is_good_is_silent(
    shop: Folder, hook: Hook, mailbox: Mailbox
) -> None:
    told_to(shop, hook.address, mailbox.address)
    for good in (["backup", "shop", "--no-record", "-q"], ["verify", "shop", "-q"], ["scrub", "-q"]):
        ended = shop.good(*good)
        assert ended.stdout + ended.stderr == ""
    assert hook.bodies == []
    damage(shop)
    verified = shop.run("verify", "shop", "-q")
    assert verified.code == 10
    assert hook.titles == mailbox.subjects == ["[backup] shop: verify failed"]
    message = hook.bodies[0]["message"]
    assert "Why:     the verification failed" in message
    assert "Remedy:" in message
    assert "`backup-pipeline verify shop`" in message
    assert "exit code 10" in message
    assert shop.run("scrub", "--all", "-q").code == 10
    assert hook.titles[1:] == ["[backup] vault: scrub failed"]
    # A mistyped crontab is a backup that is not made; a question and a plan are none.
    assert shop.run("backup", "shp", "--no-record").code == 3
    assert hook.titles[2:] == ["[backup] shp: backup failed"]
    assert shop.run("show", "shp").code == 3
    assert len(hook.titles) == 3


def test_a_person_at_a_terminal_gets_no_message_unless_it_is_asked_for(shop: Folder, hook: Hook) -> None:
    told_to(shop, hook.address)

    def at_a_terminal(*arguments: str) -> int:
        person, terminal = pty.openpty()
        try:
            return subprocess.run(
                [*commands.PROGRAM, *arguments],
                cwd=shop.path,
                env=commands.environment(shop.env),
                stdin=terminal,
                capture_output=True,
                timeout=120,
                check=False,
            ).returncode
        finally:
            os.close(person)
            os.close(terminal)

    assert at_a_terminal("verify", "shop") == 3
    assert hook.titles == []
    assert at_a_terminal("verify", "shop", "--alert", "always") == 3
    assert hook.titles == ["[backup] shop: verify failed"]
    assert shop.run("--alert", "never", "verify", "shop").code == 3
    assert len(hook.titles) == 1
    # What only answers a question is told when it is asked for: the dead man's switch of a crontab.
    assert shop.run("status", "--alert", "always").code == 13
    assert hook.titles[1:] == ["[backup] all systems: status failed"]


def test_no_secret_leaves_by_the_alert_of_a_command(shop: Folder, hook: Hook) -> None:
    secret = "s3cr3t-w0rd-0f-the-database"
    config = shop.path / "backup.yaml"
    config.write_text(
        f"vault: ./vault\nalerts: ['{hook.address}']\nsystems:\n"
        f"  shop: {{database: 'postgresql://app:{secret}@127.0.0.1:{free_port()}/shop'}}\n"
    )
    ended = shop.run("inventory", "shop", "--alert", "always")
    assert ended.code == 4
    assert len(hook.bodies) == 1
    assert secret not in json.dumps(hook.bodies) + str(ended)


@dataclass
class Daemon:
    """The sensors, on the instance that the commands of a folder record in."""

    site: Site
    instance: dg.DagsterInstance
    cursors: dict[str, str | None] = field(default_factory=dict)

    def tick(self, sensor: str = "failure_alert") -> None:
        defs = build_defs(self.site)
        with dg.build_sensor_context(
            instance=self.instance, cursor=self.cursors.get(sensor), repository_def=defs.get_repository_def()
        ) as context:
            self.cursors[sensor] = defs.resolve_sensor_def(sensor).evaluate_tick(context).cursor


@pytest.fixture
def daemon(shop: Folder, hook: Hook) -> Iterator[Daemon]:
    told_to(shop, hook.address)
    shop.good("inventory", "shop")
    site = Site.load(shop.path / "backup.yaml")
    with open_instance(site, {}) as instance:
        yield Daemon(site, instance)


def lose_the_database(shop: Folder) -> None:
    (shop.path / "shop.db").write_bytes(b"this is no database at all" * 100)


def test_one_failure_is_one_message_from_the_command_and_the_daemon(
    shop: Folder, hook: Hook, daemon: Daemon
) -> None:
    lose_the_database(shop)
    assert shop.run("backup", "shop").code == 4
    assert hook.titles == ["[backup] shop: backup failed"]
    (run,) = daemon.instance.get_runs()
    assert f"/runs/{run.run_id}" in hook.bodies[0]["message"]
    daemon.tick()
    daemon.tick()
    assert len(hook.bodies) == 1
    # The next failure is another one.
    assert shop.run("backup", "shop").code == 4
    daemon.tick()
    assert len(hook.bodies) == 2


@pytest.mark.parametrize("by", ["the daemon", "a command"])
def test_an_alert_that_does_not_arrive_is_sent_once_later(
    by: str, shop: Folder, hook: Hook, daemon: Daemon
) -> None:
    lose_the_database(shop)
    hook.status = 503
    ended = shop.run("backup", "shop", "-q")
    assert ended.code == 4
    assert "warning: the alert did not arrive: alerts[0] (json)" in ended.stderr
    daemon.tick()
    assert hook.bodies == []
    hook.status = 200
    for _ in range(2):
        daemon.tick() if by == "the daemon" else shop.good("scrub", "--all")
    assert hook.titles == ["[backup] shop: backup failed"]


def test_the_alert_goes_out_where_the_history_cannot_be_kept(shop: Folder, hook: Hook) -> None:
    told_to(shop, hook.address)
    shop.good("inventory", "shop")
    lose_the_database(shop)
    ended = shop.run("backup", "shop", DAGSTER_HOME="/nowhere/at/all")
    assert ended.code == 4
    assert "not recorded" in ended.stderr
    assert hook.titles == ["[backup] shop: backup failed"]


def test_the_daemon_leaves_a_run_to_its_command_and_tells_of_it_when_the_command_was_killed(
    shop: Folder, hook: Hook, daemon: Daemon
) -> None:
    lose_the_database(shop)
    assert shop.run("backup", "shop", "--alert", "never").code == 4
    (run,) = daemon.instance.get_runs()
    now = daemon.site.clock()
    at_work = replace(outbox.begun(now), runs=(run.run_id,))
    outbox.keep(daemon.site.settings, at_work)
    daemon.tick()
    daemon.tick()
    assert hook.bodies == []
    host, pid, _ = at_work.process
    outbox.keep(daemon.site.settings, replace(at_work, process=(host, pid, "another")))
    daemon.tick()
    daemon.tick()
    assert hook.titles == ["[backup] shop: backup_shop failed"]


def test_what_a_command_found_and_the_daemon_reports_is_told_once(
    shop: Folder, hook: Hook, daemon: Daemon
) -> None:
    shop.good("backup", "shop")
    daemon.tick("history")
    daemon.tick()
    hook.bodies.clear()  # that no backup was proven yet
    damage(shop)
    assert shop.run("verify", "shop", "-q").code == 10
    daemon.tick("history")
    daemon.tick()
    assert hook.titles == ["[backup] shop: verify failed"]
    assert shop.run("verify", "shop", "--alert", "never").code == 10
    daemon.tick("history")
    daemon.tick()
    assert hook.titles[1:] == ["[backup] shop: check integrity failed"]
    assert "Remedy:" in hook.bodies[1]["message"]


def test_an_error_that_a_backup_finds_is_one_message(shop: Folder, hook: Hook, daemon: Daemon) -> None:
    shop.good("backup", "shop")
    daemon.tick()
    hook.bodies.clear()  # that no backup was proven yet
    with closing(sqlite3.connect(shop.path / "shop.db")) as connection, connection:
        connection.execute("DELETE FROM orders")
    assert shop.run("backup", "shop", "-q").code == 10
    assert hook.titles == ["[backup] shop: backup failed"]
    assert "orders" in hook.bodies[0]["message"]
    daemon.tick()
    daemon.tick()
    assert len(hook.bodies) == 1
