"""Work below one open folder, and nowhere else.

Every step goes from an open folder to a name in it, and never follows a link (`O_NOFOLLOW`). A link in the way, also a
new one, is an error and not a way out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from backup_pipeline.errors import InTheWay, RestoreError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Open folders that are kept for the files that follow.
_KEPT = 64


class Folders:
    """A folder and what is below it, by relative path. Use one in each thread."""

    def __init__(self, root: int) -> None:
        self._root = root
        self._open: OrderedDict[str, int] = OrderedDict()

    def __enter__(self) -> Folders:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._open:
            os.close(self._open.popitem()[1])

    def parent(self, path: str) -> tuple[int, str]:
        """The open folder that an entry lies in, and its name there."""
        folder, _, name = path.rpartition("/")
        return self.folder(folder), name

    def folder(self, path: str) -> int:
        """An open folder; the descriptor stays ours. FileNotFoundError where there is none, InTheWay where there is
        something else."""
        # Before, and never after: what the last call gave must still be open when this one is done.
        while len(self._open) > _KEPT:
            os.close(self._open.popitem(last=False)[1])
        return self._folder(path)

    def _folder(self, path: str) -> int:
        """Part by part and without recursion: a tree may be deeper than the stack."""
        at, begin = self._root, 0
        if path in self._open:
            self._open.move_to_end(path)
            return self._open[path]
        while begin < len(path):
            end = path.find("/", begin)
            end = len(path) if end < 0 else end
            here = path[:end]
            if here not in self._open:
                self._open[here] = self._enter(at, path[begin:end], here)
            self._open.move_to_end(here)
            at, begin = self._open[here], end + 1
        return at

    def _enter(self, above: int, name: str, path: str) -> int:
        try:
            return os.open(name, _FOLDER, dir_fd=above)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            raise InTheWay(
                f"{path} is {what_is_at(above, name)} in the target, and should be a folder",
                remedy="move it away, or restore to another folder: a restore never goes through a link",
            ) from None

    def status(self, path: str) -> os.stat_result | None:
        """Of the entry itself, never of what a link points to; None where nothing is."""
        try:
            folder, name = self.parent(path)
            return os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def make(self, path: str, mode: int) -> bool:
        """A folder and those above it. False: it was there."""
        try:
            self.folder(path)
        except FileNotFoundError:
            pass
        else:
            return False
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            here, last = "/".join(parts[:count]), count == len(parts)
            try:
                self.folder(here)
            except FileNotFoundError:
                above, name = self.parent(here)
                with contextlib.suppress(FileExistsError):  # another thread was faster
                    os.mkdir(name, mode if last else 0o777, dir_fd=above)
        self.folder(path)
        return True

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[int]:
        folder, name = self.parent(path)
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(name, flags, dir_fd=folder)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise InTheWay(f"{path} is not a file in the target any more", remedy="run it again")
            yield descriptor
        finally:
            os.close(descriptor)


def what_is_at(folder: int, name: str) -> str:
    try:
        return kind_of(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return "something else"


def kind_of(mode: int) -> str:
    """For people."""
    for test, word in (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISREG, "a file"),
        (stat.S_ISFIFO, "a named pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if test(mode):
            return word
    return "a device"


def open_target(path: Path, *, make: bool) -> int | None:
    """The target folder, which its user named: links on the way to it are his business. None: it is not there."""
    try:
        if make:
            path.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except (NotADirectoryError, FileExistsError):
        raise RestoreError(
            f"{path} is not a folder", remedy="name a folder with --to or --files-to"
        ) from None
    except OSError as error:
        raise RestoreError(f"cannot write to {path}: {error.strerror}") from error


_UMASK = threading.Lock()


def current_umask() -> int:
    """Read, and not set for a moment: another thread may be making a file."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("Umask:"):
                return int(line.split()[1], 8)
    with _UMASK:
        found = os.umask(0o077)
        os.umask(found)
        return found
