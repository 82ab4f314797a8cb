"""One file after the other into its folder: no process ever sees half a file under its name, and none stays without
one.

A file is written without a name (`O_TMPFILE`), verified, and given its mode and times. It is made durable together with
others, and only then linked to its name. Where the file system cannot do that, it has a name of ours meanwhile
(`.restoring-…`). The name is the same every time, so that the next run removes the files of a killed one.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import os
import resource
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from backup_pipeline.errors import Damaged, RestoreError
from backup_pipeline.files.restore.anchored import Folders
from backup_pipeline.files.restore.spool import Item

#: So many files, or bytes, are made durable together: one round to the disk for all of them.
BATCH_FILES = 500
BATCH_BYTES = 256 * 1024 * 1024
#: What is looked at for a hole.
_PAGE = 64 * 1024
_ZEROS = bytes(_PAGE)
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT)


@dataclass(frozen=True, slots=True)
class Manners:
    """How files are given their attributes."""

    backup_id: str
    umask: int
    owner: bool = False
    keep: bool = True

    def mode_of(self, item: Item, default: int = 0o666) -> int:
        if item.mode is None:
            return default & ~self.umask
        # Without the owner that it was meant for, a set-user-id bit means another thing.
        return item.mode & 0o7777 if self.owner else item.mode & 0o1777


@dataclass
class _Written:
    """A file that waits for its name."""

    item: Item
    descriptor: int
    #: Empty: it has none.
    temporary: str = ""


class Writer:
    """Files of one thread. Leave it by `with`: what has no name yet is gone then."""

    def __init__(self, root: int, manners: Manners) -> None:
        self.folders = Folders(root)
        self.kept = 0
        self._root = root
        self._manners = manners
        self._waiting: list[_Written] = []
        self._bytes = 0
        # What has no name is linked to one by way of /proc.
        self._nameless = hasattr(os, "O_TMPFILE") and Path("/proc/self/fd").is_dir()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self._waiting:
            self._discard(one)
        self._waiting.clear()
        self.folders.__exit__(None, None, None)

    def write(self, item: Item, blocks: Iterable[bytes]) -> None:
        """`blocks` raise when they are not what the listing says: the file then never gets its name."""
        one = self._open(item)
        try:
            _fill(one.descriptor, item, blocks)
            self._dress(one.descriptor, item)
        except BaseException:
            self._discard(one)
            raise
        self._waiting.append(one)
        self._bytes += item.size
        if len(self._waiting) >= _most_open() or self._bytes >= BATCH_BYTES:
            self.settle()

    def settle(self) -> None:
        """Durable, and then in its place."""
        if not self._waiting:
            return
        sync_file_system(self._root)
        while self._waiting:
            self._name(self._waiting[-1])
            os.close(self._waiting.pop().descriptor)
        self._bytes = 0

    def _open(self, item: Item) -> _Written:
        folder, _ = self.folders.parent(item.path)
        if self._nameless:
            try:
                flags = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
                return _Written(item, os.open(".", flags, 0o600, dir_fd=folder))
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                self._nameless = False
        name = temporary_name(item.path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return _Written(item, os.open(name, flags, 0o600, dir_fd=folder), name)

    def _discard(self, one: _Written) -> None:
        with contextlib.suppress(OSError):
            if one.temporary:
                folder, _ = self.folders.parent(one.item.path)
                os.unlink(one.temporary, dir_fd=folder)
        os.close(one.descriptor)

    def _dress(self, descriptor: int, item: Item) -> None:
        if self._manners.owner and item.uid is not None and item.gid is not None:
            os.fchown(descriptor, item.uid, item.gid)
        os.fchmod(descriptor, self._manners.mode_of(item))
        os.utime(descriptor, ns=(item.mtime_ns, item.mtime_ns))

    def _name(self, one: _Written) -> None:
        folder, name = self.folders.parent(one.item.path)
        if one.item.replaces:
            temporary = one.temporary or temporary_name(one.item.path)
            if not one.temporary:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)
                _link_descriptor(one.descriptor, folder, temporary)
            try:
                self.make_way(folder, name)
                os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            return
        try:
            if not one.temporary:
                _link_descriptor(one.descriptor, folder, name)
                return
            self._name_without_replacing(one.temporary, folder, name)
        except FileExistsError:
            raise RestoreError(
                f"{one.item.path} came into being while the restore was running, by another program",
                remedy="run it again: what is there already is compared, and the rest goes on",
            ) from None

    def _name_without_replacing(self, temporary: str, folder: int, name: str) -> None:
        try:
            os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            raise
        except OSError:  # no hard links here (FAT, some network shares)
            with contextlib.suppress(FileNotFoundError):
                os.stat(name, dir_fd=folder, follow_symlinks=False)
                raise FileExistsError(name) from None
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        else:
            os.unlink(temporary, dir_fd=folder)

    def make_way(self, folder: int, name: str) -> None:
        """Keep what is there under another name; the name itself is never without a file."""
        if not self._manners.keep:
            return
        for number in range(1, 1000):
            aside = aside_name(name, self._manners.backup_id, number)
            try:
                os.link(name, aside, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                continue
            except FileNotFoundError:
                return
            except OSError:  # no hard links here
                os.rename(name, aside, src_dir_fd=folder, dst_dir_fd=folder)
            self.kept += 1
            return
        raise RestoreError(
            f"there is no free name to keep {name} beside it", remedy="remove old `.before-restore` files"
        )


@cache
def _most_open() -> int:
    """Every waiting file is open, in each of a few threads."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return BATCH_FILES if soft == resource.RLIM_INFINITY else max(8, min(BATCH_FILES, soft // 8))


