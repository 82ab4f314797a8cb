"""What is asked of the engine, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.sources.files.base import FileSource


@dataclass(frozen=True, slots=True)
class TreeOrder:
    name: str
    source: FileSource
    #: Read every file again, whatever its times say.
    full: bool = False
    #: … also when the last time is longer ago than so many seconds.
    rehash_after: float | None = None
    #: Note of every content what it is: the tree has a policy that asks.
    media: bool = False
    #: That there is no file is not worth a word.
    may_be_empty: bool = False


@dataclass(frozen=True, slots=True)
class StoredTree:
    tree: FileTree
    findings: tuple[Finding, ...] = ()
