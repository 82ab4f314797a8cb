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


#: What is known of a code, and not of its maker. A stored finding holds only the code. No other module judges a
#: finding by letters of its code.
_OF_ROWS = frozenset({"rows-differ", "invariant-broken", "dangling-reference"})
_PROOF = frozenset({"never-proven", "proof-too-old"})
_DAMAGE = frozenset({"object-missing", "row-count"})
_EARLIER = frozenset({"objects-missing-before", "set-back-before"})
_REFERENCES = frozenset({"dangling-reference", "foreign-key-not-checked", "reference-not-checked"})
_STANDING = frozenset(
    {
        "table-became-empty",
        "table-shrank",
        "tree-empty",
        "tree-shrank",
        "migrations-unknown",
        "migrations-unreadable",
        "more-files-differ",
        "more-files-missing",
    }
)
_FILE_CHECKS = frozenset(
    {
        "file-missing",
        "file-name-case",
        "file-name-unicode",
        "file-size-differs",
        "file-content-differs",
        "reference-left-out",
        "reference-unreadable",
        "orphan-files",
        "file-reference-not-checked",
        "file-digest-unknown",
        "file-digest-of-several",
        "more-files-missing",
        "more-files-differ",
        "reference-without-table",
        "reference-without-column",
        "reference-checks-nothing",
        "reference-digest-unreadable",
        "file-may-run",
        "file-is-two-things",
        "file-type",
        "file-name-misleads",
        "file-too-large",
        "policy-not-checked",
    }
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
    def shows_rows(self) -> bool:
        """The examples are values of rows: the command shows them, the history of runs does not get them."""
        return self.code in _OF_ROWS

    @property
    def about_proof(self) -> bool:
        """The finding speaks of the age of the last drill, and not of the age of a backup."""
        return self.code in _PROOF

    @property
    def about_references(self) -> bool:
        """Rows that refer to rows."""
        return self.code in _REFERENCES

    @property
    def about_file_checks(self) -> bool:
        """Rows that name files, and the policy of a file tree."""
        return self.code in _FILE_CHECKS

    @property
    def against_backup(self) -> bool:
        """The finding of a restore plan speaks against the backup, and not against the target."""
        return self.code in _DAMAGE

    @property
    def of_earlier(self) -> bool:
        """The finding speaks of an earlier backup; the backup that carries it is whole."""
        return self.code in _EARLIER

    @property
    def stands(self) -> bool:
        """A warning that stays until it is mended or accepted, because the backup may not hold what people think."""
        return self.code in _STANDING


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
