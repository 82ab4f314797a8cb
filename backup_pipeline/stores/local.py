"""A folder as a store: the five verbs over a local or mounted file system.

A file appears under its name only when it is whole and durable: temporary file in `tmp/` of the same folder → write →
length → fsync → read-only → link or rename → fsync of the folder. Who may read it: `rights`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from backup_pipeline.errors import AlreadyExists, NotFound, VaultError
from backup_pipeline.model.findings import Finding
from backup_pipeline.stores.base import Features, Stat, Store, check_key
from backup_pipeline.stores.rights import close_to_others, file_mode, limit, make_folders, sync
from backup_pipeline.stores.staging import explained, read_of, staging_name, sweep_folder

#: How file systems say that they have no hard links. rclone's mount says EIO.
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EIO}


@dataclass(frozen=True)
class LocalStore(Store):
    root: Path
    #: That may read it, too.
    group: str | None = field(default=None, kw_only=True)

    @property
    def features(self) -> Features:
        return Features(moves_staged_files=True)

    @property
    def address(self) -> str:
        return str(self.root)

    @property
    def folder(self) -> Path:
        return self.root

    def staging(self) -> Path:
        folder = self.root / "tmp"
        with explained(f"cannot make {folder}"):
            make_folders(folder, self.root, self.group)
            close_to_others(folder)
        return folder

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        target = self.root / check_key(key)
        with explained(f"cannot write {key} in {self.root}"):
            make_folders(target.parent, self.root, self.group)
            staged = data if isinstance(data, Path) else self._stage(data)
            try:
                size = staged.stat().st_size
                if isinstance(data, bytes) and size != len(data):
                    raise VaultError(f"{key}: {len(data)} bytes were written, {size} arrived")
                sync(staged)
                limit(staged, file_mode(target.parent))
                if overwrite:
                    staged.replace(target)
                else:
                    self._publish(staged, target)
                sync(target.parent)
            except FileExistsError:
                if not isinstance(data, Path):
                    staged.unlink()
                raise AlreadyExists(f"{key} is already in {self.root}") from None
            except BaseException:
                if not isinstance(data, Path):
                    staged.unlink(missing_ok=True)
                raise

    def _publish(self, staged: Path, target: Path) -> None:
        """link, not rename: a rename would replace what another writer just put there."""
        try:
            target.hardlink_to(staged)
        except OSError as error:
            if error.errno in _NO_LINKS and not self._has_links(staged):
                raise VaultError(
                    f"the file system of {self.root} has no hard links (FAT, exFAT, rclone and some network mounts): a file cannot be "
                    "created there without the danger to write over another one",
                    remedy="use a disk with a file system that has them (ext4, XFS, Btrfs, NTFS), or reach that server by "
                    "sftp:// or s3://",
                ) from error
            raise
        staged.unlink()

    def _has_links(self, staged: Path) -> bool:
        """Beside itself: there only the file system can be what refuses."""
        probe = self.staging() / staging_name()
        try:
            probe.hardlink_to(staged)
        except OSError:
            return False
        probe.unlink()
        return True

    def _stage(self, data: bytes) -> Path:
        path = self.staging() / staging_name()
        try:
            path.write_bytes(data)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    @contextmanager
    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        # No Path: making one takes as long as opening the file.
        path = f"{self.root}/{check_key(key)}"
        what = f"cannot read {path}"
        try:
            with read_of(what):
                file: BinaryIO = open(path, "rb")  # noqa: PTH123, SIM115 - closed below
        except OSError:
            raise NotFound(f"{key} is not in {self.root}") from None
        # What the caller does with the bytes may raise an OSError as well: that one is not the store's.
        with file:
            if offset:
                with read_of(what):
                    file.seek(offset)
            yield _Reading(file, length, what)  # type: ignore[misc]

    def stat(self, key: str) -> Stat | None:
        try:
            with read_of(f"cannot look at {key} in {self.root}"):
                status = (self.root / check_key(key)).stat()
        except OSError:
            return None
        return Stat(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Keys that start with `prefix`; only folders that can hold such keys are read."""
        folder, _, _ = prefix.rpartition("/")
        yield from (stat for stat in self._walk(folder) if stat.key.startswith(prefix))

    def _walk(self, folder: str) -> Iterator[Stat]:
        for entry, is_folder in self._entries(folder):
            key = f"{folder}/{entry.name}" if folder else entry.name
            if is_folder:
                if key != "tmp":
                    yield from self._walk(key)
                continue
            try:
                with read_of(f"cannot look at {key} in {self.root}"):
                    status = entry.stat() if entry.is_file() else None
            except (FileNotFoundError, NotADirectoryError):
                continue  # deleted since the folder was read
            if status is not None:
                yield Stat(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def _entries(self, folder: str) -> tuple[tuple[os.DirEntry[str], bool], ...]:
        """What lies in a folder, by name, and which of it are folders."""
        path = self.root / folder
        try:
            with read_of(f"cannot read the folder {path}"):
                found = sorted(os.scandir(path), key=lambda entry: entry.name)
                return tuple((entry, entry.is_dir(follow_symlinks=False)) for entry in found)
        except (FileNotFoundError, NotADirectoryError):
            return ()

    def folders(self, prefix: str = "") -> Iterator[str]:
        for entry, is_folder in self._entries(prefix):
            hidden = not prefix and entry.name == "tmp"
            if is_folder and not hidden and any(self._walk(prefix + entry.name)):
                yield entry.name

    def delete(self, key: str, *, durable: bool = True) -> None:
        path = self.root / check_key(key)
        with explained(f"cannot delete {key} in {self.root}"), contextlib.suppress(FileNotFoundError):
            path.unlink()
            if durable:
                sync(path.parent)

    def advice(self) -> Iterator[Finding]:
        return iter(())  # writing a probe, which every place is asked for, shows it all

    def sweep(self) -> int:
        """Remove the files that killed processes of this machine left half-written; returns how many."""
        with explained(f"cannot sweep {self.root}"):
            return sweep_folder(self.staging())


class _Reading:
    """A file of the store, or at most `length` bytes of it, whose errors are those of a store."""

    def __init__(self, file: BinaryIO, length: int | None, what: str) -> None:
        self._file, self._left, self._what = file, length, what

    def read(self, size: int = -1) -> bytes:
        if self._left is not None:
            size = self._left if size < 0 else min(size, self._left)
        with read_of(self._what):
            data = self._file.read(size)
        if self._left is not None:
            self._left -= len(data)
        return data

    def readinto(self, buffer: bytearray | memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> _Reading:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
