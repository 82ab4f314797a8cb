"""The result of one check of a backup, a copy or a vault."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from backup_pipeline.errors import BackupError
from backup_pipeline.model.findings import Finding

E = TypeVar("E", bound=BackupError)


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The findings and the figures of a part of a check."""

    findings: tuple[Finding, ...] = ()
    counted: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    name: str
    findings: tuple[Finding, ...] = ()
    counted: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    #: The text for a check that found nothing.
    good: str = ""
    #: Worth showing, and no reason to fail.
    notes: tuple[Finding, ...] = ()

    @property
    def is_error(self) -> bool:
        return any(finding.severity == "error" for finding in self.findings)

    @property
    def passed(self) -> bool:
        return all(finding.severity == "info" for finding in self.findings)

    @property
    def description(self) -> str:
        bad = [finding for finding in self.findings if finding.severity != "info"]
        if not bad:
            return self.good
        first = next((finding for finding in bad if finding.severity == "error"), bad[0])
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        return f"{first.message}{more}"


def found_by(outcomes: Iterable[Outcome]) -> tuple[Finding, ...]:
    """Every error and warning of these checks, each once."""
    bad = (one for outcome in outcomes for one in outcome.findings if one.severity != "info")
    return tuple(dict.fromkeys(bad))


def failed(error: type[E], what: str, findings: Iterable[Finding]) -> E | None:
    """The work is done, and an error among the findings is its outcome: one rule for every verb, step and function."""
    errors = [finding for finding in findings if finding.severity == "error"]
    if not errors:
        return None
    return error(": ".join(filter(None, (what, first_of(errors)))), remedy=errors[0].remedy)


def first_of(errors: Sequence[Finding]) -> str:
    more = len(errors) - 1
    return errors[0].message + (f" (and {more:,} more error{'s' if more > 1 else ''})" if more else "")
