"""The plan of a restore of files, before it changes anything, and its result."""

from __future__ import annotations

from dataclasses import dataclass, field

from backup_pipeline.databases.restore_plan import Refusable
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.orders import FilesOrder

__all__ = ["FilesOrder", "FilesPlan", "FilesResult", "TreePlan"]

EXAMPLES = 20


@dataclass(frozen=True, slots=True)
class TreePlan:
    tree: str
    #: Where it goes.
    folder: str
    #: Files and links that are not there, and what they weigh.
    create: int = 0
    create_bytes: int = 0
    #: They are there already, byte for byte.
    equal: int = 0
    #: There is another content under their name: replaced, left or refused, as it was ordered.
    differs: int = 0
    differs_bytes: int = 0
    folders: int = 0
    #: Not chosen by a pattern, or by a row.
    left_out: int = 0
    #: A few of each, for people: "create" | "equal" | "differs" → paths.
    examples: dict[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilesPlan(Refusable):
    system: str
    backup_id: str
    target: str
    order: FilesOrder
    trees: tuple[TreePlan, ...]
    #: Bytes that the target's file system has left; None where it does not say.
    free_bytes: int | None = None
    #: What will not be as it was.
    findings: tuple[Finding, ...] = ()
    #: Why it would not be done; the restore raises the first of them.
    refused: tuple[Finding, ...] = ()

    @property
    def create(self) -> int:
        return sum(tree.create for tree in self.trees)

    @property
    def create_bytes(self) -> int:
        return sum(tree.create_bytes for tree in self.trees)

    @property
    def equal(self) -> int:
        return sum(tree.equal for tree in self.trees)

    @property
    def differs(self) -> int:
        return sum(tree.differs for tree in self.trees)

    @property
    def replaced_bytes(self) -> int:
        return sum(tree.differs_bytes for tree in self.trees) if self.order.overwrite else 0


@dataclass(frozen=True, slots=True)
class FilesResult:
    plan: FilesPlan
    #: Written, by this run.
    files: int
    bytes: int
    links: int
    folders: int
    #: Old files that were kept beside the new ones.
    kept: int = 0
    seconds: float = 0.0
    findings: tuple[Finding, ...] = ()

    @property
    def ok(self) -> bool:
        return not any(finding.severity == "error" for finding in self.findings)
