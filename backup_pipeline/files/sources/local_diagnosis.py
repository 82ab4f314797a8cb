"""Can this folder be backed up as it should be? A look at the beginning of it, that does not take long."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from backup_pipeline.errors import SourceError
from backup_pipeline.files.sources.base import Trouble
from backup_pipeline.files.sources.unmatched import asked_of, watched
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.register import TEMPLATES

if TYPE_CHECKING:
    from backup_pipeline.files.sources.local import LocalSource

#: Enough to notice a right that is missing; the backup itself names every file.
MOST_ENTRIES = 50_000
MOST_SECONDS = 3.0
_EXAMPLES = 5


def diagnose(source: LocalSource) -> Report:
    begun = time.monotonic()
    counted: Counter[str] = Counter()
    troubles: dict[str, list[Trouble]] = {}
    findings: list[Finding] = []
    try:
        asked = asked_of(source.patterns.include, source.paths)
        for found in watched(source.entries(), asked):
            if isinstance(found, Trouble):
                troubles.setdefault(found.code, []).append(found)
            else:
                counted[f"{found.type}s"] += 1
                counted["bytes"] += found.size
                if found.type == "file" and counted["files"] % 50 == 1 and not source.may_read(found):
                    unreadable = Trouble(found.path, "file-unreadable", f"{found.path}: may not be read")
                    troubles.setdefault(unreadable.code, []).append(unreadable)
            if counted.total() - counted["bytes"] > MOST_ENTRIES or time.monotonic() - begun > MOST_SECONDS:
                break
        else:
            findings += _empty(source, counted)
    except SourceError as error:
        findings.append(Finding.of("tree-unavailable", why=error.message, remedy=error.remedy))
    findings += _named(troubles)
    return Report(source.address, tuple(findings), dict(counted), time.monotonic() - begun)


def _empty(source: LocalSource, counted: Counter[str]) -> Iterator[Finding]:
    if not counted["files"]:
        mounted = os.path.ismount(source.root)
        yield Finding.of(
            "tree-empty/local",
            root=source.root,
            hint="" if mounted else "; is it a mount point that is not mounted at the moment?",
        )


def _named(troubles: dict[str, list[Trouble]]) -> Iterator[Finding]:
    for code, found in sorted(troubles.items()):
        name, first = f"{code}/doctor", found[0]
        one = Finding.of(
            name if name in TEMPLATES else "file-not-taken/doctor",
            examples=(one.path for one in found[:_EXAMPLES]),
            count=len(found),
            path=first.path,
            why=first.message,
        )
        yield replace(one, code=code)
