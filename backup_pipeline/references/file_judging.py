"""What is said of one column of `refs:`, when its values have been held against the files (`file_joining`).

`missing: warning` accepts what has always been so: the values that are wrong are counted, and only those that were not
wrong in the full backup before are worth a warning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model.files import DIGESTS
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.references.file_columns import Column, Source
from backup_pipeline.references.file_digests import NAMES, kind_of, text_of
from backup_pipeline.references.file_joining import FAULTS, Files, Some
from backup_pipeline.vault.backup import Backup

_DIFFERS = "either the file was changed behind the application's back, or it changed between the rows' moment and the reading of the "
_DIFFERS += "files: the next backup tells which"
_ACCEPTED = "accepted by `missing: warning`"


@dataclass(frozen=True)
class Asked:
    """A column whose values are in `files`, and where it was read."""

    rows: Source
    tree: FileTree
    column: Column
    files: Files
    #: How many of its values name a file.
    values: int

    def findings(self, counted: Counter[str]) -> Iterator[Finding]:
        column, files = self.column, self.files
        found = {name: files.fault(name) for name in FAULTS}
        counted["dangling_files"] += found["missing"].count
        counted["files_that_differ"] += sum(some.count for name, some in found.items() if name != "missing")
        counted["foreign_values"] += column.foreign
        accepted = column.reference.missing == "warning"
        for name, some in found.items():
            if some.count:
                yield self._fault(name, some, accepted)
        if accepted and any(some.count for some in found.values()):
            yield from self._more()
        case, unicode = files.spelt("case"), files.spelt("unicode")
        counted["files_of_other_case"] += case.count
        counted["files_of_other_unicode"] += unicode.count
        yield from self._spelt("file-name-case", case, "upper and lower case")
        yield from self._spelt("file-name-unicode", unicode, "composed and decomposed letters (NFC, NFD)")
        yield from self._not_compared()
        yield from _unreadable(column, self.tree, self.values)

    def _fault(self, name: str, some: Some, accepted: bool) -> Finding:
        if name == "missing":
            return self._missing(some, accepted)
        what = "size" if name == "size" else NAMES[name]
        files = "file" if some.count == 1 else "files"
        return Finding(
            "info" if accepted else "error",
            "file-size-differs" if name == "size" else "file-content-differs",
            f"{some.count:,} {files} of {self.tree.name}, named by {self.column.name}: of another {what} than the row says",
            table=str(self.column.rows.id),
            tree=self.tree.name,
            remedy=_ACCEPTED if accepted else _DIFFERS,
            examples=some.examples,
        )

    def _missing(self, missing: Some, accepted: bool) -> Finding:
        lost, where = self._lost_since()
        more, remedy = (
            "",
            "look for them in earlier backups (`list`) and bring them back with `restore … --files`, or correct the "
            "rows; `missing: warning` under this column accepts those that there are",
        )
        if accepted:
            remedy = _ACCEPTED
        if lost.count:
            which = f"{lost.count:,} of them were" if lost.count > 1 else "one of them was"
            if lost.count == missing.count:
                which = "it was" if missing.count == 1 else "all were"
            more = f"; {which} in the backup before ({where}) and not in this one"
            remedy = f"{self._restore(where)} brings back what was deleted; {remedy}"
        return Finding(
            "info" if accepted else "error",
            "file-missing",
            f"{_name_files(missing.count, self.column.name)} not in {self.tree.name}{more}",
            table=str(self.column.rows.id),
            tree=self.tree.name,
            remedy=remedy,
            examples=(*lost.examples, *(one for one in missing.examples if one not in lost.examples))[:10],
        )

    def _restore(self, identifier: str) -> str:
        system = self.rows.backup.system
        return f"`backup-pipeline restore {system} {identifier} --files {self.tree.name} --to DIR`"

    def _more(self) -> Iterator[Finding]:
        """What is wrong today and was not in the backup before: no person has accepted that."""
        before = next((one for one, tree in self._before() if self._accept(one, tree)), None)
        if before is None:
            return
        for name in FAULTS:
            more = self.files.fault(name, more=True)
            if more.count:
                values = f"{more.count:,} more {_values(more.count)} of {self.column.name}"
                said = (
                    f"name files that are not in {self.tree.name}"
                    if name == "missing"
                    else f"mean files of {self.tree.name} that are of another {NAMES[name]} than the row says"
                )
                yield Finding(
                    "warning",
                    "more-files-missing" if name == "missing" else "more-files-differ",
                    f"{values} than in the backup before ({before.id}) {said}",
                    table=str(self.column.rows.id),
                    tree=self.tree.name,
                    remedy=f"{self._restore(before.id)} brings back what was deleted since; or correct the rows",
                    examples=more.examples,
                )

    def _accept(self, backup: Backup, tree: FileTree) -> bool:
        """What was wrong then. False: it cannot be known."""
        try:
            old = Source(backup, self.rows.stack)
            column = self.column.in_backup(old, tree)
            if column.cannot_be_asked(frozenset()) is not None:
                return False
            with self.files.beside() as then:
                then.load(backup.vault.listing(tree))
                then.ask(column.values())
                self.files.accept(then.faults())
        except (Damaged, NotFound):
            return False  # `verify` names it
        return True

    def _lost_since(self) -> tuple[Some, str]:
        """What the full backup before this one still had."""
        for backup, tree in self._before():
            try:
                return self.files.lost(backup.vault.listing(tree)), backup.id
            except (Damaged, NotFound):
                continue  # `verify` names it; this is only a hint where to look
        return Some(), ""

    def _before(self) -> Iterator[tuple[Backup, FileTree]]:
        """Full backups before this one, the last one first."""
        mine = self.rows.backup
        for identifier in reversed(mine.vault.ids(mine.system)):
            if identifier >= mine.id:
                continue
            backup = mine.vault.backup(mine.system, identifier)
            try:
                manifest = backup.manifest
            except (Damaged, NotFound):
                continue
            tree = manifest.tree(self.tree.name)
            if manifest.scope == "full" and tree is not None:
                yield backup, tree

    def _spelt(self, code: str, some: Some, word: str) -> Iterator[Finding]:
        if some.count:
            yield Finding(
                "warning",
                code,
                f"{some.count:,} {_values(some.count)} of {self.column.name} and the files of {self.tree.name} that are meant "
                f"differ in their spelling: in {word}",
                table=str(self.column.rows.id),
                tree=self.tree.name,
                remedy="they are found only on a file system that overlooks the difference: make rows and names the same",
                examples=some.examples,
            )

    def _not_compared(self) -> Iterator[Finding]:
        tree, name = self.tree.name, self.column.name
        for digest in DIGESTS:
            count = self.files.not_compared(digest) if digest in self.column.said else 0
            if count:
                yield Finding(
                    "warning",
                    "file-digest-unknown",
                    f"{count:,} {_values(count)} of {name}: the {NAMES[digest]} of the file was not taken when it was stored, and "
                    "was not compared",
                    tree=tree,
                    remedy="the next backup reads these files once more and takes it",
                )
        if self.column.several:
            yield Finding(
                "info",
                "file-digest-of-several",
                f"{self.column.several:,} {_values(self.column.several)} of {name} name several files: what the row says of one "
                "file was not compared",
                tree=tree,
            )


def _unreadable(column: Column, tree: FileTree, values: int) -> Iterator[Finding]:
    table = str(column.rows.id)
    if column.left_out:
        yield Finding(
            "info",
            "reference-left-out",
            f"{column.left_out:,} {_values(column.left_out)} of {column.name} mean what `include` and `exclude` leave out of "
            f"{tree.name}",
            table=table,
            tree=tree.name,
        )
    elsewhere = column.foreign + column.unreadable + column.absent
    if elsewhere and not values and not column.left_out:
        # Links to other hosts may be right; where a base, a field or a kind is set, it is most likely mistyped.
        mistyped = bool(column.reference.base) or column.foreign < elsewhere
        yield Finding(
            "error" if mistyped else "warning",
            "reference-checks-nothing",
            f"{column.name} checks nothing: {elsewhere:,} {_values(elsewhere)} were read, and none names a file of {tree.name} "
            f"({'; '.join(column.why.values())})",
            table=table,
            tree=tree.name,
            remedy="correct `kind:`, `base:` or `field:` of this column, or remove it under `refs:`",
            examples=tuple(column.examples),
        )
    elif column.unreadable:
        yield Finding(
            "warning",
            "reference-unreadable",
            f"{column.unreadable:,} {_values(column.unreadable)} of {column.name} cannot be read as "
            f"`{column.reference.kind}`: {column.why['unreadable']}",
            table=table,
            tree=tree.name,
            remedy="correct the values, or what `refs:` says of the column",
            examples=tuple(column.examples),
        )
    for what, count in column.unsaid_count.items():
        every = count == column.said[what]
        kind = kind_of(column.unsaid[what][0])
        yield Finding(
            "error" if every else "warning",
            "reference-digest-unreadable",
            f"{'all ' if every else ''}{count:,} {_values(count)} of {column.reference.says[what]} are no {NAMES[what]}, and were "
            "not compared",
            table=table,
            tree=tree.name,
            remedy=f"did you mean `{kind}:`?" if kind else f"correct `{what}:` under `refs:`, or remove it",
            examples=tuple((text_of(one) or "")[:100] for one in column.unsaid[what]),
        )


def _name_files(count: int, column: str) -> str:
    if count == 1:
        return f"1 value of {column} names a file that is"
    return f"{count:,} values of {column} name files that are"


def _values(count: int) -> str:
    return "value" if count == 1 else "values"
