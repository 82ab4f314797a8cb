"""A folder on an SFTP server as a store. How a file is written is in `sftp_upload`, the connection in `sftp_session`.

Only what every server of the last fifteen years offers is needed; OpenSSH's extensions (hard links, fsync,
posix-rename, statvfs) are used where they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import stat as modes
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BufferedReader, RawIOBase
from pathlib import Path, PurePosixPath
from time import time
from typing import Any, BinaryIO, TypeVar

import asyncssh

from backup_pipeline.errors import NotFound, StoreUnavailable, VaultError
from backup_pipeline.model.findings import Finding
from backup_pipeline.stores.base import Features, Room, Stat, Store, check_key
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline.stores.rate_limit import Pace, pace_of
from backup_pipeline.stores.sftp import upload as sftp_upload
from backup_pipeline.stores.sftp.errors import LOST, MISSING, explained
from backup_pipeline.stores.sftp.session import Address, Session, reactor
from backup_pipeline.stores.sftp.upload import KEPT_SECONDS, TEMPORARY, Upload
from backup_pipeline.stores.staging import is_abandoned

T = TypeVar("T")
#: What is in a folder: names and what is known of them.
Entries = list[tuple[str, asyncssh.SFTPAttrs]]

#: Read ahead of the reader of a stream, in one go.
WINDOW = 4 << 20
READ_SIZE = 1 << 20
#: Folders that are read at once while a tree of them is walked.
SIDE_BY_SIDE = 16


@dataclass(frozen=True)
class SftpStore(Store):
    options: StoreOptions

    @property
    def features(self) -> Features:
        return Features(cheap_stat=False)

    @property
    def address(self) -> str:
        return str(Address.of(self.options.url))

    @property
    def _root(self) -> str:
        return Address.of(self.options.url).path

    def creates_once(self) -> bool:
        """Asked once a connection. An account that may only read creates nothing, and is promised nothing."""
        try:
            return self._do("cannot ask what the server can do", self._ask)
        except StoreUnavailable:
            raise
        except VaultError:
            return False

    async def _ask(self, session: Session) -> bool:
        return await sftp_upload.conditional(session, self._root)

    def _do(self, what: str, work: Callable[[Session], Awaitable[T]]) -> T:
        async def connected() -> T:
            session = await reactor().session(self.options)
            try:
                return await work(session)
            except LOST:
                session.give_up()
                raise

        with explained(what, self.address):
            return reactor().run(connected())

    def staging(self) -> Path:
        return self.options.made_staging()

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        check_key(key)

        async def upload(session: Session) -> None:
            one = Upload(session, self._root, self.address, key, data, overwrite, pace_of(self.options))
            try:
                await one.run()
            except MISSING:
                # A folder went away since we saw it: make it again.
                session.folders.clear()
                await one.run()

        self._do(f"cannot write {key}", upload)

    @contextmanager
    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        path = f"{self._root}/{check_key(key)}"
        what = f"cannot read {key}"

        async def opened(session: Session) -> tuple[asyncssh.SFTPClientFile, int] | None:
            try:
                file = await session.client.open(path, "rb")
            except MISSING:
                return None
            except (asyncssh.SFTPFailure, asyncssh.SFTPPermissionDenied):
                # What ProFTPD and asyncssh say of a folder that is opened as a file; OpenSSH opens it.
                if await session.client.isdir(path):
                    return None
                raise
            attributes = await file.stat()
            if attributes.permissions is not None and modes.S_ISDIR(attributes.permissions):
                await file.close()
                return None
            return file, attributes.size or 0

        found = self._do(what, opened)
        if found is None:
            raise NotFound(f"{key} is not in {self.address}")
        file, size = found
        end = size if length is None else min(size, offset + length)
        raw = _Stream(file, offset, end, what, self.address, pace_of(self.options))
        with BufferedReader(raw, READ_SIZE) as stream:
            yield stream

    def stat(self, key: str) -> Stat | None:
        path = f"{self._root}/{check_key(key)}"

        async def look(session: Session) -> Stat | None:
            try:
                return _stat(key, await session.client.stat(path))
            except MISSING:
                return None

        return self._do(f"cannot look at {key}", look)

    def list(self, prefix: str = "") -> Iterator[Stat]:
        """Keys that start with `prefix`; only folders that can hold such keys are read, some of them at once."""
        waiting = [prefix.rpartition("/")[0]]
        while waiting:
            batch, waiting = waiting[-SIDE_BY_SIDE:], waiting[:-SIDE_BY_SIDE]
            for folder, entries in zip(batch, self._read(batch), strict=True):
                for name, attributes in entries:
                    key = f"{folder}/{name}" if folder else name
                    if _is_folder(attributes):
                        below = f"{key}/"
                        if key != TEMPORARY and (below.startswith(prefix) or prefix.startswith(below)):
                            waiting.append(key)
                    elif key.startswith(prefix) and (found := _stat(key, attributes)):
                        yield found

    def _read(self, folders: Sequence[str]) -> Sequence[Entries]:
        async def read(session: Session) -> Sequence[Entries]:
            paths = [f"{self._root}/{folder}" if folder else self._root or "/" for folder in folders]
            return await asyncio.gather(*(_entries(session, path) for path in paths))

        return self._do("cannot list", read)

    def folders(self, prefix: str = "") -> Iterator[str]:
        folder = prefix.rstrip("/")
        names = sorted(name for name, attributes in self._read([folder])[0] if _is_folder(attributes))
        for name in names:
            hidden = not prefix and name == TEMPORARY
            if not hidden and next(self.list(f"{prefix}{name}/"), None) is not None:
                yield name

    def delete(self, key: str, *, durable: bool = True) -> None:
        path = f"{self._root}/{check_key(key)}"

        async def remove(session: Session) -> None:
            with contextlib.suppress(*MISSING):
                await session.client.remove(path)

        self._do(f"cannot delete {key}", remove)

    def advice(self) -> Iterator[Finding]:
        """For `doctor`."""
        key = self.options.key_file
        if key is not None and key.exists() and key.stat().st_mode & 0o077:
            yield Finding.of("key-file-open", key=key)
        room = self.room()
        if room is not None and room.free * 20 < room.total:
            left = room.free / 2**30
            yield Finding.of("store-nearly-full", address=self.address, left=left)

    def room(self) -> Room | None:
        """Of the server's disk; a quota is not known to it. None where the server cannot tell."""

        async def ask(session: Session) -> Room | None:
            root = PurePosixPath(self._root or "/")
            for place in (root, *root.parents):
                try:
                    status = await session.client.statvfs(str(place))
                except asyncssh.SFTPOpUnsupported:
                    return None
                except MISSING:
                    continue  # the first backup makes it
                unit = status.frsize or status.bsize
                return Room(status.bavail * unit, status.blocks * unit)
            return None

        return self._do("cannot ask for the free space", ask)

    def sweep(self) -> int:
        """Remove what killed processes of this machine left half-written, but for a big part that is younger than
        a day: the next run goes on with it."""
        path = f"{self._root}/{TEMPORARY}"

        async def remove(session: Session) -> int:
            removed = 0
            for name, attributes in await _entries(session, path):
                touched = float(attributes.mtime or 0)
                continued = name.count("~") > 2 and time() - touched < KEPT_SECONDS
                if is_abandoned(name, touched) and not continued:
                    with contextlib.suppress(*MISSING):
                        await session.client.remove(f"{path}/{name}")
                        removed += 1
            return removed

        return self._do("cannot tidy up", remove)


