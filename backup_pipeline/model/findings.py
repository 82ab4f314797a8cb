"""What a check, a verification, a doctor or a drill has to say.

One shape for all of them, so that the CLI, the JSON output and the Dagster UI can show any of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal, cast

from backup_pipeline.errors import BackupError
from backup_pipeline.model.register import MARKS, TEMPLATES, Entry, entry_of

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

    @property
    def entry(self) -> Entry:
        return entry_of(self.code)

    def marked(self, mark: str) -> bool:
        """Code judges a finding by its marks, its topic and its severity, and never by letters of its code."""
        return self.code in MARKS[mark]

    @property
    def topic(self) -> str:
        return self.entry.topic

    @classmethod
    def of(
        cls,
        name: str,
        /,
        *,
        severity: Severity | None = None,
        remedy: str = "",
        table: object = None,
        tree: str | None = None,
        examples: Iterable[object] = (),
        **values: object,
    ) -> Finding:
        """A finding of the register, with `values` in the places of its texts. A remedy of the caller, where it says
        something, stands instead of that of the register."""
        template = TEMPLATES[name]
        told = {"heal": HEAL, "heal_manifest": HEAL_MANIFEST, "table": table, "tree": tree, **values}
        return cls(
            severity or cast(Severity, template.entry.severities[0]),
            template.code,
            template.message.format_map(told),
            None if table is None else str(table),
            remedy or template.remedy.format_map(told),
            tuple(map(str, examples)),
            tree,
        )

    @classmethod
    def of_error(
        cls, error: BackupError, message: str = "", *, remedy: str = "", tree: str | None = None
    ) -> Finding:
        """An error that does not end the command. The message says more than the error's own, or is the error's own."""
        return cls("error", error.code, message or error.message, remedy=remedy or error.remedy, tree=tree)


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
