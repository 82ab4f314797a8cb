"""`references`: does every value that names a file find that file, in the same backup?

Files are read after the rows' snapshot, so a row whose file is not here had none when it was written down, or lost it
right then: either way, whoever restores this recovery point opens an order and finds no drawing. What a value may look
like is in `file_values`, the joining in `file_joining`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow as pa

from backup_pipeline.checks.file_joining import Files, Some, Value
from backup_pipeline.checks.file_values import Named, files_named
from backup_pipeline.config.trees import FilesSettings, ReferenceSettings
from backup_pipeline.errors import ConfigError, Damaged, NotFound
from backup_pipeline.model.files import FileEntry, read_lines
from backup_pipeline.model.findings import Finding, Severity
from backup_pipeline.model.manifest import FileTree, Manifest
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.model.schema import Schema
from backup_pipeline.reading.tables import Rows, find
from backup_pipeline.sources.sqlite.scratch import Scratch
from backup_pipeline.vault.vault import Vault

#: Free space to ask for: a path and a key a row, and DuckDB keeps them packed.
_ROOM = 256 << 20
_HEX = re.compile(r"[0-9a-f]{64}")


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
            findings.append(_not_checked(name, f"the file tree {name} was not checked: {why}"))
            continue
        todo.append((tree, settings))
    with ExitStack() as stack:
        rows = _Source(vault, manifest, schema, stack)
        for tree, settings in todo:
            key = _contents(manifest, tree, settings)
            if key not in memory.known:
                memory.known[key] = _tree(rows, tree, settings, hurt, listener)
            findings += memory.known[key].findings
            counted.update(memory.known[key].counted)
    return Outcome(tuple(findings), dict(counted))


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
    """The entries of a tree that the rows of the same backup name, sorted."""
    with ExitStack() as stack:
        scratch = stack.enter_context(Scratch.make(_ROOM))
        files = stack.enter_context(Files(scratch.folder))
        rows = _Source(vault, manifest, schema, stack)
        files.load(entries_of(vault, tree))
        for column, reference in settings.refs.items():
            listener(Advance("verify", column, note=f"files of {tree.name}"))
            files.ask(_Column(rows, column, reference, tree).values())
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
    return tree.name, tree.listing.plain_sha256, tables, image, repr(settings.refs), settings.orphans


# ── one tree


def _tree(
    rows: _Source, tree: FileTree, settings: FilesSettings, hurt: frozenset[str], listener: Listener
) -> Outcome:
    findings: list[Finding] = []
    counted: Counter[str] = Counter()
    whole = True
    try:
        with Scratch.make(_ROOM) as scratch, Files(scratch.folder) as files:
            files.load(entries_of(rows.vault, tree))
            for name, reference in settings.refs.items():
                listener(Advance("verify", name, note=f"files of {tree.name}"))
                column = _Column(rows, name, reference, tree)
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
            _not_checked(tree.name, f"the file tree {tree.name} was not checked: {text}", "warning")
        )
    except duckdb.Error as error:
        # Out of memory or of disk: a weakness of this machine, and not of the backup.
        text = str(error).splitlines()[0]
        finding = _not_checked(tree.name, f"the file tree {tree.name} was not checked: {text}", "warning")
        findings.append(replace(finding, remedy="set TMPDIR to a folder on a larger disk, and verify again"))
    return Outcome(tuple(findings), dict(counted))


def _judge(
    rows: _Source, tree: FileTree, column: _Column, files: Files, counted: Counter[str]
) -> Iterator[Finding]:
    severity: Severity = column.reference.missing
    table, name = str(column.rows.id), column.name
    missing = files.missing()
    counted["dangling_files"] += missing.count
    counted["foreign_values"] += column.foreign
    if missing.count:
        lost, where = _lost_since(rows, tree, files)
        more, remedy = (
            "",
            (
                "look for them in earlier backups (`list`) and bring them back with `restore … --files`, or correct the "
                "rows; `missing: warning` under this column accepts that it has been so"
            ),
        )
        if lost.count:
            more = f"; {lost.count:,} of them were in the backup before ({where}) and are gone since"
            remedy = (
                f"`backup-pipeline restore {rows.manifest.system} {where} --files {tree.name} --to DIR` brings back what "
                f"was deleted; {remedy}"
            )
        yield Finding(
            severity,
            "file-missing",
            f"{_name_files(missing.count, name)} not in {tree.name}{more}",
            table=table,
            tree=tree.name,
            remedy=remedy,
            examples=(*lost.examples, *(one for one in missing.examples if one not in lost.examples))[:10],
        )
    for how, word in (
        ("case", "upper and lower case"),
        ("unicode", "composed and decomposed letters (NFC, NFD)"),
    ):
        some = files.spelt(how)
        counted[f"files_of_other_{how}"] += some.count
        if some.count:
            yield Finding(
                "warning",
                f"file-name-{how}",
                f"{some.count:,} {_values(some.count)} of {name} and the files of {tree.name} that are meant differ in "
                f"their spelling: in {word}",
                table=table,
                tree=tree.name,
                remedy="they are found only on a file system that overlooks the difference: make rows and names the same",
                examples=some.examples,
            )
    for code, some, word in (
        ("file-size-differs", files.other_size(), "of another size than their rows say"),
        ("file-content-differs", files.other_content(), "of another SHA-256 than their rows say"),
    ):
        counted["files_that_differ"] += some.count
        if some.count:
            yield Finding(
                severity,
                code,
                f"{some.count:,} files of {tree.name} that {name} names are {word}",
                table=table,
                tree=tree.name,
                remedy="either the file was changed behind the application's back, or it changed between the rows' moment "
                "and the reading of the files: the next backup tells which",
                examples=some.examples,
            )
    if column.unreadable:
        yield Finding(
            "warning",
            "reference-unreadable",
            f"{column.unreadable:,} {_values(column.unreadable)} of {name} cannot be read as `{column.reference.kind}`: "
            f"{column.why}",
            table=table,
            tree=tree.name,
            remedy="correct the values, or what `refs:` says of the column",
            examples=tuple(column.examples),
        )


def _name_files(count: int, column: str) -> str:
    if count == 1:
        return f"1 value of {column} names a file that is"
    return f"{count:,} values of {column} name files that are"


def _values(count: int) -> str:
    return "value" if count == 1 else "values"


def _lost_since(rows: _Source, tree: FileTree, files: Files) -> tuple[Some, str]:
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
        f"{orphans.count:,} files of {tree.name} ({orphans.bytes:,} bytes) are named by no row",
        tree=tree.name,
        remedy="`orphans: ignore` if they need no row (thumbnails, caches); else name their column under `refs:`, or "
        "let the application clean up",
        examples=orphans.examples,
    )


def _not_checked(tree: str, message: str, severity: Severity = "info") -> Finding:
    return Finding(severity, "file-reference-not-checked", message, tree=tree)


# ── one column


@dataclass
class _Source:
    """The rows of one backup, whatever engine they are of."""

    vault: Vault
    manifest: Manifest
    schema: Schema
    stack: ExitStack
    _image: Path | None = None

    def read(self, rows: Rows) -> Iterator[tuple[object, ...]]:
        """Text, as bytes where the engine has text; None for NULL."""
        if self.manifest.image is None:
            from backup_pipeline.reading.frames import arrow_columns, unescaped

            for arrays in arrow_columns(self.vault, rows, [pa.binary()] * len(rows.columns)):
                yield from zip(*(unescaped(array).to_pylist() for array in arrays), strict=True)
            return
        from backup_pipeline.reading.sqlite_rows import rebuilt
        from backup_pipeline.sources.sqlite.rows import read_rows

        if self._image is None:
            self._image = self.stack.enter_context(rebuilt(self.vault, self.manifest.image))
        yield from read_rows(self._image, rows.id.name, rows.names)


class _Column:
    """A column of `refs:`, and what was found out about its values while they passed."""

    def __init__(self, source: _Source, name: str, reference: ReferenceSettings, tree: FileTree) -> None:
        self.name = name
        self.reference = reference
        self.foreign = 0
        self.unreadable = 0
        self.why = ""
        self.examples: list[str] = []
        self._source = source
        self._tree = tree
        self._problem = ""
        table, _, self._column = name.rpartition(".")
        try:
            self.rows = find(source.manifest, source.schema, table)
        except (NotFound, ConfigError) as error:
            self._problem = error.message
        else:
            held = self.rows.names
            wanted = [self._column, *(c.rpartition(".")[2] for c in (reference.sha256, reference.size) if c)]
            absent = [one for one in wanted if one not in held]
            if absent:
                self._problem = f"{self.rows.id} has no column {', '.join(absent)} in this backup"

    def cannot_be_asked(self, hurt: frozenset[str]) -> Finding | None:
        if self._problem:
            partial = self._source.manifest.scope == "partial"
            finding = _not_checked(
                self._tree.name,
                f"{self.name} was not checked: {self._problem}",
                "info" if partial else "warning",
            )
            return finding if partial else replace(finding, remedy="correct `refs:` of this file tree")
        if {str(entry.id) for entry in self.rows.entries} & hurt:
            return _not_checked(self._tree.name, f"{self.name} was not checked: {self.rows.id} is damaged")
        return None

    def values(self) -> Iterator[Value]:
        reference = self.reference
        extra = [
            column.rpartition(".")[2] if column else None for column in (reference.sha256, reference.size)
        ]
        names = [self._column, *(name for name in extra if name), *self._key()]
        typed = {column.name: column for column in self.rows.columns}
        rows = Rows(self.rows.id, tuple(typed[name] for name in names), self.rows.entries)
        begin = 1 + sum(1 for name in extra if name)
        keys = names[begin:]
        prefix = _prefix_of(self._tree)
        for number, fields in enumerate(self._source.read(rows)):
            value = _text(fields[0])
            if not value:
                continue
            sha256 = _digest(fields[1]) if extra[0] else None
            size = _number(fields[begin - 1]) if extra[1] else None
            row = ""
            found = list(files_named(value, reference, self._tree.name, prefix))
            for one in found:
                row = row or _row(keys, fields[begin:], number)
                if one.sort != "path":
                    self._note(one, row, value)
                    continue
                alone = len(found) == 1
                said = one.candidates[0] if reference.kind == "json" and one.candidates else value
                yield Value(row, said, one.candidates, sha256 if alone else None, size if alone else None)

    def _key(self) -> tuple[str, ...]:
        table = self._source.schema.table(self.rows.id)
        key = table.primary_key if table else None
        held = set(self.rows.names)
        return key.columns if key is not None and set(key.columns) <= held else ()

    def _note(self, one: Named, row: str, value: str) -> None:
        if one.sort == "foreign":
            self.foreign += 1
            return
        self.unreadable += 1
        self.why = self.why or one.note
        if len(self.examples) < 10:
            self.examples.append(f"{row}: {value[:200]}")


def _prefix_of(tree: FileTree) -> str:
    """Of a bucket: what its keys begin with. s3://bucket/prefix"""
    return tree.address.partition("://")[2].partition("/")[2] if tree.kind == "bucket" else ""


def _row(keys: Iterable[str], values: Iterable[object], number: int) -> str:
    listed = tuple(keys)
    if not listed:
        return f"row {number + 1}"
    texts = ["NULL" if value is None else _text(value) or "" for value in values]
    return f"({', '.join(listed)}) = ({', '.join(texts)})"


def _text(value: object) -> str | None:
    if value is None:
        return None
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _number(value: object) -> int | None:
    try:
        return None if value is None else int(_text(value) or "")
    except ValueError:
        return None


def _digest(value: object) -> str | None:
    """A SHA-256 in any of its usual spellings, as lower-case hex; None for anything else (MD5, NULL)."""
    if isinstance(value, bytes) and len(value) == 32:
        return value.hex()
    text = (_text(value) or "").strip()
    for prefix in ("sha256:", "sha256-", "\\x"):
        text = text.removeprefix(prefix)
    if _HEX.fullmatch(text.lower()):
        return text.lower()
    try:
        raw = base64.b64decode(text, validate=True) if len(text) in (43, 44) else b""
    except (binascii.Error, ValueError):
        return None
    return raw.hex() if len(raw) == 32 else None
