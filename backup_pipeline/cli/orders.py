"""From the fields of an order to the arguments and options of a command line, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from backup_pipeline.model.merge_orders import ALL
from backup_pipeline.model.orders import Option, options_of

T = TypeVar("T")


class Percent(click.ParamType[float]):
    """`5%` or `5`: more than nothing, and at most all."""

    name = "percent"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> float:
        try:
            percent = float(str(value).removesuffix("%"))
        except ValueError:
            percent = 0.0
        if not 0 < percent <= 100:
            self.fail(f"{value!r} is not a part of 100%, as in 5%", param, context)
        return percent


class Lasting(click.ParamType[timedelta]):
    """`7d`, as the configuration writes a duration."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> timedelta:
        from pydantic import TypeAdapter, ValidationError

        from backup_pipeline.config.values import Duration

        try:
            return timedelta(seconds=TypeAdapter(Duration).validate_python(value))
        except ValidationError:
            self.fail(f"{value!r} is not a duration; write it as 90m, 36h, 7d or 5w", param, context)


class Newest(click.ParamType[str]):
    """`newest:updated_at`. Without a value the flag takes the word behind it, which may be SYSTEM or ID."""

    name = "newest"

    def convert(self, value: Any, param: click.Parameter | None, context: click.Context | None) -> str:
        kind, _, column = str(value).partition(":")
        if value != ALL and (kind != "newest" or not column):
            self.fail(
                f"{value!r} is not newest:COLUMN; write --update behind the other words", param, context
            )
        return str(value)


FORMS: Mapping[str, click.ParamType[Any]] = {
    "percent": Percent(),
    "duration": Lasting(),
    "file": click.Path(dir_okay=False, path_type=Path),
    "newest": Newest(),
}


def completed(order: type[Any], given: Sequence[click.Parameter]) -> list[click.Parameter]:
    """The parameters of a verb: those that its module gives, and what its order asks for besides."""
    named = {parameter.name for parameter in given}
    words = [_word(one) for one in fields(order) if not one.kw_only and one.name not in named]
    more = [flag for flag in flags(order) if flag.name not in named]
    arguments = [one for one in given if isinstance(one, click.Argument)]
    return [*arguments, *words, *(one for one in given if one not in arguments), *more]


def _word(one: Field[Any]) -> click.Argument:
    required = one.default is MISSING
    usual = {"id": "ID" if required else "[ID|latest]"}
    return click.Argument(
        [one.name], required=required, metavar=one.metadata.get("word", usual.get(one.name))
    )


def flags(order: type[Any], *names: str) -> list[click.Option]:
    """The options of these fields, or of all."""
    return [_flag(one, how) for one, how in options_of(order).items() if not names or one.name in names]


def _flag(one: Field[Any], how: Option) -> click.Option:
    names = [how.spelling(one), _name(one)]
    about: dict[str, Any] = {"help": how.help, "metavar": how.metavar}
    if isinstance(one.default, bool):
        return click.Option(names, is_flag=True, **about)
    if one.default == ():
        return click.Option(names, multiple=True, **about)
    kind: click.ParamType[Any] | None
    kind = click.Choice(how.choices) if how.choices else FORMS.get(how.form)
    if how.between is not None:
        kind = click.IntRange(*how.between)
    if how.shows_default:
        about |= {"default": one.default, "show_default": True}
    if how.bare:
        about |= {"is_flag": False, "flag_value": how.bare}
    return click.Option(names, type=kind, required=how.required, **about)


def _name(one: Field[Any]) -> str:
    """Of the parameter: a flag that switches a field off is `no_owner`, so that it is off where it is not typed."""
    return f"no_{one.name}" if one.default is True else one.name


def ordered(order: type[T], given: Mapping[str, Any], **more: Any) -> T:
    """The order that a command line means. An option that was not typed leaves its field as it is."""
    asked = dict(more)
    for one in fields(order):  # type: ignore[arg-type]
        if one.default is True and given.get(f"no_{one.name}"):
            asked[one.name] = False
        elif one.default is not True and given.get(one.name) is not None:
            asked[one.name] = given[one.name]
        elif one.default is MISSING and one.name in given and one.name not in asked:
            asked[one.name] = ""  # as SYSTEM of `copy`: the verb does it for each
    return order(**asked)


def spelled(order: type[Any], name: str) -> str:
    """The flag of a parameter."""
    return next(how.spelling(one) for one, how in options_of(order).items() if _name(one) == name)


def takes(order: type[Any]) -> tuple[str, ...]:
    """The names of the parameters that go into an order."""
    return tuple(_name(one) for one in fields(order) if one.name != "config")
