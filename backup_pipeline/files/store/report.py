"""What could not be taken as it was asked for: counted, with examples, as findings of the backup.

What is missing from the backup although it is there, or is not of one moment, is an error: the backup is degraded. What
vanished before it could be read is the life of a living tree: whether a row still names it, the check `references` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from backup_pipeline.files.store.order import TreeOrder
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.model.register import MARKS, entry_of

EXAMPLES = 10
#: Above this share of a tree, files that vanish while it is read are no everyday matter.
MANY_VANISHED = 0.01


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
            if entry_of(_known(code)).severities[0] == "error" and code not in _NOT_THERE
        )

    def findings(
        self, tree: FileTree, before: FileTree | None, order: TreeOrder, emptied: bool
    ) -> Iterator[Finding]:
        for code, count in sorted(self.counts.items()):
            many = code == "file-vanished" and count > MANY_VANISHED * max(tree.files, 1000)
            one = Finding.of(
                _known(code),
                severity="warning" if many else None,
                tree=self.tree,
                count=count,
                first=_shown(self.firsts[code]),
                examples=map(_shown, self.examples[code]),
            )
            yield replace(one, code=code)
        if not tree.files:
            if not order.may_be_empty:
                yield _empty(tree, before, emptied)
        elif before is not None:
            yield from _shrunk(tree, before)


def _known(code: str) -> str:
    return code if code in MARKS["counted_by_tree"] else "file-not-taken"


def _empty(tree: FileTree, before: FileTree | None, emptied: bool) -> Finding:
    """A folder that is empty because its volume is not mounted looks like any empty folder. It is said every night: an
    error that is gone after one would make the empty backup the good one."""
    accepted = f"if this is right, `expected_empty: [files.{tree.name}]` accepts it"
    had = before.files if before is not None else 0
    if not had and not emptied:
        return Finding.of("tree-empty/backup", tree=tree.name, name=tree.address, accepted=accepted)
    message = (
        f"{tree.name} holds no file; the backup before had {had:,}"
        if had
        else f"{tree.name} still holds no file; earlier backups had some"
    )
    where = f"is {tree.address} mounted" if tree.kind == "local" else f"is {tree.address} the right place"
    return Finding.of("tree-became-empty", tree=tree.name, message=message, where=where, accepted=accepted)


def _shrunk(tree: FileTree, before: FileTree) -> Iterator[Finding]:
    if tree.files < before.files / 2:
        yield Finding.of("tree-shrank", tree=tree.name, files=tree.files, before=before.files)


def _shown(path: str) -> str:
    """Findings go into manifests and on terminals: what is no text is shown as escapes."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")
