"""Which paths a listing may hold: a backup may come from an untrusted store.

A listing is sorted by the bytes of its paths. So an entry inside of a non-folder shows while the listing streams by.
Nothing here touches a disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from backup_pipeline.errors import Damaged
from backup_pipeline.model.files import FileEntry

#: What Linux takes for one name.
LONGEST_NAME = 255
_REMEDY = (
    "nothing was written. A backup made by backup-pipeline holds no such entry: another program changed or made it; "
    "restore another one, and look at who can write to the vault"
)


def why_hostile(path: str) -> str:
    """Why this path below a folder must not be written; empty when it may."""
    if not path:
        return "it is empty"
    if "\0" in path:
        return "it holds a NUL"
    if path.startswith("/"):
        return "it is absolute"
    for part in path.split("/"):
        if part in ("", "."):
            return "it holds an empty part or a single dot"
        if part == "..":
            return "it leads upwards"
    return ""


def _in_range(entry: FileEntry) -> bool:
    """What the system calls take; anything else would be an error in the middle of the work."""
    place = entry.place
    return (
        entry.size < 1 << 62
        and -(1 << 80) < entry.mtime_ns < 1 << 80
        and (entry.mode is None or 0 <= entry.mode <= 0o7777)
        and (entry.uid is None or 0 <= entry.uid < (1 << 32) - 1)
        and (entry.gid is None or 0 <= entry.gid < (1 << 32) - 1)
        and (place is None or (place.pack < 1 << 31 and place.offset < 1 << 62))
    )


def too_long(path: str) -> bool:
    """A bucket may hold such a key; no Linux file system takes it as a name."""
    # A letter is four bytes at most: nearly every path is too short for the question.
    return 4 * len(path) > LONGEST_NAME and any(
        len(os.fsencode(part)) > LONGEST_NAME for part in path.split("/")
    )


def leads_out(path: str, target: str) -> bool:
    """Whether a link at `path` points to something outside of its tree (by its text: nothing is followed)."""
    if target.startswith("/"):
        return True
    depth = path.count("/")
    for part in target.split("/"):
        if part == "..":
            depth -= 1
            if depth < 0:
                return True
        elif part not in ("", "."):
            depth += 1
    return False


def checked(entries: Iterable[FileEntry], *, what: str) -> Iterator[FileEntry]:
    """The same entries; Damaged at the first one out of its place, or that must not be written."""
    last = b""
    first = True
    # Entries that are no folders and whose path begins all that came since: what lies "in" one of them is hostile.
    above: list[FileEntry] = []
    for entry in entries:
        why = why_hostile(entry.path)
        key = entry.sort_key
        if not why and not first and key <= last:
            why = "it is there twice" if key == last else "the listing is not sorted"
        while above and not entry.path.startswith(above[-1].path):
            above.pop()
        if not why and any(entry.path[len(one.path)] == "/" for one in above if one.path != entry.path):
            why = "it lies in what is not a folder"
        if not why and entry.type == "link" and (not entry.target or "\0" in entry.target):
            why = "it is a link to nothing"
        if not why and entry.type == "hardlink" and why_hostile(entry.target):
            why = f"it shares a hostile path: {why_hostile(entry.target)}"
        if not why and not _in_range(entry):
            why = "it has a number that no file system takes"
        if why:
            raise Damaged(f"{what} names {entry.path!r}: {why}", remedy=_REMEDY)
        if entry.type != "folder":
            above.append(entry)
        last, first = key, False
        yield entry
