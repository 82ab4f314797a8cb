"""A folder of Dropbox as a store, by the official SDK.

An upload appears whole or not at all, and a create that finds something there is refused, both by Dropbox itself; its
hash of the content is computed here as well, and compared. Dropbox tells names apart without looking at upper and lower
case: what differs only in that is refused here, because the second of two would become the first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC
from io import BufferedReader, BytesIO, RawIOBase
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from backup_pipeline.errors import (
    AlreadyExists,
    BackupError,
    ConfigError,
    NotFound,
    StoreUnavailable,
    VaultError,
)
from backup_pipeline.model.findings import Finding
from backup_pipeline.services.dropbox import (
    Complaint,
    ContentHash,
    DropboxAccess,
    client,
    complaint,
    failures,
)
from backup_pipeline.stores.base import Features, Room, Stat, Store, check_key
from backup_pipeline.stores.checksums import Attestation, Compared, Judged
from backup_pipeline.stores.dropbox.upload import Note, SessionUpload, sweep_notes
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline.stores.rate_limit import Pace, pace_of

#: From this size on, a file is sent in pieces that need not be sent again. (More than 150 MB cannot be sent at once.)
AT_ONCE = 8 << 20
READ_SIZE = 1 << 20
PAGE = 2000


@dataclass(frozen=True)
class DropboxStore(Store):
    options: StoreOptions

    @property
    def features(self) -> Features:
        return Features(cheap_stat=False, resumes=frozenset({"list"}))

    @property
    def address(self) -> str:
        return f"dropbox://{self._root or '/'}"

    @property
    def _root(self) -> str:
        """As Dropbox writes it: "" is the account's own root, or the folder of the app."""
        parts = urlsplit(self.options.url)
        if parts.netloc:
            raise ConfigError(
                f"dropbox://{parts.netloc}… names a host, and Dropbox has none",
                remedy=f"write three slashes: dropbox:///{parts.netloc}{parts.path}",
            )
        return unquote(parts.path).rstrip("/")

    @property
    def _client(self) -> Any:
        given = self.options
        return client(
            DropboxAccess(
                given.token,
                given.refresh_token,
                given.app_key,
                given.app_secret,
                given.select_user,
                given.namespace,
            )
        )

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def staging(self) -> Path:
        return self.options.made_staging()

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        path = self._path(key)
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        if overwrite or size > AT_ONCE:
            # A big file is not sent for nothing, and what differs only in case is not overwritten.
            there = self._look(key)
            if there is not None and not overwrite:
                raise AlreadyExists(f"{key} is already in {self.address}")
            if there is not None:
                self._same_case(key, there)
        with BytesIO(data) if isinstance(data, bytes) else data.open("rb") as source:
            expected = _hash_of(source)
            source.seek(0)
            done = self._send(key, path, source, size, expected, overwrite=overwrite)
        if done.size != size or done.content_hash != expected:
            self._take_back(done)
            raise StoreUnavailable(f"{key}: what {self.address} holds is not what was sent")
        if not overwrite and _tail(done, key) != key:
            self._take_back(done)
            self._same_case(key, done)

    def _send(
        self, key: str, path: str, source: BinaryIO, size: int, expected: str, *, overwrite: bool
    ) -> Any:
        from dropbox.files import CommitInfo, WriteMode

        mode = WriteMode.overwrite if overwrite else WriteMode.add
        what, pace = f"cannot write {key}", pace_of(self.options)
        # Without strict_conflict, a second create of the same bytes would succeed.
        if size > AT_ONCE:
            commit = CommitInfo(path, mode=mode, mute=True, strict_conflict=not overwrite)
            where = f"{self.options.url} {self.options.namespace} {self.options.select_user} {key}"
            note = Note.of(self.staging(), where, expected)
            sending = SessionUpload(
                self._client, source, size, commit, note, pace, lambda error: self._error(what, key, error)
            )
            return sending.run()
        data = source.read()
        pace.spend(len(data))
        try:
            return self._client.files_upload(
                data, path, mode=mode, mute=True, strict_conflict=not overwrite, content_hash=expected
            )
        except failures() as error:
            raise self._error(what, key, error) from error

    def _take_back(self, done: Any) -> None:
        with contextlib.suppress(*failures()):
            self._client.files_delete_v2(done.path_lower, parent_rev=done.rev)

    def _same_case(self, key: str, there: Any) -> None:
        if _tail(there, key) != key:
            raise VaultError(
                f"{key} would be the same to Dropbox as {_tail(there, key)}, which is there",
                remedy="Dropbox does not tell upper from lower case: rename one of the two systems",
            )

    @contextmanager
    def get(self, key: str, *, offset: int = 0, length: int | None = None) -> Iterator[BinaryIO]:
        path, what = self._path(key), f"cannot read {key}"
        if length == 0:
            if self.stat(key) is None:
                raise NotFound(f"{key} is not in {self.address}")
            yield BytesIO()
            return
        last = "" if length is None else str(offset + length - 1)
        headers = {"Range": f"bytes={offset}-{last}"} if offset or length is not None else None
        try:
            metadata, response = self._client.files_download(path, extra_headers=headers)
        except failures() as error:
            if getattr(error, "status_code", None) == 416:  # nothing lies behind that offset
                yield BytesIO()
                return
            raise self._error(what, key, error) from error
        end = metadata.size if length is None else min(metadata.size, offset + length)
        # Something in between that does not know Range sends the whole file.
        skip = offset if response.status_code == 200 else 0
        raw = _Body(response, skip, max(0, end - offset), what, self, pace_of(self.options))
        with BufferedReader(raw, READ_SIZE) as stream:
            if metadata.name != key.rpartition("/")[2]:
                raise NotFound(f"{key} is not in {self.address}")
            yield stream

    def stat(self, key: str) -> Stat | None:
        found = self._look(key)
        # Only of the last part does Dropbox promise to show it as it was written.
        if found is None or found.name != key.rpartition("/")[2]:
            return None
        return _stat(key, found)

    def _look(self, key: str) -> Any:
        """The metadata of a file; None where there is none, or a folder."""
        from dropbox.files import FileMetadata

        try:
            found = self._client.files_get_metadata(self._path(key))
        except failures() as error:
            if complaint(error).kind == "missing":
                return None
            raise self._error(f"cannot look at {key}", key, error) from error
        return found if isinstance(found, FileMetadata) else None

    def attest(self, stat: Stat, sha256: str) -> Attestation:
        """Dropbox computes its hash of every content, and states it wherever it names the file."""
        return Compared(ContentHash(), stat.stated) if stat.stated else Judged("unknown")

    def list(self, prefix: str = "") -> Iterator[Stat]:
        folder = prefix.rpartition("/")[0]
        return _Files(self, folder, prefix)

    def folders(self, prefix: str = "") -> Iterator[str]:
        """Below the root, everything is listed: a page holds the backups of a year, and asking each of the folders
        whether it is empty would be a request for each."""
        if prefix:
            seen = {stat.key[len(prefix) :].partition("/") for stat in self.list(prefix)}
            yield from sorted({name for name, separator, _ in seen if separator})
            return
        from dropbox.files import FolderMetadata

        for entry in _Pages(self, "", recursive=False):
            if isinstance(entry, FolderMetadata) and next(self.list(f"{entry.name}/"), None) is not None:
                yield entry.name

    def delete(self, key: str, *, durable: bool = True) -> None:
        """Of that very file: Dropbox would delete a folder of that name with all that is in it."""
        found = self._look(key)
        if found is None or found.name != key.rpartition("/")[2]:
            return
        try:
            self._client.files_delete_v2(self._path(key), parent_rev=found.rev)
        except failures() as error:
            if complaint(error).kind != "missing":
                raise self._error(f"cannot delete {key}", key, error) from error

    def advice(self) -> Iterator[Finding]:
        """For `doctor`."""
        if self.options.token and not self.options.refresh_token:
            yield Finding.of("dropbox-token-ends/store", address=self.address)

    def room(self) -> Room | None:
        """Of the account or the team; None where the token may not ask (scope account_info.read)."""
        try:
            usage = self._client.users_get_space_usage()
        except failures() as error:
            said = complaint(error)
            if said.kind == "refused":
                return None
            raise self.raised("cannot ask for the space that is left", said) from error
        if usage.allocation.is_team():
            team = usage.allocation.get_team()
            return Room(max(0, team.allocated - team.used), team.allocated)
        if usage.allocation.is_individual():
            allocated = usage.allocation.get_individual().allocated
            return Room(max(0, allocated - usage.used), allocated)
        return None

    def sweep(self) -> int:
        """Nothing half-written is ever in Dropbox itself: it is in sessions, which end by themselves."""
        return sweep_notes(self.staging())

    def _error(self, what: str, key: str, error: Exception) -> BackupError:
        said = complaint(error)
        if said.kind == "missing":
            return NotFound(f"{key} is not in {self.address}")
        if said.kind == "conflict":
            if "folder" in said.tags or "file_ancestor" in said.tags:
                return VaultError(
                    f"{what} at {self.address}: a folder is where the file should be, or the reverse"
                )
            return AlreadyExists(f"{key} is already in {self.address}")
        return self.raised(what, said)

    def raised(self, what: str, said: Complaint) -> BackupError:
        message = f"{what} at {self.address}: {said.message}"
        if said.kind == "refused":
            return VaultError(message, remedy=said.remedy)
        unavailable = StoreUnavailable(message, remedy=said.remedy)
        unavailable.retry_after = said.retry_after
        return unavailable


