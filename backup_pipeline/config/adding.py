"""A second system in a configuration that is there: its lines are put in, and every other byte stays as it is.

By text, with the places that the YAML parser gives: a file that is read and written again loses its comments.
"""

from __future__ import annotations

import yaml

from backup_pipeline.config import initial
from backup_pipeline.config.initial import FirstLook
from backup_pipeline.errors import AlreadyExists, ConfigError


def with_system(text: str, seen: FirstLook, *, name: str) -> str:
    """`name` is that of the file, for messages. Raises ConfigError where its systems cannot be found."""
    top = _mapping(text, name)
    found = next(
        ((index, key, value) for index, (key, value) in enumerate(top.value) if key.value == "systems"), None
    )
    if found is None or not isinstance(found[2], yaml.MappingNode) or found[2].flow_style or top.flow_style:
        raise ConfigError(
            f"{name} has no `systems:` with a line of its own for each system",
            remedy="write them below each other, two blanks to the right of `systems:`; then run it again",
        )
    index, key, systems = found
    first = systems.value[0][0]
    if any(one.value == seen.system for one, _ in systems.value):
        raise AlreadyExists(
            f"{name} has a system {seen.system} already",
            remedy="name this one with --system NAME, or edit the file",
        )
    lines = text.splitlines(keepends=True)
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    following = top.value[index + 1][0].start_mark.line if index + 1 < len(top.value) else len(lines)
    end = _end(lines, key.start_mark.line + 1, following)
    column = " " * (first.start_mark.column - 2) if first.start_mark.column > 2 else ""
    block = [
        column + line if line.strip() else line
        for line in initial.system_text(seen).splitlines(keepends=True)
    ]
    changed = "".join([*lines[:end], "\n", *block, *(["\n"] if end < len(lines) else []), *lines[end:]])
    _demand_the_rest(text, changed, seen.system, name)
    return changed


def _mapping(text: str, name: str) -> yaml.MappingNode:
    try:
        top = yaml.compose(text, yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(
            f"{name} is no YAML: {error}", remedy="`backup-pipeline doctor` says where"
        ) from error
    if not isinstance(top, yaml.MappingNode):
        raise ConfigError(f"{name} holds no settings", remedy="without --add, a new configuration is written")
    return top


def _end(lines: list[str], start: int, following: int) -> int:
    """Behind the last line of the systems. Comments at the left margin before the next setting belong to that one; those
    further in belong to the last system."""
    end = following
    while end > start and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return end


def _demand_the_rest(before: str, after: str, system: str, name: str) -> None:
    """The file says what it said before, and one system more."""
    old, new = yaml.safe_load(before), yaml.safe_load(after)
    added = new["systems"].pop(system, None) if isinstance(new.get("systems"), dict) else None
    if added is None or old != new:
        raise ConfigError(
            f"the system cannot be put into {name} without changing the rest",
            remedy="write it into a new file with --output, and move its lines over by hand",
        )
