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
        return Finding.of(
            "file-size-differs" if name == "size" else "file-content-differs",
            severity="info" if accepted else "error",
            remedy=_ACCEPTED if accepted else "",
            table=self.column.rows.id,
            tree=self.tree.name,
            examples=some.examples,
            count=some.count,
            files=files,
            column=self.column.name,
            what=what,
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
        return Finding.of(
            "file-missing",
            table=self.column.rows.id,
            tree=self.tree.name,
            name_files=_name_files(missing.count, self.column.name),
            more=more,
            severity="info" if accepted else "error",
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
                yield Finding.of(
                    "more-files-missing" if name == "missing" else "more-files-differ",
                    table=self.column.rows.id,
                    tree=self.tree.name,
                    examples=more.examples,
                    count=more.count,
                    values=f"{_values(more.count)} of {self.column.name}",
                    backup=before.id,
                    what=NAMES.get(name, name),
                    restore=self._restore(before.id),
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
            yield Finding.of(
                code,
                table=self.column.rows.id,
                tree=self.tree.name,
                examples=some.examples,
                count=some.count,
                values=_values(some.count),
                column=self.column.name,
                word=word,
            )

    def _not_compared(self) -> Iterator[Finding]:
        tree, name = self.tree.name, self.column.name
        for digest in DIGESTS:
            count = self.files.not_compared(digest) if digest in self.column.said else 0
            if count:
                yield Finding.of(
                    "file-digest-unknown",
                    tree=tree,
                    count=count,
                    values=_values(count),
                    name=name,
                    digest=NAMES[digest],
                )
        if self.column.several:
            yield Finding.of(
                "file-digest-of-several",
                tree=tree,
                several=self.column.several,
                values=_values(self.column.several),
                name=name,
            )


def _unreadable(column: Column, tree: FileTree, values: int) -> Iterator[Finding]:
    table = str(column.rows.id)
    if column.left_out:
        yield Finding.of(
            "reference-left-out/files",
            table=table,
            tree=tree.name,
            left_out=column.left_out,
            values=_values(column.left_out),
            column=column.name,
        )
    elsewhere = column.foreign + column.unreadable + column.absent
    if elsewhere and not values and not column.left_out:
        # Links to other hosts may be right; where a base, a field or a kind is set, it is most likely mistyped.
        mistyped = bool(column.reference.base) or column.foreign < elsewhere
        yield Finding.of(
            "reference-checks-nothing",
            table=table,
            tree=tree.name,
            column=column.name,
            elsewhere=elsewhere,
            values=_values(elsewhere),
            some="; ".join(column.why.values()),
            severity="error" if mistyped else "warning",
            examples=column.examples,
        )
    elif column.unreadable:
        yield Finding.of(
            "reference-unreadable",
            table=table,
            tree=tree.name,
            unreadable=column.unreadable,
            values=_values(column.unreadable),
            column=column.name,
            kind=column.reference.kind,
            why=column.why["unreadable"],
            examples=column.examples,
        )
    for what, count in column.unsaid_count.items():
        every = count == column.said[what]
        kind = kind_of(column.unsaid[what][0])
        yield Finding.of(
            "reference-digest-unreadable",
            table=table,
            tree=tree.name,
            begin="all " if every else "",
            count=count,
            values=_values(count),
            says=column.reference.says[what],
            digest=NAMES[what],
            severity="error" if every else "warning",
            remedy=f"did you mean `{kind}:`?" if kind else f"correct `{what}:` under `refs:`, or remove it",
            examples=((text_of(one) or "")[:100] for one in column.unsaid[what]),
        )


def _name_files(count: int, column: str) -> str:
    if count == 1:
        return f"1 value of {column} names a file that is"
    return f"{count:,} values of {column} name files that are"


def _values(count: int) -> str:
    return "value" if count == 1 else "values"
