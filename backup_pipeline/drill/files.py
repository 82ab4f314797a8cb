"""A drill of file trees: a sample of each is restored for real, by the code that an emergency would use, and compared
with the listing from the outside. Everything is, when it is asked for.

The sample is another one every time, and never only of one kind: contents of several packs (the newest always), the
newest files, large ones, files that are kept as blocks, links, hard links and empty folders.
"""

from __future__ import annotations

import hashlib
import heapq
import os
import random
import stat
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from backup_pipeline.config.trees import FilesSettings
from backup_pipeline.errors import BackupError, Damaged, RestoreError
from backup_pipeline.model.files import FileEntry, read_lines
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree, Manifest
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.restore.files import FilesOrder, restore_files
from backup_pipeline.sources.sqlite.scratch import Scratch
from backup_pipeline.vault.packs import EMPTY_SHA256
from backup_pipeline.vault.vault import Vault

#: At least so many files of a tree, or this part of them; at most so many.
FEWEST, PART, MOST = 200, 0.01, 2000
#: Reading one file of a pack may mean reading all of it.
PACKS = 24
#: A sample is a look, not a full restore: what is larger than this is left to `--all-files`.
LARGEST = 1 << 30
#: … nor are many large ones: what is above this in all stays for the next time, which takes another sample.
MOST_BYTES = 4 << 30
_EXTREMES = 5
_SHOWN = 10


@dataclass
class FilesDrill:
    """What was restored and compared."""

    findings: list[Finding] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


def drill_files(
    vault: Vault,
    manifest: Manifest,
    trees: Mapping[str, FilesSettings],
    *,
    everything: bool,
    listener: Listener,
    chance: random.Random | None = None,
) -> FilesDrill:
    """Of every tree of a backup. `trees`: what the configuration says of them: which rows name files."""
    begin = time.monotonic()
    done = FilesDrill()
    for tree in manifest.files:
        _drill_tree(vault, manifest, tree, everything, done, listener, chance or random.SystemRandom())
    if any(settings.refs for settings in trees.values()):
        from backup_pipeline.checks import file_references

        outcome = file_references.check(vault, manifest, vault.schema(manifest), trees, listener=listener)
        done.findings += outcome.findings
        done.counted.update(file_references.worth_saying(outcome.counted))
    done.seconds = time.monotonic() - begin
    return done


def _drill_tree(
    vault: Vault,
    manifest: Manifest,
    tree: FileTree,
    everything: bool,
    done: FilesDrill,
    listener: Listener,
    chance: random.Random,
) -> None:
    try:
        sample = None if everything else Sample.of(_entries(vault, tree), tree, chance)
        needed = tree.bytes if sample is None else sample.bytes
        with Scratch.make(needed) as scratch:
            order = FilesOrder(
                (tree.name,),
                only_referenced=sample is not None,
                outside_links=True,
                owner=False,
                salvage=True,
            )
            target = scratch.folder / "files"
            chosen = None if sample is None else {tree.name: sample.paths}
            result = restore_files(vault, manifest, target, order, referenced=chosen, listener=listener)
            done.findings += [one for one in result.findings if one.severity == "error"]
            wanted = None if sample is None else frozenset(sample.paths)
            listener(Advance("compare", tree.name, note="restored files with the listing"))
            differing = list(_compare(target, _entries(vault, tree), wanted, done.counted))
    except (Damaged, RestoreError) as error:
        done.findings.append(_failed(tree, error))
        return
    done.counted["files_in_backup"] += tree.files
    if differing:
        done.findings.append(
            Finding(
                "error",
                "file-differs",
                f"{len(differing):,} restored files of {tree.name} are not what was backed up",
                tree=tree.name,
                remedy="`verify` says whether the backup is whole",
                examples=tuple(differing[:_SHOWN]),
            )
        )


def _failed(tree: FileTree, error: BackupError) -> Finding:
    return Finding("error", error.code, f"{tree.name}: {error.message}", tree=tree.name, remedy=error.remedy)


def _entries(vault: Vault, tree: FileTree) -> Iterator[FileEntry]:
    return read_lines(vault.blocks(tree.listing), what=f"the listing of {tree.name}")


# ── which


