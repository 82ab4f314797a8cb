"""A bucket as a store: AWS S3, R2, Ceph, rclone, and every other server of the protocol.

Servers differ in what they check, so nothing is taken for granted:

- `put` creates with If-None-Match where the server honours it, which is asked once by trying (`features`). Where it
  does not, the key is looked for before, and what is there is read back after.
- Bytes are checked on the wire: AWS compares a SHA-256 of the request, the others an MD5. What the server says that it
  stored (its ETag) is compared with what was sent; where an ETag says nothing, the object is read back. A server that
  compares nothing gets the bytes below `tmp/` first, and copies them to their name when it has the right ones.
- An object carries the SHA-256 that it was meant to have. One that is provably something else is a write of ours that
  arrived damaged: the next `put` of that content replaces it.
- Large files go in parts of one size, a few at once, and a broken upload goes on where it stopped (`s3_uploading`).
- A stream or a listing that breaks can be asked again and goes on (`s3_reading`); the asking is done by `retrying`.

Keys below `tmp/` belong to no backup: they are never listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from backup_pipeline.errors import (
    AlreadyExists,
    ConfigError,
    NotAllowed,
    NotFound,
    NotThawed,
    StoreUnavailable,
    VaultError,
)
from backup_pipeline.model.findings import Finding
from backup_pipeline.services.aws import AwsAccess, Failure, client, failures, is_aws
from backup_pipeline.stores.base import (
    Again,
    Features,
    ObjectLocks,
    Stat,
    Store,
    check_key,
    once,
)
from backup_pipeline.stores.checksums import Attestation
from backup_pipeline.stores.options import StoreOptions
from backup_pipeline.stores.rate_limit import Pace, pace_of
from backup_pipeline.stores.s3 import advice as s3_advice
from backup_pipeline.stores.s3 import object_locks, probing
from backup_pipeline.stores.s3.checksums import attestation
from backup_pipeline.stores.s3.content import Content
from backup_pipeline.stores.s3.probing import PROBE, checks_bodies
from backup_pipeline.stores.s3.reading import MEANT, Pages, Stream, empty
from backup_pipeline.stores.s3.uploading import Upload, abort_stale
from backup_pipeline.stores.staging import staging_name, sweep_folder
from backup_pipeline.stores.thawing import Thawing

#: Every part of an upload but the last has this size (R2 insists on equal ones), and S3 allows 10,000 of them.
PART = 16 * 1024 * 1024
LEAST_PART = 5 * 1024 * 1024
MOST_PARTS = 10_000
#: Looking costs less than sending this much in vain.
LOOK_FIRST = 1024 * 1024
#: An upload without progress for so long is abandoned.
STALE_UPLOAD = timedelta(days=1)
#: How often content that arrives damaged is sent again.
DAMAGED_TRIES = 3


@dataclass(frozen=True)
class S3Store(Store):
    options: StoreOptions

    @property
    def features(self) -> Features:
        return Features(cheap_stat=False, resumes=frozenset({"get", "list", "folders"}))

    @property
    def address(self) -> str:
        where = f" at {self.options.endpoint}" if self.options.endpoint else ""
        return f"{self.options.url.rstrip('/')}{where}"

    @property
    def bucket(self) -> str:
        bucket = self.options.url.partition("://")[2].partition("/")[0]
        if not bucket:
            raise ConfigError(f"{self.options.url} names no bucket", remedy="write it as s3://BUCKET/PREFIX")
        return bucket

    @property
    def prefix(self) -> str:
        """What stands before every key: empty, or with a slash at its end."""
        path = self.options.url.partition("://")[2].partition("/")[2].strip("/")
        return f"{path}/" if path else ""

    @property
    def access(self) -> AwsAccess:
        return self.options.aws_access

    @property
    def client(self) -> Any:
        return client(self.access)

    @property
    def _pace(self) -> Pace:
        return pace_of(self.options)

    def staging(self) -> Path:
        return self.options.made_staging()

    # ── writing

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        check_key(key)
        try:
            self._put(key, data, overwrite=overwrite)
        except AlreadyExists as error:
            if error.differs is not True:
                self._demand_lock(key)  # ours, of a run that ended between the write and this
            raise
        self._demand_lock(key)

    def _put(self, key: str, data: bytes | Path, *, overwrite: bool) -> None:
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        content = Content.of(data, self._part_size(size), checksums=is_aws(self._connected()))
        if not overwrite:
            looks = size > LOOK_FIRST or not self.creates_once()
            overwrite = looks and self._replaceable(key, content)
        for _ in range(DAMAGED_TRIES):
            try:
                etag, proven = self._send(key, content, overwrite=overwrite)
            except AlreadyExists:
                overwrite = self._replaceable(key, content)
                if not overwrite:
                    continue  # deleted since
                etag, proven = self._send(key, content, overwrite=True)
            if proven or self._arrived(key, content, etag, overwrite=overwrite):
                return
            overwrite = True
        self._take_back(key)
        raise VaultError(
            f"{key}: what arrives at {self.address} is not what was sent, {DAMAGED_TRIES} times in a row",
            remedy="the server, or something on the way to it (a proxy, a faulty network card), alters bytes: do not trust it",
        )

    def _part_size(self, size: int) -> int:
        part = self._pace.piece(PART, LEAST_PART)
        smallest = -(-size // MOST_PARTS)
        return max(part, -(-smallest // (1024 * 1024)) * 1024 * 1024)

    def _send(self, key: str, content: Content, *, overwrite: bool) -> tuple[str, bool]:
        """The ETag that the server gave, and whether it has compared a SHA-256 of the bytes itself."""
        aws = is_aws(self._connected())
        extra = {**self._attributes(key), "Metadata": {MEANT: content.sha256}}
        once = {} if overwrite or not self.creates_once() else {"IfNoneMatch": "*"}
        upload = Upload(self.client, self.bucket, self.prefix + key, content, self._pace, checksums=aws)
        try:
            with failures(self._failed(f"cannot write {key}")):
                if not content.single:
                    answer = upload.in_parts(extra, once)
                elif self._checks_bodies() or "ObjectLockMode" in extra:  # a copy cannot be locked everywhere
                    answer = upload.whole(extra | once)
                else:
                    answer = upload.aside(f"{self.prefix}tmp/{staging_name()}", extra | once)
        except StoreUnavailable as error:
            error.progressed = upload.progressed
            raise
        except VaultError as error:
            error.remedy = error.remedy or s3_advice.remedy_for(extra)
            raise
        return str(answer.get("ETag", "")).strip('"'), aws and content.proven_by(answer)

    def _attributes(self, key: str) -> dict[str, Any]:
        options, found = self.options, dict[str, Any]()
        if options.storage_class and _matches(key, options.archivable):
            found["StorageClass"] = options.storage_class
        if options.server_side_encryption:
            found["ServerSideEncryption"] = options.server_side_encryption
        if options.kms_key_id:
            found["SSEKMSKeyId"] = options.kms_key_id
        if self.locks(key):
            found["ObjectLockMode"] = options.object_lock_mode
            found["ObjectLockRetainUntilDate"] = self._lock_end
        return found

    def locks(self, key: str) -> bool:
        """Whether it is to be locked."""
        days = self.options.object_lock_days
        return bool(days) and not key.startswith("tmp/") and not _matches(key, self.options.mutable)

    @property
    def _lock_end(self) -> datetime:
        return datetime.now(UTC) + timedelta(days=self.options.object_lock_days or 0)

    def _demand_lock(self, key: str) -> None:
        if self.locks(key) and not is_aws(self._connected()):
            object_locks.demand_lock(self, key, self._lock_end)

    def _replaceable(self, key: str, content: Content) -> bool:
        """False where nothing is there; True where a damaged write of this very content is; else AlreadyExists."""
        head = self.head(key)
        if head is None:
            return False
        judged = content.judge(head)
        if judged == "other" and head.get("Metadata", {}).get(MEANT) == content.sha256:
            if head["ContentLength"] != content.size or not self._reads_back(key, content):
                return True
            judged = "same"
        error = AlreadyExists(f"{key} is already in {self.address}")
        error.differs = {"same": False, "other": True, "unknown": None}[judged]
        raise error

    def _arrived(self, key: str, content: Content, etag: str, *, overwrite: bool) -> bool:
        """Whether what lies there is what was sent. A server without conditional creates may hold another's, and so may
        one that is asked with the last part: Ceph ignores the condition there. An ETag that differs is no proof of
        damage: s3rver states that of what was there before."""
        once = self.creates_once() and (content.single or is_aws(self._connected()))
        if content.judge_etag(etag) == "same" and (overwrite or once):
            return True
        head = self.head(key)
        judged: Literal["same", "other", "unknown"] = "other" if head is None else content.judge(head)
        if judged != "same" and head is not None and head["ContentLength"] == content.size:
            judged = "same" if self._reads_back(key, content) else "other"
        if judged == "same":
            return True
        meant = (head or {}).get("Metadata", {}).get(MEANT, content.sha256)
        if not overwrite and meant != content.sha256:
            error = AlreadyExists(f"another writer put {key} into {self.address} at the same moment")
            error.differs = True
            raise error
        return False

    def _reads_back(self, key: str, content: Content) -> bool:
        with self.get(key) as stream:
            return content.equals(stream)

    def _take_back(self, key: str) -> None:
        try:
            self.delete(key)
        except VaultError as error:
            raise VaultError(
                f"{key} lies damaged in {self.address} and cannot be taken away: {error.message}",
                remedy="something on the way alters bytes; then `verify` and `repair`",
            ) from error

    def delete(self, key: str, *, durable: bool = True) -> None:
        with failures(self._failed(f"cannot delete {key}")):
            self._connected().delete_object(Bucket=self.bucket, Key=self.prefix + check_key(key))

    def advice(self) -> Iterator[Finding]:
        """For the doctor: what a bucket refuses only when it matters."""
        return s3_advice.advice(self, self._attributes(s3_advice.KEY), self._failed)

    def sweep(self) -> int:
        """Abandoned uploads, and what killed processes left in the staging folder."""
        removed = sweep_folder(self.staging())
        try:
            with failures(self._failed("cannot look for broken uploads")):
                before = datetime.now(UTC) - STALE_UPLOAD
                removed += abort_stale(self._connected(), self.bucket, self.prefix, before)
            return removed + (0 if self._checks_bodies() else self._sweep_aside(before))
        except StoreUnavailable:
            raise
        except (VaultError, NotFound):
            return removed  # without the right to, or where the server cannot: the bucket's lifecycle does it

    def _sweep_aside(self, before: datetime) -> int:
        asked = {"Bucket": self.bucket, "Prefix": f"{self.prefix}tmp/"}
        old = [
            found["Key"]
            for found in Pages(
                self._connected(),
                asked,
                lambda page: iter(page.get("Contents", ())),
                self._failed("cannot list"),
            )
            if found["LastModified"] < before and found["Key"] != self.prefix + PROBE
        ]
        for key in old:
            self.delete(key.removeprefix(self.prefix))
        return len(old)

    # ── reading

    def get(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractContextManager[BinaryIO]:
        check_key(key)
        if length is not None and length <= 0:
            if self.head(key) is None:
                raise self._failed("")(Failure("missing", key))
            return closing(cast(BinaryIO, empty()))
        stream = Stream(
            partial(self._connected().get_object, Bucket=self.bucket),
            self.prefix + key,
            offset,
            length,
            pace=self._pace,
            raised=self._failed(f"cannot read {key}"),
        )
        stream.open()
        return closing(cast(BinaryIO, stream))

    def stat(self, key: str) -> Stat | None:
        head = self.head(check_key(key))
        return None if head is None else Stat(key, head["ContentLength"], head["LastModified"])

    def attest(self, stat: Stat, sha256: str) -> Attestation:
        connected = self._connected()
        head = self.head(stat.key, **({"ChecksumMode": "ENABLED"} if is_aws(connected) else {}))
        return attestation(head, sha256, stat.size, self._part_size(stat.size))

    def thawing(self, again: Again = once) -> Thawing:
        from backup_pipeline.stores.s3.thawing import S3Thawing

        return S3Thawing(self, again)

    def object_locks(self, again: Again = once) -> ObjectLocks | None:
        return None if self.options.object_lock_days is None else object_locks.S3ObjectLocks(self, again)

    def head(self, key: str, **more: str) -> dict[str, Any] | None:
        connected, named = self._connected(), {"Bucket": self.bucket, "Key": self.prefix + key}
        with failures(self._failed(f"cannot look at {key}")):
            try:
                found: dict[str, Any] = connected.head_object(**named, **more)
            except connected.exceptions.ClientError as error:
                code = error.response.get("Error", {}).get("Code")
                if code in ("404", "NoSuchKey", "NotFound"):
                    return None
                if code in ("400", "403"):
                    # The answer to a HEAD has no body, and so no reason. A GET that is refused as well says why.
                    connected.get_object(**named, Range="bytes=0-0")["Body"].close()
                raise
        return found

    def list(self, prefix: str = "") -> Iterator[Stat]:
        return self._pages(prefix, self._stats)

    def folders(self, prefix: str = "") -> Iterator[str]:
        return self._pages(prefix, lambda page: self._parts(page, prefix), Delimiter="/")

    def _pages(self, prefix: str, taken: Callable[[dict[str, Any]], Iterator[Any]], **more: str) -> Pages:
        asked = {"Bucket": self.bucket, "Prefix": self.prefix + prefix, **more}
        return Pages(self._connected(), asked, taken, self._failed(f"cannot list {prefix or 'the store'}"))

    def _stats(self, page: dict[str, Any]) -> Iterator[Stat]:
        for found in page.get("Contents", ()):
            key = found["Key"].removeprefix(self.prefix)
            # Consoles mark folders by empty objects whose keys end with a slash.
            if not key.startswith("tmp/") and not key.endswith("/") and key:
                yield Stat(key, found["Size"], found["LastModified"])

    def _parts(self, page: dict[str, Any], prefix: str) -> Iterator[str]:
        for found in page.get("CommonPrefixes", ()):
            name = found["Prefix"].removeprefix(self.prefix + prefix).rstrip("/")
            if name and (prefix or name != "tmp"):
                yield name

    # ── the server

    def _connected(self) -> Any:
        with failures(self._failed("cannot sign in")):
            return self.client

    def creates_once(self) -> bool:
        """A copy, by which bytes get their name on a server that checks nothing, is conditional on AWS only."""
        asked = (self._connected(), self.bucket, self.prefix, self._failed("cannot write"))
        return checks_bodies(*asked) and probing.creates_once(*asked)

    def _checks_bodies(self) -> bool:
        return checks_bodies(self._connected(), self.bucket, self.prefix, self._failed("cannot write"))

    def _failed(self, what: str) -> Callable[[Failure], Exception]:
        def raised(failure: Failure) -> Exception:
            message = f"{what} in {self.address}: {failure.message}"
            if failure.kind == "missing":
                return NotFound(f"{what} in {self.address}: it is not there")
            if failure.kind == "exists":
                return AlreadyExists(message)
            if failure.kind == "frozen":
                remedy = "ask for the thaw with --thaw; it takes minutes to days, by the class of the archive"
                return NotThawed(f"{what} in {self.address}: it lies in an archive", remedy=remedy)
            if failure.kind == "busy":
                busy = StoreUnavailable(message)
                busy.retry_after = failure.retry_after
                return busy
            kind = NotAllowed if failure.kind == "denied" else VaultError
            return kind(message, remedy=failure.remedy)

        return raised


def _matches(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in patterns)
