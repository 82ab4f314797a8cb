"""`references`: does every value that names a file find that file, in the same backup?

Files are read after the rows' snapshot. So a row without its file here had none at the snapshot, or lost it right then.
In both cases a user of the restored backup opens an order and finds no drawing. What a value may look
like is in `file_values`, the joining in `file_joining`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import duckdb
import pyarrow as pa

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.errors import ConfigError, Damaged
from backup_pipeline.files.sources.matching import Patterns
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree, Manifest
from backup_pipeline.model.outcome import CheckResult
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.processes.scratch import Scratch
from backup_pipeline.reading.interrupting import interruptible
from backup_pipeline.references.asked import of_reference
from backup_pipeline.references.file_columns import Column, Source, not_checked
from backup_pipeline.references.file_joining import Files, Some
from backup_pipeline.references.file_judging import Asked
from backup_pipeline.vault.backup import Backup

#: Free space to ask for: a path and a key a row, and DuckDB keeps them packed.
_ROOM = 256 << 20


@dataclass
class Memory:
    """What other backups of the same verification were found to hold."""

    known: dict[tuple[object, ...], CheckResult] = field(default_factory=dict)


def check(
    backup: Backup,
    trees: Mapping[str, FilesSettings],
    *,
    memory: Memory | None = None,
    hurt: frozenset[str] = frozenset(),
    listener: Listener,
) -> CheckResult:
    """Of every tree that has `refs:`. `hurt`: tables and trees (by name) that are damaged anyway."""
    memory, manifest = memory or Memory(), backup.manifest
    findings: list[Finding] = []
    counted: Counter[str] = Counter()
    todo: list[tuple[FileTree, FilesSettings]] = []
    for name, settings in trees.items():
        tree = manifest.tree(name)
        if not settings.refs:
            continue
        if tree is None or name in hurt:
            why = "it is damaged" if tree else "it is not in this backup"
            findings.append(not_checked(name, f"the file tree {name} was not checked: {why}"))
            continue
        todo.append((tree, settings))
    with ExitStack() as stack:
        rows = Source(backup, stack)
        for tree, settings in todo:
            cannot = any(of_reference(name, *one, rows.tables) for one in settings.refs.items())
            # Whether that is an error depends on the backup, and not on its contents alone.
            key = (*_contents(manifest, tree, settings), manifest.id if cannot else "")
            if key not in memory.known:
                memory.known[key] = _tree(rows, tree, settings, hurt, listener)
            findings += memory.known[key].findings
            counted.update(memory.known[key].counted)
    return CheckResult(tuple(findings), dict(counted))


def worth_saying(counted: Mapping[str, int]) -> dict[str, int]:
    """Of the numbers that the graph plots, those that a line of text should hold."""
    always = ("file_values", "dangling_files", "policy_files")
    mine = (*always, "orphan_files", "orphan_bytes", "foreign_values", "policy_breaches", "files_that_differ")
    return {name: counted[name] for name in mine if name in counted and (counted[name] or name in always)}


def paths_named(backup: Backup, tree: FileTree, settings: FilesSettings, listener: Listener) -> Iterator[str]:
    """The entries of a tree that the rows of the same backup name, sorted. Raises ConfigError where a column cannot be
    asked: its files would be missing, without a word."""
    with ExitStack() as stack:
        stack.enter_context(interruptible())
        scratch = stack.enter_context(Scratch.make(_ROOM))
        files = stack.enter_context(Files(scratch.folder))
        rows = Source(backup, stack)
        files.load(backup.vault.listing(tree))
        for name, reference in settings.refs.items():
            listener(Advance("verify", name, note=f"files of {tree.name}"))
            column = Column(rows, name, reference, tree)
            why = column.cannot_be_asked(frozenset())
            if why is not None:
                remedy = (
                    f"{why.remedy or 'name a full backup'}, or restore all files (without --only-referenced)"
                )
                raise ConfigError(why.message, remedy=remedy)
            files.ask(column.values())
            if column.unreadable:
                why_not = column.why["unreadable"]
                note = f"{column.unreadable:,} values cannot be read ({why_not}): the files that they mean are left out"
                listener(Advance("verify", name, note=note))
        yield from files.seen()


def _contents(manifest: Manifest, tree: FileTree, settings: FilesSettings) -> tuple[object, ...]:
    """Equal for two backups in which the same rows name the same files."""
    names = {column.rpartition(".")[0].rpartition(".")[2] for column in settings.refs}
    tables = tuple(
        (
            str(table.id),
            table.columns,
            table.fingerprint,
            tuple(chunk.object.sha256 for chunk in table.chunks),
        )
        for table in manifest.tables
        if table.name in names
    )
    image = manifest.image.sha256 if manifest.image else ""
    return (
        tree.name,
        tree.listing.plain_sha256,
        tables,
        image,
        repr(settings.refs),
        settings.orphans,
        settings.include,
        settings.exclude,
    )


# ── one tree


def _tree(
    rows: Source, tree: FileTree, settings: FilesSettings, hurt: frozenset[str], listener: Listener
) -> CheckResult:
    findings: list[Finding] = []
    counted: Counter[str] = Counter()
    whole = True
    try:
        with interruptible(), Scratch.make(_ROOM) as scratch, Files(scratch.folder) as files:
            files.load(rows.backup.vault.listing(tree))
            narrowed = bool(settings.include or settings.exclude)
            patterns = Patterns(settings.include, settings.exclude) if narrowed else None
            for name, reference in settings.refs.items():
                listener(Advance("verify", name, note=f"files of {tree.name}"))
                column = Column(rows, name, reference, tree, patterns)
                why = column.cannot_be_asked(hurt)
                if why is not None:
                    findings.append(why)
                    counted["file_references_not_checked"] += 1
                    whole = False
                    continue
                values = files.ask(column.values())
                counted["file_values"] += values
                findings += Asked(rows, tree, column, files, values).findings(counted)
            orphans = files.orphans() if whole else Some()
            counted["orphan_files"] += orphans.count
            counted["orphan_bytes"] += orphans.bytes
            if orphans.count and settings.orphans == "report":
                findings.append(_orphans(tree, orphans))
    except (Damaged, pa.ArrowInvalid) as error:
        text = str(error).splitlines()[0]
        findings.append(not_checked(tree.name, f"the file tree {tree.name} was not checked: {text}", "error"))
    except duckdb.Error as error:
        # Out of memory or of disk: a weakness of this machine, and not of the backup.
        text = str(error).splitlines()[0]
        finding = not_checked(tree.name, f"the file tree {tree.name} was not checked: {text}", "error")
        findings.append(replace(finding, remedy="set TMPDIR to a folder on a larger disk, and verify again"))
    return CheckResult(tuple(findings), dict(counted))


def _orphans(tree: FileTree, orphans: Some) -> Finding:
    return Finding.of(
        "orphan-files",
        tree=tree.name,
        count=orphans.count,
        files="file" if orphans.count == 1 else "files",
        bytes=orphans.bytes,
        examples=orphans.examples,
    )