def _hash_of(source: BinaryIO) -> str:
    digest = ContentHash()
    while block := source.read(READ_SIZE):
        digest.update(block)
    return digest.hexdigest()


def _tail(found: Any, key: str) -> str:
    """The parts of a path that the key names, as Dropbox shows them."""
    return "/".join(found.path_display.split("/")[-len(key.split("/")) :])


def _stat(key: str, found: Any) -> Stat:
    return Stat(key, found.size, found.server_modified.replace(tzinfo=UTC), found.content_hash or "")


class _Pages(Iterator[Any]):
    """The entries below a folder, page by page. An answer that does not come is asked for again where it failed."""

    def __init__(self, store: DropboxStore, folder: str, *, recursive: bool) -> None:
        self._store, self._recursive = store, recursive
        self._folder = f"{store._root}/{folder}".rstrip("/")
        self._cursor: str | None = None
        self._entries: Iterator[Any] = iter(())
        self._more = True

    def __iter__(self) -> _Pages:
        return self

    def __next__(self) -> Any:
        while True:
            for entry in self._entries:
                return entry
            if not self._more:
                raise StopIteration
            self._turn()

    def _turn(self) -> None:
        client = self._store._client
        try:
            if self._cursor is None:
                page = client.files_list_folder(self._folder, recursive=self._recursive, limit=PAGE)
            else:
                page = client.files_list_folder_continue(self._cursor)
        except failures() as error:
            said = complaint(error)
            if said.kind == "missing" and self._cursor is None:
                self._more = False
                return
            if "reset" in said.tags or said.kind == "missing":
                # The folder changed too much for the cursor: another program moves or deletes it.
                said = Complaint("refused", "the folder was moved while it was listed", "run it again")
            raised = self._store.raised("cannot list", said)
            if isinstance(raised, StoreUnavailable):
                raised.progressed = self._cursor is not None
            raise raised from error
        self._cursor, self._more = page.cursor, page.has_more
        self._entries = iter(page.entries)


