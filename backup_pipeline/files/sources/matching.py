"""Which paths of a tree are taken: `include` and `exclude`, for every kind of file source alike.

Patterns are those that people know from .gitignore: without a `/` they mean a name at any depth (`*.tmp`, `node_modules`),
with one a path from the root of the tree (`settings/*.py`, `/cache`). `*` and `?` do not cross a `/`, `**` does. A
pattern that matches a folder means all that is in it; one that ends with `/` means folders only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Patterns:
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    #: A pattern without a `/` means a name in the root and not at any depth (`paths:`).
    anchored: bool = False

    def takes(self, path: str, *, folder: bool = False) -> bool:
        """Whether an entry belongs to the backup, for a source that lists paths and does not walk."""
        return not self.excludes_below(path, folder=folder) and self.includes(path, folder=folder)

    def excludes(self, path: str, *, folder: bool = False) -> bool:
        """The entry itself; the walk does not enter an excluded folder."""
        return bool(self.exclude) and _any(self._excluding, path, folder)

    def excludes_below(self, path: str, *, folder: bool = False) -> bool:
        """The entry, or a folder that it is in."""
        return bool(self.exclude) and (
            self.excludes(path, folder=folder)
            or any(self.excludes(above, folder=True) for above in _above(path))
        )

    def includes(self, path: str, *, folder: bool = False) -> bool:
        if not self.include:
            return True
        return _any(self._including, path, folder) or any(
            _any(self._including, above, True) for above in _above(path)
        )

    def may_hold(self, folder: str) -> bool:
        """Whether anything below the folder can be included: others need not be entered."""
        if not self.include:
            return True
        parts = folder.split("/")
        return any(_may_hold(pattern, parts, self.anchored) for pattern in self.include) or self.includes(
            folder, folder=True
        )

    @cached_property
    def _excluding(self) -> tuple[_Rule, ...]:
        return tuple(_rule(pattern, anchored=False) for pattern in self.exclude)

    @cached_property
    def _including(self) -> tuple[_Rule, ...]:
        return tuple(_rule(pattern, anchored=self.anchored) for pattern in self.include)


@dataclass(frozen=True, slots=True)
class _Rule:
    pattern: re.Pattern[str]
    #: Looks at the last part of the path only.
    name: bool
    folders: bool


def is_literal(pattern: str) -> bool:
    """It names one path, and no more."""
    return not any(sign in pattern for sign in "*?[")


def _any(rules: Iterable[_Rule], path: str, folder: bool) -> bool:
    for rule in rules:
        if rule.folders and not folder:
            continue
        if rule.pattern.fullmatch(path.rpartition("/")[2] if rule.name else path):
            return True
    return False


def _above(path: str) -> Iterable[str]:
    at = path.find("/")
    while at > 0:
        yield path[:at]
        at = path.find("/", at + 1)


def _rule(pattern: str, *, anchored: bool) -> _Rule:
    text = pattern.removesuffix("/")
    text = text.removeprefix("./")
    name = "/" not in text and not anchored
    return _Rule(re.compile(_regex(text.lstrip("/")), re.DOTALL), name, pattern.endswith("/"))


def _regex(text: str) -> str:
    parts = text.split("/")
    out = ""
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            out += ".+" if last else "(?:.+/)?"
        else:
            out += _part(part) + ("" if last else "/")
    return out


def _part(text: str) -> str:
    out, at = "", 0
    while at < len(text):
        sign = text[at]
        at += 1
        if sign == "*":
            out += "[^/]*"
        elif sign == "?":
            out += "[^/]"
        elif sign == "[" and (end := text.find("]", at + 1)) > 0:
            inner = text[at:end].replace("\\", "\\\\").replace("[", "\\[")
            out += f"[^{inner[1:]}]" if inner.startswith(("!", "^")) else f"[{inner}]"
            at = end + 1
        else:
            out += re.escape(sign)
    return out


def _may_hold(pattern: str, parts: list[str], anchored: bool) -> bool:
    wanted = pattern.removesuffix("/").removeprefix("./")
    if "/" not in wanted and not anchored:
        return True
    theirs = wanted.lstrip("/").split("/")
    for mine, their in zip(parts, theirs, strict=False):
        if their == "**":
            return True
        if not re.fullmatch(_part(their), mine, re.DOTALL):
            return False
    return len(parts) < len(theirs)
