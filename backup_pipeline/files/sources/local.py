"""A folder of this machine, or single files of it, as a file tree.

The walk goes from open folder to open folder (`below`), in the order of the bytes of the paths. It has one folder's
names in memory at a time. It crosses into other file systems that are mounted below the root: the user means all that
the
path shows. A volume that is silently left out would be missed on the worst day. `exclude` keeps them out.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from backup_pipeline.databases.sqlite import header
from backup_pipeline.errors import SourceError
from backup_pipeline.files.sources.base import Found, Trouble, Unreadable, Vanished
from backup_pipeline.files.sources.below import Below
from backup_pipeline.files.sources.matching import Patterns, is_literal
from backup_pipeline.model.findings import Report

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
#: Reading leaves no trace, where we own the file. Elsewhere than on Linux there is no such flag.
_NOATIME = getattr(os, "O_NOATIME", 0)
_SPECIAL = {
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
#: What changes when a SQLite database beside it does, though the database file itself does not.
_WRITTEN_BESIDE = (b"-journal", b"-wal")
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ESTALE)


class LocalSource:
    kind = "local"

    def __init__(
        self,
        root: Path,
        include: tuple[str, ...] = (),
        exclude: tuple[str, ...] = (),
        *,
        paths: tuple[str, ...] = (),
        apart: tuple[Path, ...] = (),
    ) -> None:
        """`paths`: only these files and patterns of the folder, each from its root (`.env.example`, `settings/*.py`).
        `apart`: folders that are left out wherever they lie in it: a vault in its own backups would double every night."""
        self.root = root
        self.apart = apart
        self.paths = paths
        self.patterns = Patterns(paths or include, exclude, anchored=bool(paths))
        self._threads = threading.local()

    @property
    def address(self) -> str:
        return str(self.root)

    # ── listing

    def entries(self) -> Iterator[Found | Trouble]:
        """Folders that are entered because of what `include` names in them are no entries themselves."""
        below = self._opened()
        try:
            yield from self._walk(below, self._left_out())
            yield from self._missing(below)
        finally:
            below.close()

    def _opened(self) -> Below:
        try:
            return Below(self.root)
        except OSError as error:
            raise SourceError(
                f"the folder {self.root} cannot be read: {error.strerror}",
                remedy="is it mounted? Check `path:` of the file tree, and that the user that runs backups may read it",
            ) from error

    def _left_out(self) -> frozenset[tuple[int, int]]:
        """By what they are, and not by a path: that may lead there in several ways."""
        found = set()
        for folder in self.apart:
            with contextlib.suppress(OSError):
                status = folder.stat()
                found.add((status.st_dev, status.st_ino))
        return frozenset(found)

    def _walk(self, below: Below, apart: frozenset[tuple[int, int]]) -> Iterator[Found | Trouble]:
        """Depth first and without recursion. A folder's entry comes with its siblings, what is in it where `name/` sorts:
        behind `name-`, whose bytes are smaller."""
        stack = [("", *self._names(below, ""))]
        while stack:
            prefix, names, databases = stack[-1]
            name = next(names, None)
            if name is None:
                stack.pop()
            elif name.endswith(b"/"):
                path = prefix + os.fsdecode(name[:-1])
                if self.patterns.excludes(path, folder=True) or not self.patterns.may_hold(path):
                    continue
                try:
                    if apart and _identity(os.fstat(below.folder(path))) in apart:
                        continue
                    inner = self._names(below, path)
                except OSError as error:
                    if error.errno not in (*_GONE, errno.ELOOP):
                        yield Trouble(path, "folder-unreadable", f"{path}: {error.strerror}")
                    continue
                stack.append((path + "/", *inner))
            else:
                yield from self._entry(below, prefix + os.fsdecode(name), name in databases, apart)

    def _names(self, below: Below, folder: str) -> tuple[Iterator[bytes], frozenset[bytes]]:
        """What there is, and which of it has something beside it that SQLite may have written."""
        with os.scandir(below.folder(folder)) as found:
            names = []
            for entry in found:
                name = os.fsencode(entry.name)
                names.append(name)
                if entry.is_dir(follow_symlinks=False):
                    names.append(name + b"/")
        names.sort()
        written = [name for name in names if name.endswith(_WRITTEN_BESIDE)]
        return iter(names), frozenset(name.rpartition(b"-")[0] for name in written)

    def _entry(
        self, below: Below, path: str, database: bool, apart: frozenset[tuple[int, int]]
    ) -> Iterator[Found | Trouble]:
        try:
            folder, name = below.parent(path)
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except OSError as error:
            if error.errno not in _GONE:
                yield Trouble(path, "file-unreadable", f"{path}: {error.strerror}")
            return
        is_folder = stat.S_ISDIR(status.st_mode)
        if self.patterns.excludes(path, folder=is_folder) or not self.patterns.includes(
            path, folder=is_folder
        ):
            return
        if is_folder and _identity(status) in apart:
            yield Trouble(path, "backups-inside", path)
            return
        special = _SPECIAL.get(stat.S_IFMT(status.st_mode))
        if special is not None:
            yield Trouble(path, "file-special", f"{path} is {special}")
            return
        try:
            yield self._found(path, status, folder, name, database=database)
        except OSError as error:
            if error.errno not in _GONE:
                yield Trouble(path, "file-unreadable", f"{path}: {error.strerror}")

    def _found(self, path: str, status: os.stat_result, folder: int, name: str, *, database: bool) -> Found:
        mode, about = stat.S_IMODE(status.st_mode), (status.st_mtime_ns, status.st_uid, status.st_gid)
        if stat.S_ISDIR(status.st_mode):
            return Found(path, "folder", 0, mode, about[0], uid=about[1], gid=about[2])
        if stat.S_ISLNK(status.st_mode):
            target = os.readlink(name, dir_fd=folder)
            return Found(path, "link", 0, None, about[0], target, about[1], about[2])
        state = {"ctime_ns": str(status.st_ctime_ns), "inode": str(status.st_ino)}
        if database and (beside := _written_beside(folder, name)):
            state["beside"] = beside
        return Found(
            path,
            "file",
            status.st_size,
            mode,
            about[0],
            uid=about[1],
            gid=about[2],
            state=state,
            sparse=status.st_blocks * 512 < status.st_size,
            identity=f"{status.st_dev}:{status.st_ino}" if status.st_nlink > 1 else "",
        )

    def _missing(self, below: Below) -> Iterator[Trouble]:
        """Single files that were asked for by name and are not there."""
        for path in self.paths:
            if is_literal(path):
                try:
                    below.status(path.removeprefix("./").strip("/"))
                except OSError as error:
                    yield Trouble(path, "path-missing", f"{path}: {error.strerror}")

    # ── reading

    def open(self, found: Found) -> AbstractContextManager[BinaryIO]:
        return self._open(found)

    @contextmanager
    def _open(self, found: Found) -> Iterator[BinaryIO]:
        kept = self._kept(found)
        if kept is not None:
            yield cast(BinaryIO, _Sparse(kept))
            return
        descriptor = self.descriptor(found)
        try:
            if found.sparse:
                yield cast(BinaryIO, _Sparse(descriptor))
            else:
                with io.FileIO(descriptor, "r", closefd=False) as file:
                    yield cast(BinaryIO, file)
        except OSError as error:
            raise Unreadable(f"{found.path}: {error.strerror}") from error
        finally:
            # To close a database file would take its locks from an application in this very process (`header`).
            if not header.keep(descriptor):
                os.close(descriptor)

    def _kept(self, found: Found) -> int | None:
        """A database that was opened before, and that stays open."""
        if not header.knows(int(found.state.get("inode", -1))):
            return None
        try:
            folder, name = self._below.parent(found.path)
            return header.kept(os.stat(name, dir_fd=folder, follow_symlinks=False))
        except OSError:
            return None

    def read_into(self, found: Found, buffer: memoryview) -> bool:
        """The whole content of a file that is still as it was listed. False: it is not, or it cannot be read like this;
        `open` and `settled` find out why. Not for this process: SQLite in it would lose its locks (`header`)."""
        try:
            descriptor = self.descriptor(found)
            try:
                done = 0
                while done < found.size and (count := os.readv(descriptor, [buffer[done:]])):
                    done += count
            finally:
                os.close(descriptor)
            folder, name = self._below.parent(found.path)
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except (OSError, Unreadable, Vanished):
            return False
        state = {"ctime_ns": str(status.st_ctime_ns), "inode": str(status.st_ino)}
        now = (status.st_size, status.st_mtime_ns, state)
        return done == found.size and now == (found.size, found.mtime_ns, found.state)

    def descriptor(self, found: Found) -> int:
        """The open file; the caller closes it."""
        try:
            folder, name = self._below.parent(found.path)
            try:
                descriptor = os.open(name, _READ | _NOATIME, dir_fd=folder)
            except PermissionError:
                if not _NOATIME:
                    raise
                descriptor = os.open(name, _READ, dir_fd=folder)
        except OSError as error:
            if error.errno in (*_GONE, errno.ELOOP, errno.ENXIO):
                raise Vanished(f"{found.path}: {error.strerror}") from error
            raise Unreadable(f"{found.path}: {error.strerror}") from error
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise Vanished(f"{found.path} is not a file any more")
        return descriptor

    def settled(self, found: Found) -> Found | None:
        try:
            folder, name = self._below.parent(found.path)
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_IFMT(status.st_mode) in _SPECIAL:
                return None
            return self._found(found.path, status, folder, name, database="beside" in found.state)
        except OSError as error:
            if error.errno in (*_GONE, errno.ELOOP):
                return None
            raise Unreadable(f"{found.path}: {error.strerror}") from error

    @property
    def _below(self) -> Below:
        below: Below | None = getattr(self._threads, "below", None)
        if below is None:
            below = self._threads.below = self._opened()
        return below

    def real_path(self, found: Found) -> Path:
        """For what can only be opened by its path (SQLite, which looks for files beside it)."""
        return self.root.resolve() / found.path

    # ── is it ready?

    def may_read(self, found: Found) -> bool:
        folder, name = self._below.parent(found.path)
        try:
            return os.access(name, os.R_OK, dir_fd=folder, effective_ids=True)
        except OSError:
            return True  # gone meanwhile: nothing is said about rights

    def diagnose(self) -> Report:
        from backup_pipeline.files.sources.local_diagnosis import diagnose

        return diagnose(self)


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _written_beside(folder: int, name: str) -> str:
    """A -wal or a journal of a database: what was committed is there, and not yet in the file."""
    parts = []
    for suffix in ("-journal", "-wal"):
        with contextlib.suppress(OSError):
            status = os.stat(name + suffix, dir_fd=folder, follow_symlinks=False)
            if status.st_size:
                parts.append(f"{suffix}:{status.st_size}:{status.st_mtime_ns}:{status.st_ino}")
    return ",".join(parts)


class _Sparse(io.RawIOBase):
    """A file with holes: what is not on the disk is not read from it."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._at = 0
        #: Up to here is a hole, or data.
        self._hole_until = 0
        self._data_until = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        with memoryview(buffer).cast("B") as view:
            if self._at >= max(self._hole_until, self._data_until) and not self._look():
                return 0
            if self._at < self._hole_until:
                size = min(len(view), self._hole_until - self._at)
                view[:size] = bytes(size)
            else:
                size = os.preadv(
                    self._descriptor, [view[: min(len(view), self._data_until - self._at)]], self._at
                )
            self._at += size
            return size

    def _look(self) -> bool:
        """Where the next hole or the next data ends. False at the end of the file."""
        end = os.fstat(self._descriptor).st_size
        if self._at >= end:
            return False
        try:
            start = os.lseek(self._descriptor, self._at, os.SEEK_DATA)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            start = end
        if start > self._at:
            self._hole_until = start
        else:
            self._data_until = os.lseek(self._descriptor, self._at, os.SEEK_HOLE)
        return True
