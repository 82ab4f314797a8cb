"""What a check, a verification, a doctor or a drill has to say.

One shape for all of them, so that the CLI, the JSON output and the Dagster UI can show any of them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Severity = Literal["error", "warning", "info"]

#: The remedies for stored bytes that are wrong. They hold everywhere; where the copies of a system are known, what helps
#: there is put in their place (health/diagnosis.py).
HEAL = (
    "`backup-pipeline repair` brings it back from a copy; without one, `repair --set-aside` lets the next backup store it "
    "anew from the living system; other backups that name it are hurt as well (`verify all`)"
)
#: Of a manifest, or of what lies beside it.
HEAL_MANIFEST = (
    "`backup-pipeline repair` brings it back from a copy; without one, use another backup (`list`)"
)


#: The examples of these are values of rows. The command shows them to its user; the history of runs does not get them.
OF_ROWS = frozenset({"rows-differ", "invariant-broken", "dangling-reference"})


@dataclass(frozen=True, slots=True)
class Finding:
    #: error: a promise is broken · warning: a person should look · info: worth knowing
    severity: Severity
    #: Stable, kebab-case: "object-missing", "dangling-reference", "no-pg-dump" …
    code: str
    message: str
    #: `public.orders`, where the finding is about one table.
    table: str | None = None
    remedy: str = ""
    examples: tuple[str, ...] = ()
    #: `media`, where the finding is about one file tree.
    tree: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of one look at one backup (or at one source)."""

    subject: str
    findings: tuple[Finding, ...] = ()
    #: What was looked at, so that "no findings" cannot mean "looked at nothing": objects, bytes, rows, …
    counted: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.severity == "error")
