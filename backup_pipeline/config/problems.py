"""What is wrong with a configuration file, all of it at once: line, key, what, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args, get_origin

import yaml
from pydantic import BaseModel

from backup_pipeline.config.settings import Settings, SystemSettings
from backup_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

Key = tuple[Any, ...]

#: What people call things elsewhere.
_ALIASES = {
    "url": "database", "db": "database", "dsn": "database", "database_url": "database", "connection": "database",
    "cron": "schedule", "tz": "timezone", "time_zone": "timezone", "tables": "include", "only": "include",
    "ignore": "exclude", "skip": "exclude", "jobs": "workers", "parallel": "workers", "threads": "workers",
    "notify": "alerts", "notifications": "alerts", "store": "vault", "target": "vault", "destination": "vault",
    "system": "systems", "media": "files", "copy": "copies", "replicas": "copies", "age": "recipients",
    "keep": "retention", "prune": "retention", "assertions": "invariants", "chunk": "chunk_size", "owner": "owners",
}  # fmt: skip

_SAID = {
    "missing": ("this setting is missing", ""),
    "tuple_type": ("a list is wanted here", "write [one, two]"),
    "mapping_type": ("names with values are wanted here", "write `name: value` lines below it"),
    "dict_type": ("names with values are wanted here", "write `name: value` lines below it"),
    "model_type": ("settings are wanted here", "write `name: value` lines below it"),
    "model_attributes_type": ("settings are wanted here", "write `name: value` lines below it"),
    "string_type": ("a text is wanted here", "put it in quotes"),
    "string_too_short": ("there is nothing here", "write a value, or remove the line"),
    "int_parsing": ("a whole number is wanted here", ""),
    "int_type": ("a whole number is wanted here", ""),
    "path_type": ("a path is wanted here", ""),
}


@dataclass(frozen=True, slots=True)
class Problem:
    line: int
    key: str
    said: str
    remedy: str = ""

    def __str__(self) -> str:
        where = f"line {self.line}: {self.key}: " if self.key else f"line {self.line}: "
        return where + self.said + (f" → {self.remedy}" if self.remedy else "")


def refuse(name: str, problems: Iterable[Problem]) -> ConfigError:
    """One error for all of them, in the order of the file."""
    found = sorted(dict.fromkeys(problems), key=lambda problem: problem.line)
    if len(found) == 1:
        one = found[0]
        where = f"{name}, line {one.line}: " + (f"{one.key}: " if one.key else "")
        return ConfigError(
            where + one.said, remedy=one.remedy or "`backup-pipeline help config` describes every setting"
        )
    lines = "\n".join(f"  {problem}" for problem in found)
    return ConfigError(
        f"{name} has {len(found)} problems:\n{lines}",
        remedy="mend these lines; `backup-pipeline help config` describes every setting",
    )


def dotted(at: Key) -> str:
    return ".".join(str(step) for step in at)


def line_of(node: yaml.Node | None, at: Key) -> int:
    """The line of a key, or of the nearest thing around it."""
    line = 1
    for step in at:
        if isinstance(node, yaml.MappingNode):
            # The last of equal keys is the one that counts: construction has put what `<<:` brings in first.
            found = next(((k, v) for k, v in reversed(node.value) if k.value == str(step)), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            node = node.value[step]
            line = node.start_mark.line + 1
        else:
            break
    return line


def duplicates(node: yaml.Node | None, at: Key = ()) -> list[Problem]:
    """A key that stands twice: YAML would silently take the last."""
    found: list[Problem] = []
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            here = (*at, key.value)
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in first and key.value != "<<":
                said = f"this key is already on line {first[key.value]}"
                found.append(Problem(line, dotted(here), said, "keep one of the two"))
            elif isinstance(key, yaml.ScalarNode):
                first[key.value] = line
            found += duplicates(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            found += duplicates(item, (*at, index))
    return found


def not_yaml(error: yaml.YAMLError, text: str) -> Problem:
    """Without the snippet that PyYAML shows: the line may hold a password."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    said = str(getattr(error, "problem", None) or "it cannot be read")
    line = mark.line + 1 if mark else 1
    lines = text.splitlines()
    there = lines[line - 1] if line <= len(lines) else ""
    if "\t" in there[: len(there) - len(there.lstrip())]:
        return Problem(line, "", "a tab in the indentation", "indent with blanks")
    if ": *" in there or "- *" in there or ": @" in there or ": %" in there:
        return Problem(
            line, "", "this is not YAML: a value that begins with * @ or %", "put the value in quotes"
        )
    return Problem(line, "", f"this is not YAML: {said}", "mend this line or the one before it")


def from_pydantic(errors: Iterable[ErrorDetails], node: yaml.Node | None) -> list[Problem]:
    found = []
    for item in errors:
        at = tuple(step for step in item["loc"] if not _inner(step))
        said, remedy = _SAID.get(item["type"], (item["msg"].removeprefix("Value error, "), ""))
        if item["type"] == "extra_forbidden":
            said, remedy = "there is no such setting", suggestion(at)
        elif (at == ("systems",) and item["type"] == "missing") or at == ("vault",):
            remedy = (
                remedy or "the smallest file has `vault:` and, under `systems:`, one name with a `database:`"
            )
        found.append(Problem(line_of(node, at), dotted(at), said[:1].lower() + said[1:], remedy))
    return found


def _inner(step: object) -> bool:
    """Steps that pydantic adds for its own validators, and that stand in no file."""
    return isinstance(step, str) and (
        step in ("[key]", "str") or "[" in step or step.startswith("is-instance")
    )


def suggestion(at: Key) -> str:
    """What may have been meant by a key that is none."""
    key, model = str(at[-1]), _model_at(at[:-1])
    known = [field.alias or name for name, field in model.model_fields.items() if not field.exclude]
    elsewhere = Settings if model is SystemSettings else SystemSettings
    near = difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1, cutoff=0.7)
    alias = _ALIASES.get(key.lower())
    if near or alias in known:
        return f"did you mean {near[0] if near else alias}?"
    if model in (Settings, SystemSettings) and key in elsewhere.model_fields and key != "base":
        place = (
            "belongs to a system: put it under systems.<name>" if model is Settings else "stands at the top"
        )
        return f"`{key}` {place}"
    return f"the settings here are: {', '.join(sorted(known))}"


def _model_at(at: Key) -> type[BaseModel]:
    """The part of the settings that a key belongs to."""
    model: type[BaseModel] = Settings
    inner: object = None
    for step in at:
        # A name that people choose (of a system, a copy, a file tree) leads to what all of them are. So does a place in a list.
        if inner is not None:
            found, inner = _model_in(inner), None
        elif str(step) in model.model_fields:
            annotation = model.model_fields[str(step)].annotation
            found = None if _holds_many(annotation) else _model_in(annotation)
            inner = annotation if _holds_many(annotation) else None
        else:
            break
        model = found or model
    return model


def _holds_many(annotation: object) -> bool:
    return get_origin(annotation) in (Mapping, tuple)


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that stands somewhere in an annotation, as in `Mapping[str, FilesSettings] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
