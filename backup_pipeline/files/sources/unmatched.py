"""Patterns that ask for files and match none: an `include` with a typing error leaves files out of every backup, and
looks like success."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backup_pipeline.files.sources.base import Found, Trouble
from backup_pipeline.files.sources.matching import Patterns, is_literal


def asked_of(include: tuple[str, ...], paths: tuple[str, ...]) -> Patterns:
    """What asks for files, but for single ones under `paths:`: the source looks for these by name."""
    if paths:
        return Patterns(tuple(one for one in paths if not is_literal(one)), anchored=True)
    return Patterns(include)


def watched(entries: Iterable[Found | Trouble], asked: Patterns) -> Iterator[Found | Trouble]:
    """The entries; and last, as trouble, what was asked for and is not among them."""
    left = [Patterns((one,), anchored=asked.anchored) for one in asked.include]
    for found in entries:
        if left and isinstance(found, Found):
            folder = found.type == "folder"
            left = [one for one in left if not one.includes(found.path, folder=folder)]
        yield found
    for one in left:
        (pattern,) = one.include
        code = "name-without-file" if is_literal(pattern) else "pattern-without-file"
        yield Trouble(pattern, code, f"{pattern} matches nothing")