async def _entries(session: Session, path: str) -> Entries:
    """What is in a folder; nothing where there is none. Links to files count as the files, as in a local folder."""
    found: Entries = []
    try:
        for entry in await session.client.readdir(path):
            name, attributes = str(entry.filename), entry.attrs
            if name in (".", ".."):
                continue
            if modes.S_ISLNK(attributes.permissions or 0):
                try:
                    attributes = await session.client.stat(f"{path}/{name}")
                except MISSING:
                    continue
                if _is_folder(attributes):
                    continue
            found.append((name, attributes))
    except MISSING:
        return []
    except asyncssh.SFTPFailure:
        # OpenSSH's answer to reading a file as a folder.
        if await session.client.isdir(path):
            raise
        return []
    return found


def _is_folder(attributes: asyncssh.SFTPAttrs) -> bool:
    return modes.S_ISDIR(attributes.permissions or 0)


def _stat(key: str, attributes: asyncssh.SFTPAttrs) -> Stat | None:
    if attributes.permissions is not None and not modes.S_ISREG(attributes.permissions):
        return None
    return Stat(key, attributes.size or 0, datetime.fromtimestamp(attributes.mtime or 0, UTC))


class _Stream(RawIOBase):
    """The bytes of an open remote file, fetched one window ahead of the reader."""

    def __init__(
        self, file: asyncssh.SFTPClientFile, offset: int, end: int, what: str, address: str, pace: Pace
    ) -> None:
        self._file, self._next, self._end = file, offset, end
        self._what, self._address, self._pace = what, address, pace
        self._block = memoryview(b"")
        self._ahead: Future[bytes] | None = None
        self._wanted = 0
        self._fetch()

    def readable(self) -> bool:
        return True

    def _fetch(self) -> None:
        self._wanted = max(0, min(self._pace.piece(WINDOW, READ_SIZE), self._end - self._next))
        self._ahead = None
        if self._wanted:
            work = sftp_upload.read_at(self._file, self._wanted, self._next)
            self._ahead = asyncio.run_coroutine_threadsafe(work, reactor().loop)
            self._next += self._wanted

    def readinto(self, buffer: Any) -> int:
        if not self._block and self._ahead is not None:
            with explained(self._what, self._address):
                block = self._ahead.result()
            if len(block) != self._wanted:
                raise StoreUnavailable(
                    f"{self._what} at {self._address}: it became shorter while it was read"
                )
            self._pace.spend(len(block))
            self._block = memoryview(block)
            self._fetch()
        into = memoryview(buffer).cast("B")
        part = self._block[: len(into)]
        into[: len(part)] = part
        self._block = self._block[len(part) :]
        return len(part)

    def close(self) -> None:
        if self.closed:
            return
        super().close()
        if self._ahead is not None:
            self._ahead.cancel()
        # A reader that stops because the connection is gone has its error already.
        with contextlib.suppress(asyncssh.Error, OSError):
            reactor().run(self._file.close())
