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
from backup_pipeline.files.restore.anchored import Folders, open_target
from backup_pipeline.files.restore.files_plan import FilesOrder
from backup_pipeline.files.restore.run import restore_files
from backup_pipeline.model.files import FileEntry
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.manifest import FileTree
from backup_pipeline.model.progress import Advance, Listener
from backup_pipeline.processes.scratch import Scratch
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.packs import EMPTY_SHA256

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
    backup: Backup,
    trees: Mapping[str, FilesSettings],
    *,
    everything: bool,
    listener: Listener,
    chance: random.Random | None = None,
) -> FilesDrill:
    """Of every tree of a backup. `trees`: what the configuration says of them: which rows name files."""
    begin = time.monotonic()
    done = FilesDrill()
    for tree in backup.manifest.files:
        _drill_tree(backup, tree, everything, done, listener, chance or random.SystemRandom())
    if any(settings.refs for settings in trees.values()):
        from backup_pipeline.references import file_references

        outcome = file_references.check(backup, trees, listener=listener)
        done.findings += outcome.findings
        done.counted.update(file_references.worth_saying(outcome.counted))
    done.seconds = time.monotonic() - begin
    return done


def _drill_tree(
    backup: Backup,
    tree: FileTree,
    everything: bool,
    done: FilesDrill,
    listener: Listener,
    chance: random.Random,
) -> None:
    try:
        sample = None if everything else Sample.of(backup.vault.listing(tree), tree, chance)
        needed = tree.bytes if sample is None else sample.bytes
        with Scratch.make(needed) as scratch:
            order = FilesOrder(
                trees=(tree.name,),
                only_referenced=sample is not None,
                outside_links=True,
                owner=False,
                salvage=True,
            )
            target = scratch.folder / "files"
            chosen = None if sample is None else {tree.name: sample.paths}
            result = restore_files(backup, target, order, referenced=chosen, listener=listener)
            done.findings += [one for one in result.findings if one.severity == "error"]
            wanted = None if sample is None else frozenset(sample.paths)
            listener(Advance("compare", tree.name, note="restored files with the listing"))
            differing = list(_compare(target, backup.vault.listing(tree), wanted, done.counted))
    except (Damaged, RestoreError) as error:
        done.findings.append(_failed(tree, error))
        return
    done.counted["files_in_backup"] += tree.files
    if differing:
        done.findings.append(
            Finding.of("file-differs/tree", tree=tree.name, count=len(differing), examples=differing[:_SHOWN])
        )


def _failed(tree: FileTree, error: BackupError) -> Finding:
    return Finding.of_error(error, f"{tree.name}: {error.message}", tree=tree.name)


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
    """From the outside: what lies there now, read again, against what the listing says. From folder to folder, as it was
    restored: a path may be longer than the system takes in one piece."""
    root = open_target(target, make=True)
    assert root is not None
    try:
        with Folders(root) as folders:
            for entry in entries:
                if wanted is None or entry.path in wanted:
                    try:
                        why = _difference(folders, entry, whole=wanted is None)
                    except OSError as error:
                        yield f"{entry.path}: {error.strerror}"
                        continue
                    if why:
                        yield f"{entry.path}: {why}"
                    counted[f"{entry.type}s" if entry.type != "file" else "files"] += 1
                    counted["restored_bytes"] += entry.size
                _open_up(folders, entry)
    finally:
        os.close(root)


def _open_up(folders: Folders, entry: FileEntry) -> None:
    """A folder that its owner may not enter: what is in it is to be looked at all the same."""
    if entry.type == "folder" and entry.mode is not None and entry.mode & 0o500 != 0o500:
        with suppress(OSError):
            above, name = folders.parent(entry.path)
            os.chmod(name, 0o700, dir_fd=above)


def _difference(folders: Folders, entry: FileEntry, *, whole: bool) -> str:
    above, name = folders.parent(entry.path)
    status = os.stat(name, dir_fd=above, follow_symlinks=False)
    mode = status.st_mode
    if entry.type == "link":
        if not stat.S_ISLNK(mode):
            return "it is no link"
        return "" if os.readlink(name, dir_fd=above) == entry.target else "it points elsewhere"
    if entry.type == "folder":
        if not stat.S_ISDIR(mode):
            return "it is no folder"
        same = entry.mode is None or stat.S_IMODE(mode) & 0o1777 == entry.mode & 0o1777
        return "" if same else f"its mode is {stat.S_IMODE(mode):o} and not {entry.mode:o}"
    if not stat.S_ISREG(mode):
        return "it is no file"
    if entry.type == "hardlink":
        other = folders.status(entry.target) if whole else status
        linked = other is not None and os.path.samestat(status, other)
        return "" if linked else f"it is not the same file as {entry.target}"
    if status.st_size != entry.size:
        return f"it is {status.st_size:,} bytes long and not {entry.size:,}"
    if entry.mode is not None and stat.S_IMODE(mode) != entry.mode & 0o1777:
        return f"its mode is {stat.S_IMODE(mode):o} and not {entry.mode & 0o1777:o}"
    if status.st_mtime_ns != entry.mtime_ns:
        return "its time is another one"
    # Its mode has been compared, and may forbid to read it.
    os.chmod(name, 0o600, dir_fd=above)
    with folders.reading(entry.path) as descriptor, open(descriptor, "rb", closefd=False) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return "" if digest == (entry.sha256 or EMPTY_SHA256) else "its content is another one"