def aside_name(name: str, backup_id: str, number: int = 1) -> str:
    """plan.pdf.before-restore-2026-11-21T02-00-00-123Z"""
    suffix = f".before-restore-{backup_id}" + (f".{number}" if number > 1 else "")
    room = 255 - len(suffix)
    return os.fsdecode(os.fsencode(name)[:room]) + suffix


def temporary_name(path: str) -> str:
    return f".restoring-{hashlib.sha256(os.fsencode(path)).hexdigest()[:24]}"


def _link_descriptor(descriptor: int, folder: int, name: str) -> None:
    # With a folder's descriptor this is linkat, which follows the link in /proc to the file itself.
    os.link(f"/proc/self/fd/{descriptor}", name, dst_dir_fd=folder, follow_symlinks=True)


def _fill(descriptor: int, item: Item, blocks: Iterable[bytes]) -> None:
    size = 0
    for block in blocks:
        size += len(block)
        if item.sparse:
            _write_around_holes(descriptor, block)
        else:
            _write_all(descriptor, block)
    if size != item.size:
        raise Damaged(
            f"{item.path}: its content in the backup is {size:,} bytes long, and its listing says {item.size:,}",
            remedy="run `verify`; restore it from another backup or a copy, and the rest with --salvage",
        )
    if item.sparse:
        os.ftruncate(descriptor, size)


def _write_around_holes(descriptor: int, block: bytes) -> None:
    for start in range(0, len(block), _PAGE):
        part = block[start : start + _PAGE]
        if not part[0] and part == _ZEROS[: len(part)]:
            os.lseek(descriptor, len(part), os.SEEK_CUR)
        else:
            _write_all(descriptor, part)


def _write_all(descriptor: int, block: bytes | memoryview) -> None:
    done = 0
    with memoryview(block) as view:
        while done < len(view):
            done += os.write(descriptor, view[done:])


_LIBC = ctypes.CDLL(None, use_errno=True)


def sync_file_system(descriptor: int) -> None:
    """Everything that was written to the file system of an open file or folder: one call for hundreds of files."""
    if not hasattr(_LIBC, "syncfs"):
        os.sync()
    elif _LIBC.syncfs(ctypes.c_int(descriptor)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
