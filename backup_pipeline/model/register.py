"""The register of all findings, read from register.txt: topic, severities, commands, message and remedy of each; marks of some.

A stored finding holds its code, and no more: `Finding.entry` looks the rest up here, so no other module judges a finding
by letters of its code. The page FINDINGS is made from the register (`make docs`). A test compares it with the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Entry:
    #: "vault", "rows", "references" … Empty: no finding of this version has the code.
    topic: str = ""
    #: The commands that make the finding: "verify", "drill" … Empty: only an earlier version made it.
    by: tuple[str, ...] = ()
    severities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    #: The code; where a code has several messages, a word for the case follows: `not-healed/manifest`.
    name: str
    #: Of the code.
    entry: Entry
    message: str
    remedy: str

    @property
    def code(self) -> str:
        return self.name.partition("/")[0]


# What code may ask of a finding, beside its topic and its severity (`finding.marked("stands")`).
_MARKS = {
    # The examples are values of rows: the command shows them, the history of runs does not get them.
    "shows_rows": "rows-differ invariant-broken dangling-reference undo-changed",
    # The finding compares a count of rows.
    "counts_rows": "row-count",
    # The finding of a restore plan speaks against the backup, and not against the target.
    "against_backup": "object-missing row-count",
    # The finding speaks of an earlier backup; the backup that carries it is whole.
    "of_earlier": "objects-missing-before set-back-before",
    # The backup before this one is gone or another one. The finding ends when that backup is there again.
    "set_back": "set-back-before",
    # A warning that stays until it is mended or accepted, because the backup may not hold what people think.
    "stands": "table-became-empty table-shrank tree-empty tree-shrank migrations-unknown"
    " migrations-unreadable more-files-differ more-files-missing",
    # The source has nothing any more where it had rows or files.
    "emptied": "table-became-empty tree-became-empty",
    "table_removed": "table-removed",
    # The backup lacks a table, or the backups before it do not connect.
    "incomplete": "table-missing chain-broken",
    # The manifest names an object in a way that is not followed.
    "bad_object_name": "object-name",
    "key_missing": "key-missing",
    "not_fresh": "no-backup not-fresh",
    # There is no backup that a drill could prove.
    "nothing_to_prove": "no-backup vault-lost",
    # The loss of the vault explains the finding, and `backup` is the wrong remedy.
    "follows_from_loss": "no-backup set-back",
    "failed_drill": "drill-failed",
    "failed_verify": "verify-failed",
    # `repair` judges the same place itself, and says more.
    "told_by_repair": "copy-differs",
    # The restored rows break a rule of their table.
    "rule_broken": "rows-break-rule",
    "role_missing": "role-missing",
    # The first backup ends the finding, and so does the first copy.
    "before_first_backup": "vault-new",
    "unreachable": "vault-unreachable vault-not-a-folder",
    "not_writable": "vault-not-writable",
    # A backup warns, and `doctor` fails: there it can be corrected.
    "error_in_doctor": "migrations-unreadable",
    # `refs:` names a table or a column that the backup does not have.
    "cannot_be_asked": "reference-without-table reference-without-column",
    "lacks_table": "reference-without-table",
    # This host remembers an acknowledgement of it. The vault holds none.
    "acked_by_host": "set-back",
    # A backup counts what it could not take of a file tree, and names the first.
    "counted_by_tree": "backups-inside database-beside database-copied-plainly database-locked file-archived"
    " file-changed file-not-downloadable file-not-taken file-silently-changed file-special file-unreadable"
    " file-vanished folder-unreadable name-not-storable name-without-file path-missing pattern-without-file",
    "not_noted": "scrub-not-remembered",
}


def _blocks(text: str) -> Iterator[list[str]]:
    """An entry and the lines that belong to it, without comments."""
    block: list[str] = []
    for line in text.splitlines():
        if line[:1] not in ("", " ", "#") and block:
            yield block
            block = []
        if line and line[0] != "#":
            block.append(line)
    yield block


def _read() -> Iterator[Template]:
    topic = ""
    for first, *rest in _blocks((Path(__file__).parent / "register.txt").read_text(encoding="utf-8")):
        if first.startswith("["):
            topic = first.strip("[]")
            continue
        name, severities, by = (part.strip() for part in first.split("|"))
        message, _, remedy = " ".join(line.strip() for line in rest).partition("→ ")
        entry = Entry(topic, tuple(by.split(", ")) if by else (), tuple(severities.split(", ")))
        yield Template(name, entry, message.strip(), remedy)


TEMPLATES = {one.name: one for one in _read()}
REGISTER = {one.code: one.entry for one in reversed(TEMPLATES.values())}
MARKS = {mark: frozenset(codes.split()) for mark, codes in _MARKS.items()}
_UNKNOWN = Entry()


def entry_of(code: str) -> Entry:
    """An error may be told as a finding, and another version knows other codes: such a finding has no topic."""
    return REGISTER.get(code) or REGISTER.get(f"…-{code.rpartition('-')[2]}") or _UNKNOWN
