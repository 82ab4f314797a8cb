"""`references`: does every value that names a file find that file, in the same backup?

Files are read after the rows' snapshot, so a row whose file is not here had none when it was written down, or lost it
right then: either way, whoever restores this recovery point opens an order and finds no drawing. What a value may look
like is in `file_values`, the joining in `file_joining`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import duckdb
import pyarrow as pa

from backup_pipeline.checks.file_columns import Column, Source, not_checked
from backup_pipeline.checks.file_joining import Files, Some
from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.errors import ConfigError, Damaged, NotFound
from backup_pipeline.model.files import FileEntry, read_lines
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree, Manifest
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import Schema
from backup_pipeline.sources.files.matching import Patterns
from backup_pipeline.sources.sqlite.scratch import Scratch
from backup_pipeline.vault.vault import Vault

#: Free space to ask for: a path and a key a row, and DuckDB keeps them packed.
_ROOM = 256 << 20


@dataclass(frozen=True, slots=True)
class Outcome:
    findings: tuple[Finding, ...] = ()
    counted: dict[str, int] = field(default_factory=dict)


@dataclass
class Memory:
    """What other backups of the same verification were found to hold."""

    known: dict[tuple[object, ...], Outcome] = field(default_factory=dict)


def check(
    vault: Vault,
    manifest: Manifest,
    schema: Schema,
    trees: Mapping[str, FilesSettings],
    *,
    memory: Memory | None = None,
    hurt: frozenset[str] = frozenset(),
    listener: Listener,
) -> Outcome:
    """Of every tree that has `refs:`. `hurt`: tables and trees (by name) that are damaged anyway."""
    memory = memory or Memory()
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
        rows = Source(vault, manifest, schema, stack)
        for tree, settings in todo:
            key = _contents(manifest, tree, settings)
            if key not in memory.known:
                memory.known[key] = _tree(rows, tree, settings, hurt, listener)
            findings += memory.known[key].findings
            counted.update(memory.known[key].counted)
    return Outcome(tuple(findings), dict(counted))


def worth_saying(counted: Mapping[str, int]) -> dict[str, int]:
    """Of the numbers that the graph plots, those that a line of text should hold."""
    always = ("file_values", "dangling_files", "policy_files")
    mine = (*always, "orphan_files", "orphan_bytes", "foreign_values", "policy_breaches", "files_that_differ")
    return {name: counted[name] for name in mine if name in counted and (counted[name] or name in always)}


def entries_of(vault: Vault, tree: FileTree) -> Iterator[FileEntry]:
    return read_lines(vault.blocks(tree.listing), what=f"the listing of {tree.name}")


def paths_named(
    vault: Vault,
    manifest: Manifest,
    schema: Schema,
    tree: FileTree,
    settings: FilesSettings,
    listener: Listener,
) -> Iterator[str]:
    """The entries of a tree that the rows of the same backup name, sorted. Raises ConfigError where a column cannot be
    asked: its files would be missing, and nobody would know."""
    with ExitStack() as stack:
        scratch = stack.enter_context(Scratch.make(_ROOM))
        files = stack.enter_context(Files(scratch.folder))
        rows = Source(vault, manifest, schema, stack)
        files.load(entries_of(vault, tree))
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
                note = f"{column.unreadable:,} values cannot be read ({column.why}): the files that they mean are left out"
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
) -> Outcome:
    findings: list[Finding] = []
    counted: Counter[str] = Counter()
    whole = True
    try:
        with Scratch.make(_ROOM) as scratch, Files(scratch.folder) as files:
            files.load(entries_of(rows.vault, tree))
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
                counted["file_values"] += files.ask(column.values())
                findings += _judge(rows, tree, column, files, counted)
            orphans = files.orphans() if whole else Some()
            counted["orphan_files"] += orphans.count
            counted["orphan_bytes"] += orphans.bytes
            if orphans.count and settings.orphans == "report":
                findings.append(_orphans(tree, orphans))
    except (Damaged, pa.ArrowInvalid) as error:
        text = str(error).splitlines()[0]
        findings.append(
            not_checked(tree.name, f"the file tree {tree.name} was not checked: {text}", "warning")
        )
    except duckdb.Error as error:
        # Out of memory or of disk: a weakness of this machine, and not of the backup.
        text = str(error).splitlines()[0]
        finding = not_checked(tree.name, f"the file tree {tree.name} was not checked: {text}", "warning")
        findings.append(replace(finding, remedy="set TMPDIR to a folder on a larger disk, and verify again"))
    return Outcome(tuple(findings), dict(counted))


def _judge(
    rows: Source, tree: FileTree, column: Column, files: Files, counted: Counter[str]
) -> Iterator[Finding]:
    missing = files.missing()
    counted["dangling_files"] += missing.count
    counted["foreign_values"] += column.foreign
    if missing.count:
        yield _missing(rows, tree, column, files, missing)
    case, unicode = files.spelt("case"), files.spelt("unicode")
    counted["files_of_other_case"] += case.count
    counted["files_of_other_unicode"] += unicode.count
    yield from _spelt("file-name-case", case, tree, column, "upper and lower case")
    yield from _spelt(
        "file-name-unicode", unicode, tree, column, "composed and decomposed letters (NFC, NFD)"
    )
    size, content = files.other_size(), files.other_content()
    counted["files_that_differ"] += size.count + content.count
    yield from _differing("file-size-differs", size, tree, column, "of another size than the row says")
    yield from _differing(
        "file-content-differs", content, tree, column, "of another SHA-256 than the row says"
    )
    if column.left_out:
        yield Finding(
            "info",
            "reference-left-out",
            f"{column.left_out:,} {_values(column.left_out)} of {column.name} mean what `include` and `exclude` leave out of "
            f"{tree.name}",
            table=str(column.rows.id),
            tree=tree.name,
        )
    if column.unreadable:
        yield Finding(
            "warning",
            "reference-unreadable",
            f"{column.unreadable:,} {_values(column.unreadable)} of {column.name} cannot be read as "
            f"`{column.reference.kind}`: {column.why}",
            table=str(column.rows.id),
            tree=tree.name,
            remedy="correct the values, or what `refs:` says of the column",
            examples=tuple(column.examples),
        )


def _missing(rows: Source, tree: FileTree, column: Column, files: Files, missing: Some) -> Finding:
    lost, where = _lost_since(rows, tree, files)
    more, remedy = (
        "",
        (
            "look for them in earlier backups (`list`) and bring them back with `restore … --files`, or correct the "
            "rows; `missing: warning` under this column accepts that it has been so"
        ),
    )
    if lost.count:
        which = f"{lost.count:,} of them were" if lost.count > 1 else "one of them was"
        if lost.count == missing.count:
            which = "it was" if missing.count == 1 else "all were"
        more = f"; {which} in the backup before ({where}) and not in this one"
        remedy = (
            f"`backup-pipeline restore {rows.manifest.system} {where} --files {tree.name} --to DIR` brings back what "
            f"was deleted; {remedy}"
        )
    return Finding(
        column.reference.missing,
        "file-missing",
        f"{_name_files(missing.count, column.name)} not in {tree.name}{more}",
        table=str(column.rows.id),
        tree=tree.name,
        remedy=remedy,
        examples=(*lost.examples, *(one for one in missing.examples if one not in lost.examples))[:10],
    )


def _spelt(code: str, some: Some, tree: FileTree, column: Column, word: str) -> Iterator[Finding]:
    if some.count:
        yield Finding(
            "warning",
            code,
            f"{some.count:,} {_values(some.count)} of {column.name} and the files of {tree.name} that are meant differ "
            f"in their spelling: in {word}",
            table=str(column.rows.id),
            tree=tree.name,
            remedy="they are found only on a file system that overlooks the difference: make rows and names the same",
            examples=some.examples,
        )


def _differing(code: str, some: Some, tree: FileTree, column: Column, word: str) -> Iterator[Finding]:
    if some.count:
        yield Finding(
            column.reference.missing,
            code,
            f"{some.count:,} {'file' if some.count == 1 else 'files'} of {tree.name}, named by {column.name}: {word}",
            table=str(column.rows.id),
            tree=tree.name,
            remedy="either the file was changed behind the application's back, or it changed between the rows' moment "
            "and the reading of the files: the next backup tells which",
            examples=some.examples,
        )


def _name_files(count: int, column: str) -> str:
    if count == 1:
        return f"1 value of {column} names a file that is"
    return f"{count:,} values of {column} name files that are"


def _values(count: int) -> str:
    return "value" if count == 1 else "values"


def _lost_since(rows: Source, tree: FileTree, files: Files) -> tuple[Some, str]:
    """What the full backup before this one still had."""
    manifest = rows.manifest
    for identifier in reversed(rows.vault.ids(manifest.system)):
        if identifier >= manifest.id:
            continue
        try:
            before = rows.vault.manifest(manifest.system, identifier)
            earlier = before.tree(tree.name)
            if before.scope == "full" and earlier is not None:
                return files.lost(entries_of(rows.vault, earlier)), identifier
        except (Damaged, NotFound):
            continue  # `verify` names it; this is only a hint where to look
    return Some(), ""


def _orphans(tree: FileTree, orphans: Some) -> Finding:
    return Finding(
        "info",
        "orphan-files",
        f"{orphans.count:,} {'file' if orphans.count == 1 else 'files'} of {tree.name} ({orphans.bytes:,} bytes) that no row "
        "names",
        tree=tree.name,
        remedy="`orphans: ignore` if they need no row (thumbnails, caches); else name their column under `refs:`, or "
        "let the application clean up",
        examples=orphans.examples,
    )
