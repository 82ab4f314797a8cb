"""Everything about the file trees of one backup that a full verification asks: the trees themselves, whether the rows
find their files, and whether the files are what they may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.model.outcome import CheckResult
from backup_pipeline.model.progress import Listener
from backup_pipeline.model.schema import Schema
from backup_pipeline.references import file_policy, file_references
from backup_pipeline.vault.backup import Backup
from backup_pipeline.verification import file_trees

#: Name of a tree → what the configuration says of it.
Trees = Mapping[str, FilesSettings]


@dataclass
class Memory:
    """What other backups of the same verification were found to hold: most share their trees."""

    #: The stored content that this verification has looked at.
    seen: file_trees.Look
    trees: dict[FileTree, file_trees.Examined] = field(default_factory=dict)
    references: file_references.Memory = field(default_factory=file_references.Memory)


def look(
    backup: Backup,
    schema: Schema | None,
    trees: Trees,
    *,
    hurt: frozenset[str],
    memory: Memory,
    listener: Listener,
) -> CheckResult:
    """`hurt`: tables and trees that are damaged anyway."""
    findings: list[Finding] = []
    counted: Counter[str] = Counter()
    for tree in backup.manifest.files:
        if tree not in memory.trees:
            memory.trees[tree] = file_trees.examine(backup.vault, tree, memory.seen, listener)
        examined = memory.trees[tree]
        findings += examined.findings
        counted.update(examined.counted)
        if any(finding.severity == "error" for finding in examined.findings):
            hurt |= {tree.name}
    if schema is not None and trees:
        outcome = file_references.check(backup, trees, memory=memory.references, hurt=hurt, listener=listener)
        findings += outcome.findings
        counted.update(file_references.worth_saying(outcome.counted))
        outcome = file_policy.check(backup, trees, hurt=hurt)
        findings += outcome.findings
        counted.update(file_references.worth_saying(outcome.counted))
    return CheckResult(tuple(findings), dict(counted))
