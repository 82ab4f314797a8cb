"""What is asked of the engine, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from backup_pipeline.config.trees import ReferenceSettings
from backup_pipeline.files.sources.base import FileSource
from backup_pipeline.files.sources.matching import Patterns
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.vault.journal import TreeNote


@dataclass(frozen=True, slots=True)
class TreeOrder:
    name: str
    source: FileSource
    #: Read every file again, also with equal times.
    full: bool = False
    #: … also when the last time is longer ago than so many seconds.
    rehash_after: float | None = None
    #: Note of every content what it is: the tree has a policy that asks.
    media: bool = False
    #: That there is no file is not worth a word.
    may_be_empty: bool = False
    #: The patterns that ask for files (`include`, `paths`): one that matches none is said.
    asked: Patterns = field(default_factory=Patterns)
    #: Which columns name its files: of the backup, it is said where they are not there.
    refs: Mapping[str, ReferenceSettings] = field(default_factory=dict)
    #: By which digests these rows know them, beside SHA-256.
    digests: frozenset[str] = frozenset()
    #: Whose turn it is to be read again although nothing changed (`witnesses`). None: no file's.
    night: date | None = None

    def has_noted(self, line: Mapping[str, Any]) -> bool:
        """Whether a line of the last listing holds all that is asked of a content today."""
        return (not self.media or bool(line.get("media"))) and self.digests <= line.get("digests", {}).keys()


@dataclass(frozen=True, slots=True)
class KnownTree:
    """What earlier runs have read of a tree."""

    #: As the newest backup has it that has it at all.
    before: FileTree | None = None
    #: Of runs that were killed since the newest backup, and of earlier attempts of this one.
    notes: Sequence[TreeNote] = ()
    #: `before` had lost all of its files, and that was an error.
    emptied: bool = False


@dataclass(frozen=True, slots=True)
class StoredTree:
    tree: FileTree
    findings: tuple[Finding, ...] = ()
