"""A folder of Dropbox as a file tree: of an account, or of a team (namespace and the member to act as).

Dropbox lists in no order and tells no upper from lower case. So the listing is sorted here, and every folder has the
name that Dropbox shows for the folder itself. What has no bytes of its own (Paper, Google documents) is named as
trouble: an export is a rendering and no copy.
"""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from io import BufferedReader, RawIOBase
from pathlib import Path
from time import perf_counter
from typing import IO, Any, BinaryIO

from backup_pipeline.errors import PermissionMissing, SourceError, SourceUnavailable
from backup_pipeline.files.sources.base import Found, Trouble, Unreadable, Vanished
from backup_pipeline.files.sources.matching import Patterns
from backup_pipeline.files.sources.sorting import Sorter
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.services.dropbox import (
    ATTEMPTS,
    Complaint,
    ContentHash,
    DropboxAccess,
    client,
    complaint,
    failures,
    patiently,
)

PAGE = 2000
READ_SIZE = 1 << 20
#: Reasons to give up one file, and not the tree.
_OF_THE_FILE = {"restricted_content", "locked", "unsupported_content_type", "unsupported_file"}


@dataclass(frozen=True, slots=True)
class _Listed:
    """An entry as it came in, before the names of its folders are known."""

    #: Below the tree's own folder, in lower case and as shown.
    lower: tuple[str, ...]
    shown: tuple[str, ...]
    #: What it is, with a path that is still to come; None: it went away again.
    item: Found | Trouble | None


@dataclass(frozen=True)
class DropboxSource:
    access: DropboxAccess
    #: "/Team Folder/Projects"; "" is all that the account or the namespace has.
    folder: str = ""
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    #: Where large listings are sorted; None: where temporary files go.
    scratch: Path | None = None
    #: Folders (whole paths) that are left out: a vault in its own backups would double every night.
    apart: tuple[str, ...] = ()
    #: Each small file is two answers to wait for.
    at_once: int = 8

    @property
    def kind(self) -> str:
        return "dropbox"

    @property
    def address(self) -> str:
        inside = "" if self.access.namespace is None else f" (namespace {self.access.namespace})"
        return f"dropbox://{self._root or '/'}{inside}"

    @property
    def _root(self) -> str:
        path = self.folder.strip("/")
        return f"/{path}" if path else ""

    @property
    def _client(self) -> Any:
        return client(self.access)

    def entries(self) -> Iterator[Found | Trouble]:
        """In two passes: only when all folders were seen is it known how each of them is written."""
        folders: dict[tuple[str, ...], str] = {}
        patterns = Patterns(self.include, self.exclude)
        with tempfile.TemporaryFile(dir=self.scratch) as spool, Sorter(self.scratch) as sorter:
            for entry in self._listed(folders):
                pickle.dump(entry, spool, pickle.HIGHEST_PROTOCOL)
            spool.seek(0)
            for entry in _unpickled(spool):
                path = _path_of(entry, folders)
                folder = isinstance(entry.item, Found) and entry.item.type == "folder"
                if path and patterns.takes(path, folder=folder):
                    sorter.add(path, _placed(entry.item, path))
            yield from sorter

    def _listed(self, folders: dict[tuple[str, ...], str]) -> Iterator[_Listed]:
        above = len(self._root.split("/")) if self._root else 1
        apart = tuple(path.lower() for path in self.apart)
        for entry in self._pages():
            if entry.path_lower.startswith(tuple(f"{path}/" for path in apart)):
                continue
            lower, shown = entry.path_lower.split("/")[above:], entry.path_display.split("/")[above:]
            listed = _Listed(tuple(lower), tuple(shown), _item_of(entry))
            if entry.path_lower in apart and lower:
                listed = replace(listed, item=Trouble("", "backups-inside", "holds backups"))
            if isinstance(listed.item, Found) and listed.item.type == "folder" and lower:
                folders[listed.lower] = entry.name
            yield listed

    def _pages(self) -> Iterator[Any]:
        cursor = None
        while True:
            try:
                page = patiently(partial(self._page, cursor))
            except failures() as error:
                raise self._of_the_tree(complaint(error)) from error
            yield from page.entries
            if not page.has_more:
                return
            cursor = page.cursor

    def _page(self, cursor: str | None) -> Any:
        if cursor is None:
            return self._client.files_list_folder(self._root, recursive=True, limit=PAGE)
        return self._client.files_list_folder_continue(cursor)

    @contextmanager
    def open(self, found: Found) -> Iterator[BinaryIO]:
        body = _Body(self, self._full(found.path), f"cannot read {found.path} of {self.address}")
        with BufferedReader(body, READ_SIZE) as stream:
            yield stream

    def settled(self, found: Found) -> Found | None:
        from dropbox.files import DeletedMetadata

        try:
            entry = patiently(lambda: self._client.files_get_metadata(self._full(found.path)))
        except failures() as error:
            said = complaint(error)
            if said.kind == "missing":
                return None
            raise self._of_the_file(f"cannot look at {found.path} of {self.address}", said) from error
        item = None if isinstance(entry, DeletedMetadata) else _item_of(entry)
        return replace(item, path=found.path) if isinstance(item, Found) else None

    def diagnose(self) -> Report:
        began, findings, first = perf_counter(), [], 0
        if self.access.token and not self.access.refresh_token:
            findings.append(Finding.of("dropbox-token-ends"))
        try:
            first = len(patiently(lambda: self._client.files_list_folder(self._root, limit=PAGE)).entries)
        except failures() as error:
            raised = self._of_the_tree(complaint(error))
            findings.append(Finding.of("tree-unavailable", why=raised.message, remedy=raised.remedy))
        return Report(self.address, tuple(findings), {"entries": first}, perf_counter() - began)

    def _full(self, path: str) -> str:
        return f"{self._root}/{path}"

    def _of_the_tree(self, said: Complaint) -> SourceError:
        message = f"cannot list {self.address}: {said.message}"
        if said.kind == "again":
            return SourceUnavailable(message, remedy=said.remedy)
        if "missing_scope" in said.tags or "route_access_denied" in said.tags:
            return PermissionMissing(message, remedy=said.remedy)
        if said.kind == "missing":
            return SourceError(
                message,
                remedy="check the path; a team folder needs `namespace` and `select_user`, and an app with a folder "
                "of its own sees nothing else",
            )
        return SourceError(message, remedy=said.remedy)

    def _of_the_file(self, what: str, said: Complaint) -> SourceError:
        message = f"{what}: {said.message}"
        if said.kind == "missing":
            return Vanished(message)
        if said.kind == "again":
            return SourceUnavailable(message, remedy=said.remedy)
        if _OF_THE_FILE & set(said.tags):
            return Unreadable(message, remedy=said.remedy)
        return SourceError(message, remedy=said.remedy)


