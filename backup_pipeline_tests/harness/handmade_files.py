"""File trees written by hand: what FORMAT.md says of packs and listings, without the engine that backs trees up.

So what restores and verifies is tested against the format, and also against entries that our own writer never makes.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from backup_pipeline.model.files import LISTING_SUFFIX, PACK_SUFFIX, FileEntry, line_of
from backup_pipeline.model.manifest import FileTree, Manifest
from backup_pipeline.vault.packs import write_pack
from backup_pipeline.vault.vault import Vault
from backup_pipeline_tests.harness.handmade import Made, back_up_by_hand, table


def sorted_lines(entries: Iterable[FileEntry]) -> bytes:
    return b"".join(line_of(one) for one in sorted(entries, key=lambda one: one.sort_key))


def tree_of_entries(
    vault: Vault, entries: Sequence[FileEntry], *, name: str = "media", packs: Sequence[object] = ()
) -> FileTree:
    """A tree of exactly these entries, true or not."""
    listing = vault.writer.write_bytes(sorted_lines(entries), LISTING_SUFFIX)
    return FileTree(
        name,
        "local",
        "/srv/media",
        listing,
        files=sum(1 for one in entries if one.type == "file"),
        bytes=sum(one.size for one in entries if one.type == "file"),
        folders=sum(1 for one in entries if one.type == "folder"),
        links=sum(1 for one in entries if one.type == "link"),
        packs=tuple(packs),  # type: ignore[arg-type]
    )


def with_contents(
    vault: Vault, contents: dict[str, bytes], *, in_a_pack: int = 10, suffix: str = PACK_SUFFIX
) -> tuple[list[FileEntry], list[object]]:
    """Entries of files with these contents, and the packs that hold them; equal contents are stored once."""
    packs: list[object] = []
    found: dict[str, FileEntry] = {}
    distinct = list(dict.fromkeys(data for data in contents.values() if data))
    for start in range(0, len(distinct), in_a_pack):
        reference, entries = write_pack(
            vault.writer, distinct[start : start + in_a_pack], suffix, number=len(packs)
        )
        found |= {one.sha256: one for one in entries}
        packs.append(reference)
    made = []
    for path, data in contents.items():
        digest = hashlib.sha256(data).hexdigest()
        held = found.get(digest)
        made.append(
            FileEntry(
                path,
                size=len(data),
                mode=0o644,
                mtime_ns=1_700_000_000_123_456_789,
                sha256=digest,
                place=held.place if held else None,
            )
        )
    return made, packs


def tree_of_folder(vault: Vault, folder: Path, *, name: str = "media", in_a_pack: int = 10) -> FileTree:
    """A folder as it is."""
    contents: dict[str, bytes] = {}
    others: list[FileEntry] = []
    status: dict[str, os.stat_result] = {}
    first: dict[tuple[int, int], str] = {}
    for path in sorted(folder.rglob("*"), key=lambda one: os.fsencode(one.relative_to(folder))):
        relative, found = str(path.relative_to(folder)), path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        if path.is_symlink():
            target = str(path.readlink())
            others.append(FileEntry(relative, "link", mtime_ns=found.st_mtime_ns, target=target))
        elif path.is_dir():
            others.append(FileEntry(relative, "folder", mode=mode, mtime_ns=found.st_mtime_ns))
        elif (same := first.setdefault((found.st_dev, found.st_ino), relative)) != relative:
            others.append(FileEntry(relative, "hardlink", target=same))
        else:
            contents[relative] = path.read_bytes()
            status[relative] = found
    files, packs = with_contents(vault, contents, in_a_pack=in_a_pack)
    files = [
        replace(
            one,
            mode=stat.S_IMODE(status[one.path].st_mode),
            mtime_ns=status[one.path].st_mtime_ns,
            sparse=status[one.path].st_blocks * 512 < one.size,
        )
        for one in files
    ]
    return tree_of_entries(vault, [*files, *others], name=name, packs=packs)


def backup_of(vault: Vault, *trees: FileTree, rows: Sequence[Made] = (), number: int = 1) -> Manifest:
    return back_up_by_hand(vault, rows or [table("t", {"id": "integer"}, b"1\n")], number, files=trees)


def state_of(folder: Path, *, times: bool = True) -> dict[str, tuple[object, ...]]:
    """Everything about a folder that a restore has to bring back, by path."""
    found: dict[str, tuple[object, ...]] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        about: tuple[object, ...] = (stat.S_IMODE(status.st_mode),)
        if path.is_symlink():
            about = ("link", str(path.readlink()))
        elif path.is_file():
            about = ("file", *about, hashlib.sha256(path.read_bytes()).hexdigest(), status.st_nlink)
        else:
            about = ("folder", *about)
        found[str(path.relative_to(folder))] = (*about, status.st_mtime_ns) if times else about
    return found
