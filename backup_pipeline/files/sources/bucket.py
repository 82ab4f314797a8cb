"""A bucket, or what lies below a prefix of it, as a file tree: S3, R2, Ceph and every other server of the protocol.

A key is a path. Buckets have no folders; an empty object whose key ends with `/` was made in a console.
What has not been touched is told by its ETag, size and time of change. A key that no file system could hold is named as
trouble: `../x`, parts that are empty or longer than 255 bytes, a key that is also the folder of others.

Each content is read from one version only (If-Match), also when the connection breaks in the middle. Objects that lie in
an archive class are named as trouble: a backup does not pay for a thaw unasked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from io import BufferedReader, RawIOBase
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from backup_pipeline.errors import PermissionMissing, SourceError, SourceUnavailable
from backup_pipeline.files.sources.base import Found, Trouble, Unreadable, Vanished
from backup_pipeline.files.sources.matching import Patterns
from backup_pipeline.files.sources.sorting import Sorter
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.services.aws import AwsAccess, Failure, client, failures, is_aws

READ_SIZE = 1 << 20
#: Keys in one answer of a listing: the most that S3 gives.
PAGE = 1000
#: How often a request is tried, and how often a stream that breaks is opened again without having come further.
TRIES = 5
LONGEST_PART = 255
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})

ACCESS_REMEDY = "give this key s3:ListBucket on the bucket and s3:GetObject on what is in it"


@dataclass(frozen=True)
class BucketSource:
    #: s3://bucket/prefix
    url: str
    access: AwsAccess
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    #: Where large listings are sorted; None: where temporary files go.
    scratch: Path | None = None
    #: Prefixes of the bucket that are left out: a vault in its own backups would double every night.
    apart: tuple[str, ...] = ()
    #: Each small file is two answers to wait for.
    at_once: int = 8

    @property
    def kind(self) -> str:
        return "bucket"

    @property
    def address(self) -> str:
        where = f" at {self.access.endpoint}" if self.access.endpoint else ""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/") + where

    @property
    def bucket(self) -> str:
        return urlsplit(self.url).netloc

    @property
    def prefix(self) -> str:
        path = self.url.partition("://")[2].partition("/")[2].strip("/")
        return f"{path}/" if path else ""

    # ── listing

    def entries(self) -> Iterator[Found | Trouble]:
        patterns = Patterns(self.include, self.exclude)
        with Sorter(self.scratch) as sorter:
            for listed in self._listed():
                inside = next((one for one in self.apart if listed["Key"].startswith(f"{one}/")), None)
                if inside is not None:
                    path = inside.removeprefix(self.prefix)
                    sorter.add(path, Trouble(path, "backups-inside", path))
                    continue
                found = self._entry(listed)
                if found is not None and patterns.takes(found.path, folder=_is_folder(found)):
                    # A folder's marker beside a key of the same name: the key is what has a content.
                    sorter.add(found.path, found)
            yield from _without_clashes(sorter)

    def _listed(self) -> Iterator[dict[str, Any]]:
        # Only AWS says in a listing whether what lies in an archive has been thawed.
        more = {"OptionalObjectAttributes": ["RestoreStatus"]} if is_aws(self._client) else {}
        with failures(self._of_the_tree):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix, PaginationConfig={"PageSize": PAGE}, **more
            )
            for page in pages:
                yield from page.get("Contents", ())

    def _entry(self, listed: dict[str, Any]) -> Found | Trouble | None:
        path = listed["Key"].removeprefix(self.prefix)
        folder = path.endswith("/") and listed["Size"] == 0
        name = path.removesuffix("/") if folder else path
        if not path:
            return None  # the marker of the tree itself
        why = _not_storable(name)
        if why:
            return Trouble(path, "name-not-storable", f"the key {path!r} cannot be a file's path: {why}")
        modified = int(listed["LastModified"].timestamp()) * 10**9
        if folder:
            return Found(name, "folder", mtime_ns=modified)
        thawed = "RestoreExpiryDate" in listed.get("RestoreStatus", {})
        if listed.get("StorageClass") in ARCHIVES and not thawed:
            message = f"{path} lies in {listed['StorageClass']} and cannot be read before it is thawed"
            return Trouble(path, "file-archived", message)
        state = {"etag": listed["ETag"].strip('"')}
        return Found(path, "file", size=listed["Size"], mtime_ns=modified, state=state)

    # ── reading

    @contextmanager
    def open(self, found: Found) -> Iterator[BinaryIO]:
        with BufferedReader(_Body(self, found), READ_SIZE) as stream:
            yield stream

    def settled(self, found: Found) -> Found | None:
        try:
            with failures(self._of_the_file(f"cannot look at {found.path}")):
                head = self._client.head_object(Bucket=self.bucket, Key=self._key(found))
        except Vanished:
            return None
        modified = int(head["LastModified"].timestamp()) * 10**9
        if found.type == "folder":
            return Found(found.path, "folder", mtime_ns=modified)
        state = {"etag": head["ETag"].strip('"')}
        return Found(found.path, "file", size=head["ContentLength"], mtime_ns=modified, state=state)

    def diagnose(self) -> Report:
        began, findings, counted = perf_counter(), list[Finding](), 0
        try:
            with failures(self._of_the_tree):
                page = self._client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1000)
            counted = page.get("KeyCount", 0)
            first = next((one for one in map(self._entry, page.get("Contents", ())) if _is_file(one)), None)
            if isinstance(first, Found):
                with self.open(first) as stream:
                    stream.read(1)
            elif not counted:
                findings.append(Finding.of("tree-empty", address=self.address))
        except SourceError as error:
            findings.append(Finding.of("tree-unavailable", why=error.message, remedy=error.remedy))
        return Report(self.address, tuple(findings), {"entries": counted}, perf_counter() - began)

    # ── the server

    @property
    def _client(self) -> Any:
        with failures(self._of_the_tree):
            return client(replace(self.access, attempts=TRIES))

    def _key(self, found: Found) -> str:
        return f"{self.prefix}{found.path}" + ("/" if found.type == "folder" else "")

    def _of_the_tree(self, failure: Failure) -> SourceError:
        message = f"cannot list {self.address}: {failure.message}"
        if failure.kind == "busy":
            return SourceUnavailable(message, remedy=failure.remedy)
        if failure.kind == "denied":
            return PermissionMissing(message, remedy=ACCESS_REMEDY)
        return SourceError(message, remedy=failure.remedy)

    def _of_the_file(self, what: str) -> Callable[[Failure], SourceError]:
        def raised(failure: Failure) -> SourceError:
            message = f"{what} of {self.address}: {failure.message}"
            if failure.kind in ("missing", "exists"):  # exists: another version than the one that was listed
                return Vanished(message)
            if failure.kind == "busy":
                return SourceUnavailable(message, remedy=failure.remedy)
            if failure.kind in ("denied", "frozen"):
                return Unreadable(
                    message, remedy=ACCESS_REMEDY if failure.kind == "denied" else "thaw it first"
                )
            if failure.code == "InvalidRequest" or failure.code.startswith("KMS"):
                # Of this object alone: encrypted with a key of a customer's own, or with one that is turned off.
                return Unreadable(message, remedy=failure.remedy)
            return SourceError(message, remedy=failure.remedy)

        return raised


class _Body(RawIOBase):
    """A content as it comes. A connection that breaks is opened again at the same place of the same version."""

    def __init__(self, source: BucketSource, found: Found) -> None:
        self._source, self._found = source, found
        self._raised = source._of_the_file(f"cannot read {found.path}")
        self._at, self._etag = 0, f'"{found.state["etag"]}"'
        self._body: Any = None
        self._failed = 0
        self._end = self._ask()

    def _ask(self) -> int:
        """Begin where we are; the length of the whole."""
        more = {"Range": f"bytes={self._at}-"} if self._at else {}
        with failures(self._raised):
            answer = self._source._client.get_object(
                Bucket=self._source.bucket, Key=self._source._key(self._found), IfMatch=self._etag, **more
            )
        self._body = answer["Body"]
        return self._at + int(answer["ContentLength"])

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        while view and self._at < self._end:
            try:
                data = self._read(len(view))
            except SourceUnavailable:
                self._drop()
                self._failed += 1
                if self._failed >= TRIES:
                    raise
                continue
            view[: len(data)] = data
            self._at += len(data)
            self._failed = 0
            return len(data)
        return 0

    def _read(self, size: int) -> bytes:
        if self._body is None:
            self._ask()
        with failures(self._raised):
            data: bytes = self._body.read(min(size, self._end - self._at))
            if not data:
                raise ConnectionError("the answer ended early")
        return data

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self._drop()


def _is_folder(found: Found | Trouble) -> bool:
    return isinstance(found, Found) and found.type == "folder"


def _is_file(found: Found | Trouble | None) -> bool:
    return isinstance(found, Found) and found.type == "file"


def _not_storable(path: str) -> str:
    """Why no file system could hold it under this path, or nothing."""
    if "\0" in path:
        return "it holds a NUL"
    for part in path.split("/"):
        if part in ("", ".", ".."):
            return f"a part of it is {part!r}" if part else "a part of it is empty"
        if len(part.encode("utf-8", "surrogatepass")) > LONGEST_PART:
            return f"a part of it is longer than {LONGEST_PART} bytes"
    return ""


def _without_clashes(entries: Iterator[Found | Trouble] | Sorter) -> Iterator[Found | Trouble]:
    """Keys `a` and `a/b` can stand side by side; a file and a folder of one name cannot."""
    files: list[str] = []
    for entry in entries:
        while files and not entry.path.startswith(files[-1]):
            files.pop()
        above = next((path for path in files if entry.path.startswith(f"{path}/")), None)
        if above is not None and isinstance(entry, Found):
            message = f"{entry.path} cannot be below {above}, which is a file"
            yield Trouble(entry.path, "name-not-storable", message)
            continue
        if _is_file(entry):
            files.append(entry.path)
        yield entry
