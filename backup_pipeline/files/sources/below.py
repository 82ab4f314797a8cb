"""Open folders below one folder, entered part by part, never through a link and never by a path longer than a name.

A path that is looked up as a whole can lead out of the tree: a folder may become a link at that moment. The
kernel takes no path of more than 4,096 bytes. So every step goes from an open folder to a name in it.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
#: Open folders that are kept for the entries that follow.
_KEPT = 48


class Below:
    """One in each thread: a descriptor that it gives stays valid until the next call, and no longer."""

    def __init__(self, root: Path) -> None:
        self._open: OrderedDict[str, int] = OrderedDict()
        # The root may be a link: its user named it.
        self._root = os.open(root, _FOLDER)

    def close(self) -> None:
        while self._open:
            os.close(self._open.popitem()[1])
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    def __del__(self) -> None:
        # The thread that it belongs to has ended.
        if hasattr(self, "_root"):
            self.close()

    def parent(self, path: str) -> tuple[int, str]:
        folder, _, name = path.rpartition("/")
        return self.folder(folder), name

    def folder(self, path: str) -> int:
        """Raises OSError as `open` does: ELOOP or ENOTDIR where there is a link or a file in the way."""
        if not path:
            return self._root
        found = self._open.get(path)
        if found is not None:
            self._open.move_to_end(path)
            return found
        while len(self._open) > _KEPT:
            os.close(self._open.popitem(last=False)[1])
        return self._enter(path)

    def status(self, path: str) -> os.stat_result:
        """Of the entry itself, never of what a link points to."""
        folder, name = self.parent(path)
        return os.stat(name, dir_fd=folder, follow_symlinks=False)

    def _enter(self, path: str) -> int:
        """From the nearest folder that is open. Without recursion: a tree may be deeper than the stack. What is opened on
        the way is closed at once, so that depth costs no descriptors."""
        cut = path.rfind("/")
        while cut > 0 and path[:cut] not in self._open:
            cut = path.rfind("/", 0, cut)
        at = self._open[path[:cut]] if cut > 0 else self._root
        begin, passing = max(cut, -1) + 1, -1
        for part in path[begin:].split("/"):
            try:
                entered = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=at)
            finally:
                if passing >= 0:
                    os.close(passing)
            at = passing = entered
        self._open[path] = at
        return at
