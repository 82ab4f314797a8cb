"""How a report looks: what a verification, a drill or a doctor looked at, and what it found."""

from __future__ import annotations

import re
from collections import Counter

from backup_pipeline.cli.page import Page
from backup_pipeline.cli.units import duration, number, plural, size
from backup_pipeline.model.findings import Report

#: Of these a nought is no news; "0 rows" is.
_TROUBLE = re.compile(r"_not_checked$|_breaches$|^invariants$|^orphan_|^foreign_values$|_that_differ$")


def show_report(page: Page, report: Report) -> None:
    page.heading(report.subject)
    counted = [
        counted_as_text(what, count)
        for what, count in report.counted.items()
        if count or not _TROUBLE.search(what)
    ]
    if counted:
        page.line(f"looked at {', '.join(counted)} in {duration(report.seconds)}")
    page.findings(report.findings)
    found = Counter[str](finding.severity for finding in report.findings)
    words = [
        plural(found[kind], word)
        for kind, word in (("error", "error"), ("warning", "warning"))
        if found[kind]
    ]
    page.verdict(
        report.ok, ("good" if report.ok else "NOT GOOD") + (f": {', '.join(words)}" if words else "")
    )


def counted_as_text(what: str, count: int) -> str:
    """ "plain_bytes" → "21.1 MiB plain", "tables" → "6 tables"."""
    words = what.replace("_", " ").split()
    if words[-1] == "bytes":
        return " ".join([size(count), *words[:-1]])
    one = re.sub(r"(?<=ch|sh)es$|(?<=x)es$|s$", "", " ".join(words))
    return f"{number(count)} {one if count == 1 else ' '.join(words)}"
