"""How a file appears on an SFTP server under its name only when it is whole.

file in `tmp/` → pipelined writes → fsync → length → read back → read-only → hard link →
fsync of the folder. The hard link fails where the name is taken. What a server does not offer
is left out and said by `features`.

The name of a temporary file names its maker (`stores/staging.py`) and, of a big one, the file that it is a part of. The
next attempt on this machine continues an upload that broke off, as far as the arrived bytes are right.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections.abc import Awaitable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import asyncssh

from backup_pipeline.errors import AlreadyExists, StoreUnavailable
from backup_pipeline.stores.pids import alive
from backup_pipeline.stores.rate_limit import Pace
from backup_pipeline.stores.sftp.errors import LOST, MISSING, REFUSALS, refused, translated
from backup_pipeline.stores.sftp.session import Session
from backup_pipeline.stores.staging import maker, staging_name

#: Written and read back at a time; two of them are under way at once.
WINDOW = 4 << 20
#: … where `max_rate` asks for less at a time.
SMALLEST = 64 << 10
#: Sending this takes no longer than asking whether it is there.
SMALL = 64 << 10
#: From this size on, a broken upload is continued instead of begun again.
RESUMED = 8 << 20
#: How long a broken upload of a process that is gone waits to be continued.
KEPT_SECONDS = 86_400
TEMPORARY = "tmp"

_writing = threading.Lock()
#: Temporary files that some thread of this process is writing now.
_own: set[str] = set()


@dataclass(slots=True)
class Upload:
    """One file on its way: from where, under which key, in which vault."""

    session: Session
    root: str
    address: str
    key: str
    data: bytes | Path
    overwrite: bool
    pace: Pace
    #: Windows that the server has confirmed.
    sent: int = 0

    @property
    def what(self) -> str:
        return f"cannot write {self.key}"

    @property
    def target(self) -> str:
        return f"{self.root}/{self.key}"

    @property
    def size(self) -> int:
        return len(self.data) if isinstance(self.data, bytes) else self.data.stat().st_size

    @property
    def mark(self) -> str:
        """Of a big file: the same for every attempt to put this key with so many bytes."""
        return hashlib.sha256(f"{self.key}\0{self.size}".encode()).hexdigest()[:24]

    def open(self) -> BinaryIO:
        return BytesIO(self.data) if isinstance(self.data, bytes) else self.data.open("rb")

    async def run(self) -> None:
        client = self.session.client
        # A small file is sent at once: giving it its name will show.
        if not self.overwrite and self.size > SMALL and await client.exists(self.target):
            raise AlreadyExists(f"{self.key} is already in {self.address}")
        await make_folder(self.session, f"{self.root}/{TEMPORARY}")
        name = staging_name() + (f"~{self.mark}" if self.size >= RESUMED else "")
        path = f"{self.root}/{TEMPORARY}/{name}"
        with _writing:
            _own.add(name)
        try:
            offset = await self._take_over(path) if self.size >= RESUMED else 0
            if offset < self.size or not self.size:
                await self._send_somehow(path, offset)
            await self._settle(path)
            await self._publish(path)
        except LOST as error:
            # What arrived is still there, and the next attempt goes on from it.
            self.session.give_up()
            raised = translated(self.what, self.address, error)
            if isinstance(raised, StoreUnavailable):
                raised.progressed = self.size >= RESUMED and self.sent > 0
            raise raised from error
        except REFUSALS as error:
            complaint = await refused(
                self.session, f"{self.root}/{TEMPORARY}", self.what, self.address, error
            )
            await self._discard(path)
            raise complaint from error
        except asyncio.CancelledError:
            raise
        except BaseException:
            await self._discard(path)
            raise
        finally:
            with _writing:
                _own.discard(name)

    async def _take_over(self, path: str) -> int:
        """A part that an earlier attempt left: made ours, and as long as it is right. A rename has one winner."""
        async for entry in self.session.client.scandir(f"{self.root}/{TEMPORARY}"):
            found = str(entry.filename)
            if found.rpartition("~")[2] != self.mark or not _abandoned(found):
                continue
            try:
                await self.session.client.rename(f"{self.root}/{TEMPORARY}/{found}", path)
            except asyncssh.SFTPError:
                continue
            right = await self._right_until(path)
            if right == self.size or ((await self.session.client.stat(path)).size or 0) < self.size:
                return right
            # One that is long enough may have its name already (a link to the same bytes): it is never written to.
            await self._discard(path)
            return 0
        return 0

    async def _right_until(self, path: str) -> int:
        """Windows are sent side by side, so the length of a part proves nothing: its bytes are compared."""
        done = 0
        async with self.session.client.open(path, "rb") as part:
            with self.open() as source:
                while wanted := source.read(WINDOW):
                    if await read_at(part, len(wanted), done) != wanted:
                        break
                    done += len(wanted)
        return done

    async def _send_somehow(self, path: str, offset: int) -> None:
        """Side by side; in order on a server that turns out to insist on it (rclone without a cache does)."""
        try:
            return await self._send(path, offset, in_order=self.session.in_order)
        except (asyncssh.SFTPOpUnsupported, asyncssh.SFTPPermissionDenied):
            if not offset:
                raise
            # In front of a bucket (AWS Transfer) only whole files are written: what arrived is sent again.
            await self._discard(path)
            return await self._send_somehow(path, 0)
        except asyncssh.SFTPFailure as error:
            folder = f"{self.root}/{TEMPORARY}"
            complaint = await refused(self.session, folder, self.what, self.address, error)
            if self.session.in_order or not isinstance(complaint, StoreUnavailable):
                raise
        await self._discard(path)
        await self._send(path, 0, in_order=True)
        self.session.in_order = True

    async def _send(self, path: str, offset: int, *, in_order: bool) -> None:
        # Not "r+": a server that cannot read what is being written (a cache in front of a bucket) can still do this.
        flags = asyncssh.FXF_WRITE | asyncssh.FXF_CREAT | (0 if offset else asyncssh.FXF_TRUNC)
        pace, client = self.pace, self.session.client
        # 32 KiB is what every server takes; left to itself, asyncssh asks a server for its limits.
        limits = {"max_requests": 1, "block_size": 32 << 10} if in_order else {}
        async with client.open(path, flags, encoding=None, **limits) as file:
            under_way: set[asyncio.Task[int]] = set()
            with self.open() as source:
                source.seek(offset)
                try:
                    while block := source.read(pace.piece(WINDOW, SMALLEST)):
                        if len(under_way) == (1 if in_order else 2):
                            under_way = await _first_of(under_way)
                            self.sent += 1
                        if pace.rate is not None:
                            await asyncio.to_thread(pace.spend, len(block))
                        under_way.add(asyncio.ensure_future(file.write(block, offset)))
                        offset += len(block)
                    while under_way:
                        under_way = await _first_of(under_way)
                finally:
                    for task in under_way:
                        task.cancel()
                    await asyncio.gather(*under_way, return_exceptions=True)
            if offset != self.size:
                raise StoreUnavailable(
                    f"{self.key}: {self.size} bytes were to be sent, and {offset} were read"
                )

    async def _settle(self, path: str) -> None:
        """Durable, right, and read-only; as many answers as can be are waited for together. Opened for reading: an
        earlier attempt may have come as far as this."""
        client = self.session.client
        sent, came = hashlib.sha256(), hashlib.sha256()
        file = await client.open(path, "rb")
        try:
            synced = asyncio.ensure_future(_synced(file))
            status = asyncio.ensure_future(file.stat())
            position = 0
            with self.open() as source:
                while block := source.read(WINDOW):
                    sent.update(block)
                    came.update(await read_at(file, len(block), position))
                    position += len(block)
            await synced
            length = (await status).size
        finally:
            await asyncio.gather(file.close(), _read_only(client, path, self.session.file_mode))
        if length != self.size or came.digest() != sent.digest():
            raise StoreUnavailable(
                f"{self.key}: what {self.address} gives back is not what was sent ({length} of {self.size} bytes)"
            )

    async def _publish(self, path: str) -> None:
        client = self.session.client
        await make_folder(self.session, self.target.rpartition("/")[0])
        if self.overwrite:
            try:
                await client.posix_rename(path, self.target)
            except asyncssh.SFTPOpUnsupported:
                # The server cannot replace: for a moment there is none, as the contract allows.
                with contextlib.suppress(*MISSING):
                    await client.remove(self.target)
                await client.rename(path, self.target)
        elif await conditional(self.session, self.root):
            try:
                await client.link(path, self.target)
            except REFUSALS:
                if not await client.exists(self.target):
                    raise
                await self._discard(path)
                raise AlreadyExists(f"{self.key} is already in {self.address}") from None
            await self._agreed(client.remove(path))
            return
        else:
            if await client.exists(self.target):
                await self._discard(path)
                raise AlreadyExists(f"{self.key} is already in {self.address}")
            await client.rename(path, self.target)
        await self._agreed()

    async def _agreed(self, *more: Awaitable[object]) -> None:
        """After it has its name: durable, and as long as it should be."""
        status = asyncio.ensure_future(self.session.client.stat(self.target))
        await asyncio.gather(status, sync_folder(self.session, self.target.rpartition("/")[0]), *more)
        if status.result().size != self.size:
            raise StoreUnavailable(f"{self.key}: {self.address} shows another length than was sent")

    async def _discard(self, path: str) -> None:
        with contextlib.suppress(asyncssh.Error, OSError):
            await self.session.client.remove(path)


async def read_at(file: asyncssh.SFTPClientFile, size: int, offset: int) -> bytes:
    """The stubs know only files of text."""
    return cast(bytes, await file.read(size, offset))


async def _synced(file: asyncssh.SFTPClientFile) -> None:
    with contextlib.suppress(asyncssh.SFTPOpUnsupported):
        await file.fsync()


async def _read_only(client: asyncssh.SFTPClient, path: str, mode: int) -> None:
    """A courtesy: a server that does not do it still holds the file."""
    with contextlib.suppress(*REFUSALS, asyncssh.SFTPPermissionDenied):
        await client.chmod(path, mode)


async def _first_of(tasks: set[asyncio.Task[int]]) -> set[asyncio.Task[int]]:
    done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
    return rest


def _abandoned(name: str) -> bool:
    """Whether no process writes it: made on this machine, by a process that is gone or by one of our own attempts."""
    made_by, _, rest = name.partition("~")
    pid = rest.partition("~")[0]
    if made_by != maker() or not pid.isdigit():
        return False
    with _writing:
        mine = name in _own
    return not mine and (int(pid) == os.getpid() or not alive(int(pid)))


async def make_folder(session: Session, folder: str) -> None:
    """mkdir -p that survives a power cut where the server lets a folder be synced."""
    missing: list[str] = []
    probe = folder
    while probe and probe not in session.folders and not await session.client.isdir(probe):
        missing.append(probe)
        probe = probe.rpartition("/")[0]
    for path in reversed(missing):
        try:
            await session.client.mkdir(path, session.of_new_folder(path))
        except REFUSALS:
            if not await session.client.isdir(path):  # another writer was faster, or it really cannot be
                raise
        await sync_folder(session, path.rpartition("/")[0] or ("/" if path.startswith("/") else "."))
    session.folders.add(folder)


async def sync_folder(session: Session, folder: str) -> None:
    """OpenSSH opens folders for reading, and syncs what is open: then a new name survives a power cut."""
    with contextlib.suppress(asyncssh.SFTPError):
        async with session.client.open(folder, asyncssh.FXF_READ, encoding=None) as handle:
            await handle.fsync()


async def conditional(session: Session, root: str) -> bool:
    """Whether a link to a taken name fails here. Tried once: servers announce what their file system cannot do."""
    if session.links is None:
        await make_folder(session, f"{root}/{TEMPORARY}")
        stem = f"{root}/{TEMPORARY}/{staging_name()}"
        try:
            async with session.client.open(stem, "wb"):
                pass
            await session.client.link(stem, f"{stem}-2")
            try:
                await session.client.link(stem, f"{stem}-2")
                session.links = False
            except REFUSALS:
                session.links = True
        except (asyncssh.SFTPOpUnsupported, asyncssh.SFTPFailure, asyncssh.SFTPPermissionDenied):
            session.links = False
        finally:
            for path in (stem, f"{stem}-2"):
                with contextlib.suppress(asyncssh.SFTPError):
                    await session.client.remove(path)
    return session.links
