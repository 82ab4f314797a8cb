"""The columns of `refs:` in the rows of a backup, one value after the other, for every engine."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from backup_pipeline.config.trees import ReferenceSettings
from backup_pipeline.errors import ConfigError, NotFound
from backup_pipeline.files.sources.matching import Patterns
from backup_pipeline.model.findings import Finding, Severity
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.reading.tables import Rows, find
from backup_pipeline.references.asked import Tables, of_reference
from backup_pipeline.references.file_digests import said, text_of
from backup_pipeline.references.file_joining import EXAMPLES, Value
from backup_pipeline.references.file_values import Named, files_named
from backup_pipeline.vault.backup import Backup

_SERVER = re.compile(r" at https?://\S+$")


def not_checked(tree: str, message: str, severity: Severity = "info") -> Finding:
    return Finding.of("file-reference-not-checked", tree=tree, message=message, severity=severity)


@dataclass
class Source:
    """The rows of one backup, of any engine."""

    backup: Backup
    stack: ExitStack
    _image: Path | None = None

    @cached_property
    def tables(self) -> Tables:
        return Tables.of_backup(self.backup)

    @cached_property
    def is_newest(self) -> bool:
        return self.backup.vault.ids(self.backup.system)[-1:] in ((), (self.backup.id,))

    def read(self, rows: Rows) -> Iterator[tuple[object, ...]]:
        """Text, as bytes where the engine has text; None for NULL."""
        if self.backup.manifest.image is None:
            from backup_pipeline.reading.frames import arrow_columns, unescaped

            for arrays in arrow_columns(self.backup, rows, [pa.binary()] * len(rows.columns)):
                yield from zip(*(unescaped(array).to_pylist() for array in arrays), strict=True)
            return
        from backup_pipeline.databases.sqlite.export.rows import read_rows
        from backup_pipeline.reading.sqlite_rows import rebuilt

        if self._image is None:
            self._image = self.stack.enter_context(rebuilt(self.backup))
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
        #: Values that name something elsewhere, that cannot be read, that lack the field which should hold the path.
        self.foreign = self.unreadable = self.absent = 0
        #: They name what `include` and `exclude` leave out of the tree.
        self.left_out = 0
        #: They name several files, of which one digest says nothing.
        self.several = 0
        self.why: dict[str, str] = {}
        self.examples: list[str] = []
        #: Of the columns that say what a file is: how many values there were, and those that are no digest (no length).
        self.said: Counter[str] = Counter()
        self.unsaid: dict[str, list[object]] = {}
        self.unsaid_count: Counter[str] = Counter()
        self._patterns = patterns
        self._source = source
        self._tree = tree
        self._problem = ""
        table, _, self._column = name.rpartition(".")
        self._cannot = of_reference(tree.name, name, reference, source.tables)
        if self._cannot is None:
            try:
                self.rows = find(source.backup, table)
            except (NotFound, ConfigError) as error:
                self._problem = error.message

    def in_backup(self, source: Source, tree: FileTree) -> Column:
        """The same column of another backup."""
        return Column(source, self.name, self.reference, tree, self._patterns)

    def cannot_be_asked(self, hurt: frozenset[str]) -> Finding | None:
        manifest, cannot = self._source.backup.manifest, self._cannot
        if cannot is not None:
            if manifest.scope == "partial" and cannot.marked("lacks_table"):
                return not_checked(self._tree.name, f"{self.name} was not checked: {cannot.message}")
            # An older backup may be older than the column.
            was_asked = cannot in manifest.findings or self._source.is_newest
            return cannot if was_asked else replace(cannot, severity="warning")
        if self._problem:
            severity: Severity = "info" if manifest.scope == "partial" else "error"
            return not_checked(self._tree.name, f"{self.name} was not checked: {self._problem}", severity)
        if {str(entry.id) for entry in self.rows.entries} & hurt:
            return not_checked(self._tree.name, f"{self.name} was not checked: {self.rows.id} is damaged")
        return None

    def values(self) -> Iterator[Value]:
        reference = self.reference
        extra = {what: column.rpartition(".")[2] for what, column in reference.says.items()}
        names = [self._column, *extra.values(), *self._key()]
        typed = {column.name: column for column in self.rows.columns}
        rows = Rows(self.rows.id, tuple(typed[name] for name in names), self.rows.entries)
        begin = 1 + len(extra)
        keys = names[begin:]
        prefix = _prefix_of(self._tree)
        for number, fields in enumerate(self._source.read(rows)):
            value = text_of(fields[0])
            if not value:
                continue
            says = self._says(dict(zip(extra, fields[1:begin], strict=True)))
            row = ""
            found = list(files_named(value, reference, self._tree.name, prefix))
            self.several += len(found) > 1 and bool(says)
            for one in found:
                row = row or _row(keys, fields[begin:], number)
                if one.sort != "path":
                    self._note(one, row, value)
                    continue
                if self._patterns and not self._patterns.takes(one.candidates[0]):
                    self.left_out += 1
                    continue
                shown = one.candidates[0] if reference.kind == "json" and one.candidates else value
                yield Value(row, shown, one.candidates, says if len(found) == 1 else {})

    def _says(self, fields: Mapping[str, object]) -> dict[str, str | int | None]:
        """What a row says of its file, as far as it can be read."""
        found = {}
        for what, value in fields.items():
            if value is None or not text_of(value):
                continue
            self.said[what] += 1
            found[what] = said(value, what)
            if found[what] is None:
                self.unsaid_count[what] += 1
                examples = self.unsaid.setdefault(what, [])
                if len(examples) < EXAMPLES:
                    examples.append(value)
        return found

    def _key(self) -> tuple[str, ...]:
        table = self._source.backup.schema.table(self.rows.id)
        key = table.primary_key if table else None
        held = set(self.rows.names)
        return key.columns if key is not None and set(key.columns) <= held else ()

    def _note(self, one: Named, row: str, value: str) -> None:
        self.why.setdefault(one.sort, one.note)
        if one.sort == "foreign":
            self.foreign += 1
            return
        if one.sort == "absent":
            self.absent += 1
        else:
            self.unreadable += 1
        if len(self.examples) < EXAMPLES:
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
    texts = ["NULL" if value is None else text_of(value) or "" for value in values]
    return f"({', '.join(listed)}) = ({', '.join(texts)})"
