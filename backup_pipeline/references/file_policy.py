"""`file_policy`: are the files of a tree what `max_size` and `types` say that they may be?

Judged by content and never by name; what the content is was noted in the listing when it was stored
(`FileEntry.media`), so that nothing is read again. Nothing here speaks against a backup: it holds what there was. So
every finding is a warning, and a tree without a policy is only counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.errors import Damaged
from backup_pipeline.files.sources.media import (
    EMPTY,
    TEXT,
    UNKNOWN,
    may_run,
    plain_type,
    remark,
    suffix_of,
    types_named,
    types_of_suffix,
)
from backup_pipeline.model.files import FileEntry
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.model.outcome import CheckResult
from backup_pipeline.vault.backup import Backup

EXAMPLES = 10
#: More types than these are one line, "other".
MOST_TYPES = 12
#: Contents that say little of what is in them: .docx allows a zip that is called .docx, and no other.
_VESSELS = frozenset({"application/zip", "application/x-ole-storage", "application/xml", TEXT, UNKNOWN})


def check(
    backup: Backup, trees: Mapping[str, FilesSettings], *, hurt: frozenset[str] = frozenset()
) -> CheckResult:
    """`hurt`: trees that are damaged anyway."""
    findings: list[Finding] = []
    counted: Counter[str] = Counter()
    for name, settings in trees.items():
        tree = backup.manifest.tree(name)
        if tree is None or name in hurt or not has_policy(settings):
            continue
        tally = _Tally(tree, settings)
        try:
            for entry in backup.vault.listing(tree):
                tally.add(entry)
        except Damaged as error:
            findings.append(Finding.of("policy-not-checked/failed", tree=name, why=error.message))
            continue
        findings += tally.findings()
        counted.update(tally.counted())
    return CheckResult(tuple(findings), dict(counted))


def has_policy(settings: FilesSettings) -> bool:
    return bool(settings.types) or settings.max_size is not None


def is_allowed(path: str, kind: str, types: Iterable[str]) -> bool:
    """`image/*` and `application/pdf` are of the content; `.dwg` is every type of content that is called so. A suffix
    of which no type is known can only be told by the name."""
    for allowed in types:
        if allowed.startswith("."):
            known = types_of_suffix(allowed)
            called_so = suffix_of(path) == allowed[1:].lower()
            if (kind in known and (called_so or kind not in _VESSELS)) or (not known and called_so):
                return True
        elif fnmatchcase(kind, allowed.lower()):
            return True
    return False


@dataclass
class _Kept:
    """How many there are of one sort of trouble, and the first few."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(text)


class _Tally:
    """The counts of one tree."""

    def __init__(self, tree: FileTree, settings: FilesSettings) -> None:
        self.tree = tree
        self.settings = settings
        self.files = 0
        self.unknown = 0
        self.kinds: Counter[str] = Counter()
        self.sizes: Counter[str] = Counter()
        self.large = _Kept()
        self.foreign = _Kept()
        self.misnamed = _Kept()
        self.runs = _Kept()
        self.double = _Kept()
        self._allowed: dict[tuple[str, str], bool] = {}

    def add(self, entry: FileEntry) -> None:
        if entry.type != "file":
            return
        self.files += 1
        limit = self.settings.max_size
        if limit is not None and entry.size > limit:
            self.large.add(f"{entry.path}: {entry.size:,} bytes")
        media = entry.media or ("" if entry.size else EMPTY)
        if not media:
            self.unknown += 1
            return
        kind = plain_type(media)
        self.kinds[kind] += 1
        self.sizes[kind] += entry.size
        if not self.settings.types or kind == EMPTY:
            return
        allowed = self._is_allowed(entry.path, kind)
        if not allowed:
            self.foreign.add(f"{entry.path}: {kind}")
        if remark(media):
            self.double.add(f"{entry.path}: {kind} and {remark(media)}")
        elif may_run(media) and not allowed:
            self.runs.add(f"{entry.path}: {kind}")
        promised = types_named(entry.path)
        if promised and kind not in promised and not _passes_as_text(kind, promised):
            self.misnamed.add(f"{entry.path}: it is {kind}")

    def _is_allowed(self, path: str, kind: str) -> bool:
        key = suffix_of(path), kind
        if key not in self._allowed:
            self._allowed[key] = is_allowed(path, kind, self.settings.types)
        return self._allowed[key]

    def findings(self) -> Iterator[Finding]:
        name = self.tree.name
        types = ", ".join(self.settings.types)
        for code, kept in (
            ("file-may-run", self.runs),
            ("file-is-two-things", self.double),
            ("file-type", self.foreign),
            ("file-name-misleads", self.misnamed),
            ("file-too-large", self.large),
        ):
            if kept.count:
                files, are = ("1 file", "is") if kept.count == 1 else (f"{kept.count:,} files", "are")
                most = self.settings.max_size or 0
                yield Finding.of(
                    code, tree=name, examples=kept.examples, files=files, are=are, types=types, most=most
                )
        if self.unknown and self.settings.types:
            yield Finding.of("policy-not-checked", tree=name, unknown=self.unknown)

    def counted(self) -> dict[str, int]:
        """Numbers that the UI plots over time."""
        found = {"policy_files": self.files, "policy_breaches": self._breaches()}
        common = [kind for kind, _ in self.kinds.most_common(MOST_TYPES)]
        for kind in self.kinds:
            name = kind.replace("/", "_").replace(".", "_").replace("+", "_").replace("-", "_")
            label = name if kind in common else "other"
            found[f"{label}_files"] = found.get(f"{label}_files", 0) + self.kinds[kind]
            found[f"{label}_bytes"] = found.get(f"{label}_bytes", 0) + self.sizes[kind]
        return found

    def _breaches(self) -> int:
        return sum(kept.count for kept in (self.large, self.foreign, self.misnamed, self.runs, self.double))


def _passes_as_text(kind: str, promised: frozenset[str]) -> bool:
    """Text is many things; a name that promises text of one sort is not contradicted by text of another."""
    if kind == UNKNOWN:
        return False
    textual = kind.startswith("text/") or kind in ("application/xml", "image/svg+xml", "image/vnd.dxf")
    return textual and TEXT in promised and not (kind == "text/html" or may_run(kind))
