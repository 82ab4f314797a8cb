"""The columns of `refs:` in the rows of a backup, one value after the other, whatever engine the rows are of."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from backup_pipeline.checks.file_joining import Value
from backup_pipeline.checks.file_values import Named, files_named
from backup_pipeline.config.trees import ReferenceSettings
from backup_pipeline.errors import ConfigError, NotFound
from backup_pipeline.model.findings import Finding, Severity
from backup_pipeline.model.manifest import FileTree, Manifest
from backup_pipeline.model.schema import Schema
from backup_pipeline.reading.tables import Rows, find
from backup_pipeline.sources.files.matching import Patterns
from backup_pipeline.vault.vault import Vault

_SERVER = re.compile(r" at https?://\S+$")
_HEX = re.compile(r"[0-9a-f]{64}")


def not_checked(tree: str, message: str, severity: Severity = "info") -> Finding:
    return Finding(severity, "file-reference-not-checked", message, tree=tree)


@dataclass
class Source:
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


class Column:
    """A column of `refs:`, and what was found out about its values while they passed."""

    def __init__(
        self,
        source: Source,
        name: str,
        reference: ReferenceSettings,
        tree: FileTree,
        patterns: Patterns | None = None,
    ) -> None:
        self.name = name
        self.reference = reference
        self.foreign = 0
        self.unreadable = 0
        #: They name what `include` and `exclude` leave out of the tree.
        self.left_out = 0
        self._patterns = patterns
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
            finding = not_checked(
                self._tree.name,
                f"{self.name} was not checked: {self._problem}",
                "info" if partial else "warning",
            )
            return finding if partial else replace(finding, remedy="correct `refs:` of this file tree")
        if {str(entry.id) for entry in self.rows.entries} & hurt:
            return not_checked(self._tree.name, f"{self.name} was not checked: {self.rows.id} is damaged")
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
                if self._patterns and not self._patterns.takes(one.candidates[0]):
                    self.left_out += 1
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
    if tree.kind != "bucket":
        return ""
    # Behind it, the address names the server: s3://bucket/prefix at https://…
    return _SERVER.sub("", tree.address).partition("://")[2].partition("/")[2]


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
