"""`alert test` and what `doctor` says of `alerts:`: a real web server, a real mail server, a closed port."""

from __future__ import annotations

import json

import pytest

from backup_pipeline_tests.cli.conftest import Folder
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