def _item_of(entry: Any) -> Found | Trouble | None:
    from dropbox.files import FileMetadata, FolderMetadata

    if isinstance(entry, FolderMetadata):
        return Found("", "folder")
    if not isinstance(entry, FileMetadata):
        return None
    modified = _nanoseconds(entry.client_modified)
    if entry.symlink_info is not None:
        return Found(
            "", "link", mtime_ns=modified, target=entry.symlink_info.target, state={"rev": entry.rev}
        )
    if not entry.is_downloadable:
        how = entry.export_info.export_as if entry.export_info is not None else None
        hint = f"Dropbox only exports it, as {how}" if how else "Dropbox does not give it out"
        return Trouble(
            "",
            "file-not-downloadable",
            f"has no bytes of its own: {hint}. Export it by hand, or exclude it",
        )
    state = {"hash": entry.content_hash or "", "rev": entry.rev}
    return Found("", "file", size=entry.size, mtime_ns=modified, state=state)


def _placed(item: Found | Trouble | None, path: str) -> Found | Trouble | None:
    if isinstance(item, Trouble):
        return replace(item, path=path, message=f"{path} {item.message}")
    return None if item is None else replace(item, path=path)


def _nanoseconds(moment: datetime) -> int:
    """Dropbox writes whole seconds of UTC, and the SDK leaves the zone out."""
    return int(moment.replace(tzinfo=UTC).timestamp()) * 10**9


def _path_of(entry: _Listed, folders: dict[tuple[str, ...], str]) -> str:
    """Of the last part, Dropbox promises that it is shown as it was written; of those above it, each folder says."""
    if not entry.lower:
        return ""
    above = [folders.get(entry.lower[:depth], entry.shown[depth - 1]) for depth in range(1, len(entry.lower))]
    return "/".join([*above, entry.shown[-1]])


def _unpickled(spool: IO[bytes]) -> Iterator[_Listed]:
    while True:
        try:
            yield pickle.load(spool)
        except EOFError:
            return


class _Body(RawIOBase):
    """A content as it comes, held against its length and Dropbox's own hash of it. Where the line breaks, the rest is
    asked for, of the same revision."""

    def __init__(self, source: DropboxSource, path: str, what: str) -> None:
        self._source, self._path, self._what = source, path, what
        self._at = 0
        self._digest = ContentHash()
        self._metadata, self._response = self._ask()

    def _ask(self) -> tuple[Any, Any]:
        headers = {"Range": f"bytes={self._at}-"} if self._at else None
        ask = self._source._client.files_download
        try:
            metadata, response = patiently(lambda: ask(self._path, extra_headers=headers))
        except failures() as error:
            raise self._source._of_the_file(self._what, complaint(error)) from error
        return metadata, response

    def _go_on(self, error: Exception | None) -> None:
        """The line broke: go on where it did, if that is still the same file."""
        self._response.close()
        metadata, self._response = self._ask()
        if metadata.rev != self._metadata.rev or (self._at and self._response.status_code != 206):
            raise SourceUnavailable(f"{self._what}: the line broke, and it cannot be gone on") from error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        left = self._metadata.size - self._at
        if not left or not view:
            return 0
        data = self._some(min(len(view), left))
        self._digest.update(data)
        self._at += len(data)
        expected = self._metadata.content_hash
        if self._at == self._metadata.size and expected and self._digest.hexdigest() != expected:
            raise SourceUnavailable(f"{self._what}: the bytes that came are not those that Dropbox holds")
        view[: len(data)] = data
        return len(data)

    def _some(self, size: int) -> bytes:
        for _ in range(ATTEMPTS):
            error: Exception | None = None
            try:
                data: bytes = self._response.raw.read(size, decode_content=False)
                if data:
                    return data
            except failures() as broken:
                error = broken
            self._go_on(error)
        raise SourceUnavailable(f"{self._what}: the line breaks again and again")

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._response.close()