@dataclass(frozen=True, slots=True)
class Sample:
    #: In the order of the listing.
    paths: tuple[str, ...]
    bytes: int

    @staticmethod
    def of(entries: Iterable[FileEntry], tree: FileTree, chance: random.Random) -> Sample:
        most = min(MOST, max(FEWEST, int(tree.files * PART)))
        packs = _packs(len(tree.packs), chance)
        reservoirs = {pack: _Reservoir(max(1, most // max(1, len(packs))), chance) for pack in packs}
        kinds = {kind: _Reservoir(20, chance) for kind in ("folder", "link", "hardlink", "empty", "image")}
        newest: list[tuple[int, str, int]] = []
        largest: list[tuple[int, str, int]] = []
        for entry in entries:
            if entry.size > LARGEST:
                continue
            kind = _kind(entry)
            if kind is not None:
                kinds[kind].offer(entry)
            elif entry.place is not None and entry.place.pack in reservoirs:
                reservoirs[entry.place.pack].offer(entry)
                _keep(newest, (entry.mtime_ns, entry.path, entry.size))
                _keep(largest, (entry.size, entry.path, entry.size))
        others = [one for reservoir in reservoirs.values() for one in reservoir.kept]
        chance.shuffle(others)
        found: dict[str, int] = {}
        left = MOST_BYTES
        for path, size in (
            *((path, size) for _, path, size in sorted(newest, reverse=True)),
            *(one for reservoir in kinds.values() for one in reservoir.kept),
            *((path, size) for _, path, size in sorted(largest, reverse=True)),
            *others,
        ):
            if path not in found and size <= left:
                found[path] = size
                left -= size
        return Sample(tuple(sorted(found, key=os.fsencode)), sum(found.values()))


def _kind(entry: FileEntry) -> str | None:
    if entry.type != "file":
        return entry.type
    if entry.image is not None:
        return "image"
    return "empty" if entry.place is None else None


def _packs(count: int, chance: random.Random) -> frozenset[int]:
    """The last ones hold what is newest."""
    if count <= PACKS:
        return frozenset(range(count))
    newest = range(count - PACKS // 4, count)
    return frozenset((*newest, *chance.sample(range(count - PACKS // 4), PACKS - PACKS // 4)))


def _keep(heap: list[tuple[int, str, int]], one: tuple[int, str, int]) -> None:
    if len(heap) < _EXTREMES:
        heapq.heappush(heap, one)
    else:
        heapq.heappushpop(heap, one)


class _Reservoir:
    """So many of a stream of unknown length, each with the same chance."""

    def __init__(self, most: int, chance: random.Random) -> None:
        self.kept: list[tuple[str, int]] = []
        self._most = most
        self._chance = chance
        self._seen = 0

    def offer(self, entry: FileEntry) -> None:
        self._seen += 1
        if len(self.kept) < self._most:
            self.kept.append((entry.path, entry.size))
        elif (place := self._chance.randrange(self._seen)) < self._most:
            self.kept[place] = entry.path, entry.size


# ── comparing


def _compare(
    target: Path, entries: Iterable[FileEntry], wanted: frozenset[str] | None, counted: Counter[str]
) -> Iterator[str]:
    """From the outside: what lies there now, read again, against what the listing says."""
    for entry in entries:
        path = target / entry.path
        if wanted is not None and entry.path not in wanted:
            _open_up(path, entry)
            continue
        try:
            status = path.lstat()
        except OSError as error:
            yield f"{entry.path}: {error.strerror}"
            continue
        why = _difference(path, status, entry, whole=wanted is None)
        if why:
            yield f"{entry.path}: {why}"
        _open_up(path, entry)
        counted[f"{entry.type}s" if entry.type != "file" else "files"] += 1
        counted["restored_bytes"] += entry.size


def _open_up(path: Path, entry: FileEntry) -> None:
    """A folder that its owner may not enter: what is in it is to be looked at all the same."""
    if entry.type == "folder" and entry.mode is not None and entry.mode & 0o500 != 0o500:
        with suppress(OSError):
            path.chmod(0o700)


def _difference(path: Path, status: os.stat_result, entry: FileEntry, *, whole: bool) -> str:
    mode = status.st_mode
    if entry.type == "link":
        if not stat.S_ISLNK(mode):
            return "it is no link"
        return "" if os.readlink(path) == entry.target else "it points elsewhere"  # noqa: PTH115
    if entry.type == "folder":
        if not stat.S_ISDIR(mode):
            return "it is no folder"
        same = entry.mode is None or stat.S_IMODE(mode) & 0o1777 == entry.mode & 0o1777
        return "" if same else f"its mode is {stat.S_IMODE(mode):o} and not {entry.mode:o}"
    if not stat.S_ISREG(mode):
        return "it is no file"
    if entry.type == "hardlink":
        linked = not whole or path.samefile(_root_of(path, entry.path) / entry.target)
        return "" if linked else f"it is not the same file as {entry.target}"
    if status.st_size != entry.size:
        return f"it is {status.st_size:,} bytes long and not {entry.size:,}"
    if entry.mode is not None and stat.S_IMODE(mode) != entry.mode & 0o1777:
        return f"its mode is {stat.S_IMODE(mode):o} and not {entry.mode & 0o1777:o}"
    if status.st_mtime_ns != entry.mtime_ns:
        return "its time is another one"
    path.chmod(0o600)  # whoever owns it may read it now
    if _sha256(path) != (entry.sha256 or EMPTY_SHA256):
        return "its content is another one"
    return ""


def _root_of(path: Path, relative: str) -> Path:
    return Path(str(path)[: -len(relative)])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
