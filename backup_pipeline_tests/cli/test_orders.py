"""A setting is written once: flags, run configuration and keywords follow from the fields of an order."""

from __future__ import annotations

import inspect
from dataclasses import fields

import click
import pytest

import backup_pipeline as bp
from backup_pipeline.cli.app import VERBS, Verb, app
from backup_pipeline.cli.orders import completed, ordered
from backup_pipeline.model.orders import BackupOrder, ForgetOrder, Order, QueryOrder, RestoreOrder, options_of
from backup_pipeline.orchestration.assets import ReadConfig


def verbs() -> list[Verb]:
    found = [app.get_command(app.make_context("backup-pipeline", ["help"]), name) for name in VERBS]
    return [verb for verb in found if isinstance(verb, Verb)]


@pytest.mark.parametrize("verb", [verb for verb in verbs() if verb.order], ids=lambda verb: str(verb.name))
def test_every_option_of_an_order_is_a_flag_of_its_verb(verb: Verb) -> None:
    assert verb.order is not None
    flags = {flag for parameter in verb.params for flag in parameter.opts}
    assert {how.spelling(one) for one, how in options_of(verb.order).items()} <= flags


def test_the_words_of_a_verb_are_those_of_its_order_and_what_its_module_gives_keeps_its_place() -> None:
    loose = click.Argument(["system"], required=False)
    yes = click.Option(["--yes"], is_flag=True)
    found = [(one.name, one.required) for one in completed(ForgetOrder, [yes, loose])]
    assert found[:3] == [("system", False), ("id", True), ("yes", False)]
    assert [name for name, _ in found[3:]] == ["reason", "force", "copy"]


def test_what_is_not_typed_stays_as_the_order_says() -> None:
    typed = {"system": "shop", "no_owner": True, "no_code": False, "jobs": None, "to": "sqlite:///x.db"}
    order = ordered(RestoreOrder, typed)
    assert order == RestoreOrder("shop", to="sqlite:///x.db", owner=False)


def test_a_run_has_the_defaults_of_the_order() -> None:
    config, order = ReadConfig(), BackupOrder("shop")
    assert (config.full, config.kind.value, tuple(config.only)) == (order.full, order.kind, order.only)


@pytest.mark.parametrize(
    ("function", "order"),
    [(bp.backup, BackupOrder), (bp.restore, RestoreOrder), (bp.query, QueryOrder)],
    ids=["backup", "restore", "query"],
)
def test_python_takes_the_fields_of_the_order(function: object, order: type[Order]) -> None:
    assert callable(function)
    assert list(inspect.signature(function).parameters) == list(inspect.signature(order).parameters)
    assert {one.name for one in fields(order)} == set(inspect.signature(function).parameters)


def test_a_system_that_is_not_named_is_left_to_the_verb() -> None:
    assert ordered(BackupOrder, {"system": None}).system == ""
