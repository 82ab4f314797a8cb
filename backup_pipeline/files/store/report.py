"""What could not be taken as it was asked for: counted, with examples, as findings of the backup.

What is missing from the backup although it is there, or is not of one moment, is an error: the backup is degraded. What
vanished before it could be read is the life of a living tree: whether a row still names it, the check `references` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from backup_pipeline.files.store.order import TreeOrder
from backup_pipeline.model.findings import Finding, Severity
from backup_pipeline.model.manifest import FileTree

EXAMPLES = 10
#: Above this share of a tree, files that vanish while it is read are no everyday matter.
MANY_VANISHED = 0.01


@dataclass(frozen=True, slots=True)
class _Kind:
    severity: Severity
    code: str
    #: The first … is how many, the second the first of them.
    message: str
    remedy: str = ""


def _kind(severity: Severity, code: str, message: str, remedy: str = "") -> _Kind:
    return _Kind(severity, code, message, remedy)


_ALL = (
    _kind(
        "error",
        "file-unreadable",
        "… files could not be read and are not in this backup: …",
        "let the user that runs backups read them, or exclude them",
    ),
    _kind(
        "error",
        "folder-unreadable",
        "… folders could not be listed, and nothing in them is in this backup: …",
        "let the user that runs backups enter them, or exclude them",
    ),
    _kind(
        "error",
        "file-changed",
        "… files changed each time they were read: what is kept is of no single moment: …",
        "exclude what is always written to, or back it up by its own tools; a file that only grows is kept whole",
    ),
    _kind(
        "error",
        "file-silently-changed",
        "… files have another content than before although size and times say that nothing was changed: …",
        "a program writes through a memory map or sets times back, or the disk loses bits: compare with an older"
        " backup, and read everything again with `backup SYSTEM --full`",
    ),
    _kind(
        "error",
        "file-archived",
        "… files lie in an archive class of the bucket and cannot be read before they are thawed: …",
        "thaw them, let the lifecycle spare them, or exclude them",
    ),
    _kind(
        "error",
        "file-not-downloadable",
        "… files of Dropbox cannot be downloaded (documents that live on the web only): …",
        "export them to files, or exclude them",
    ),
    _kind("error", "name-not-storable", "… names cannot be kept: …", "rename them, or exclude them"),
    _kind("error", "file-not-taken", "… files could not be taken: …"),
    _kind(
        "warning",
        "database-copied-plainly",
        "… SQLite databases could not be copied by SQLite and were copied as files: …",
        "what is kept may be of no single moment; look at what SQLite says",
    ),
    _kind(
        "error",
        "database-locked",
        "… SQLite databases were locked by another process all the time and were copied as files: …",
        "what is kept may be of no single moment; back it up when that process lets go of it, or exclude it",
    ),
    _kind("error", "path-missing", "… of `paths:` are not there: …", "correct `paths:`"),
    _kind("error", "name-without-file", "… of `include:` match nothing: …", "correct or remove them"),
    _kind(
        "warning",
        "pattern-without-file",
        "… patterns of `include:` or `paths:` match nothing: …",
        "correct or remove them",
    ),
    _kind("info", "file-vanished", "… files were deleted before they could be read: …"),
    _kind(
        "info",
        "backups-inside",
        "… folders of this tree hold backups or the state of this program, and are left out: …",
    ),
    _kind("info", "file-special", "… entries are neither files nor folders nor links, and are left out: …"),
    _kind(
        "info",
        "database-beside",
        "… files belong to SQLite databases, whose copies hold all that is in them: …",
    ),
)
_KINDS = {kind.code: kind for kind in _ALL}
_OTHER = _KINDS["file-not-taken"]
#: Errors that are about no file that is there and was not taken.
_NOT_THERE = ("file-silently-changed", "path-missing", "name-without-file")


@dataclass
class Report:
    tree: str
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    firsts: dict[str, str] = field(default_factory=dict)

    def add(self, code: str, path: str, message: str = "") -> None:
        self.counts[code] += 1
        self.firsts.setdefault(code, message or path)
        examples = self.examples.setdefault(code, [])
        if len(examples) < EXAMPLES:
            examples.append(path)

    @property
    def missed(self) -> int:
        """What is there and not in the backup, or not as it was at one moment."""
        return sum(
            count
            for code, count in self.counts.items()
            if _KINDS.get(code, _OTHER).severity == "error" and code not in _NOT_THERE
        )

    def findings(
        self, tree: FileTree, before: FileTree | None, order: TreeOrder, emptied: bool
    ) -> Iterator[Finding]:
        for code, count in sorted(self.counts.items()):
            kind = _KINDS.get(code, _OTHER)
            severity = kind.severity
            if code == "file-vanished" and count > MANY_VANISHED * max(tree.files, 1000):
                severity = "warning"
            yield Finding(
                severity,
                code,
                kind.message.replace("…", f"{count:,}", 1).replace("…", _shown(self.firsts[code]), 1),
                remedy=kind.remedy,
                examples=tuple(_shown(path) for path in self.examples[code]),
                tree=self.tree,
            )
        if not tree.files:
            if not order.may_be_empty:
                yield _empty(tree, before, emptied)
        elif before is not None:
            yield from _shrunk(tree, before)


def _empty(tree: FileTree, before: FileTree | None, emptied: bool) -> Finding:
    """A folder that is empty because its volume is not mounted looks like any empty folder. It is said every night: an
    error that is gone after one would make the empty backup the good one."""
    accepted = f"if this is right, `expected_empty: [files.{tree.name}]` accepts it"
    had = before.files if before is not None else 0
    if not had and not emptied:
        message = f"{tree.name} holds no file: nothing of {tree.address} is in this backup"
        remedy = f"look at `include`, `exclude` and `paths`; {accepted}"
        return Finding("warning", "tree-empty", message, remedy=remedy, tree=tree.name)
    message = (
        f"{tree.name} holds no file; the backup before had {had:,}"
        if had
        else f"{tree.name} still holds no file; earlier backups had some"
    )
    where = f"is {tree.address} mounted" if tree.kind == "local" else f"is {tree.address} the right place"
    remedy = f"{where}? An earlier backup has the files; {accepted}"
    return Finding("error", "tree-became-empty", message, remedy=remedy, tree=tree.name)


def _shrunk(tree: FileTree, before: FileTree) -> Iterator[Finding]:
    if tree.files < before.files / 2:
        yield Finding(
            "warning",
            "tree-shrank",
            f"{tree.name} holds {tree.files:,} files; the backup before had {before.files:,}",
            remedy="if they were not deleted on purpose, the backup before has them",
            tree=tree.name,
        )


def _shown(path: str) -> str:
    """Findings go into manifests and on terminals: what is no text is shown as escapes."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")