class _Files(Iterator[Stat]):
    """The files among them whose keys start with a prefix."""

    def __init__(self, store: DropboxStore, folder: str, prefix: str) -> None:
        self._pages = _Pages(store, folder, recursive=True)
        self._root = store._root
        self._folder, self._prefix = folder, prefix

    def __iter__(self) -> _Files:
        return self

    def __next__(self) -> Stat:
        from dropbox.files import FileMetadata

        for entry in self._pages:
            if isinstance(entry, FileMetadata):
                key = self._key(entry)
                if key.startswith(self._prefix):
                    return _stat(key, entry)
        raise StopIteration

    def _key(self, entry: Any) -> str:
        """Below the folder as Dropbox shows it; the folder itself as we asked for it, since Dropbox does not promise
        to show that as it was written."""
        above = len([part for part in f"{self._root}/{self._folder}".split("/") if part])
        below = "/".join(entry.path_display.lstrip("/").split("/")[above:])
        return f"{self._folder}/{below}" if self._folder else below


class _Body(RawIOBase):
    """The body of an answer: all of it, or an error."""

    def __init__(
        self, response: Any, skip: int, length: int, what: str, store: DropboxStore, pace: Pace
    ) -> None:
        self._response, self._skip, self._left = response, skip, length
        self._what, self._store, self._pace = what, store, pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while self._skip:
            self._skip -= len(self._fetch(min(READ_SIZE, self._skip)))
        if not self._left or not view:
            return 0
        data = self._fetch(min(len(view), self._left))
        view[: len(data)] = data
        self._left -= len(data)
        return len(data)

    def _fetch(self, size: int) -> bytes:
        try:
            data: bytes = self._response.raw.read(size, decode_content=False)
        except failures() as error:
            raise self._store.raised(self._what, complaint(error)) from error
        if not data:
            raise StoreUnavailable(f"{self._what} at {self._store.address}: the answer ended early")
        self._pace.spend(len(data))
        return data

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._response.close()
