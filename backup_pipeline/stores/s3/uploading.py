"""One object on its way into a bucket: in one request, or in parts that survive a broken connection.

An earlier try, of this process or of a killed one, may have sent parts. The server lists the parts of an upload of this
key. Parts with the right length and MD5 are not sent again. That is sound with two writers, too: an upload is completed
by the ETag of each part, so a part of another writer is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError

from backup_pipeline.errors import Interrupted
from backup_pipeline.services.aws import classify
from backup_pipeline.stores.rate_limit import Pace
from backup_pipeline.stores.s3.content import Content, Part, base64

#: Parts on their way at once: with 16 MiB each, this is the memory that an upload takes.
AT_ONCE = 4


@dataclass
class Upload:
    client: Any
    bucket: str
    #: In the bucket, with the store's prefix.
    key: str
    content: Content
    pace: Pace
    #: AWS itself: it compares a SHA-256 of every request, and keeps it.
    checksums: bool
    progressed: bool = field(default=False, init=False)

    def whole(self, extra: dict[str, Any]) -> dict[str, Any]:
        part = self.content.parts[0]
        self.pace.spend(part.size)
        answer: dict[str, Any] = self.client.put_object(
            Body=self.content.bytes_of(part), **self._named, **self._checked(part), **extra
        )
        return answer

    def aside(self, beside: str, extra: dict[str, Any]) -> dict[str, Any]:
        """In one request under another key, and copied to its own when it has arrived as what it is: for a server that
        does not compare what it gets with anything."""
        part = self.content.parts[0]
        self.pace.spend(part.size)
        named = {"Bucket": self.bucket, "Key": beside}
        try:
            etag = self.client.put_object(Body=self.content.bytes_of(part), **named)["ETag"]
            if self.content.judge_etag(etag.strip('"')) == "other":
                raise ConnectionError("it arrived as something else")
            answer: dict[str, Any] = self.client.copy_object(
                CopySource=named, CopySourceIfMatch=etag, MetadataDirective="REPLACE", **self._named, **extra
            )
            return {"ETag": answer["CopyObjectResult"]["ETag"]}
        finally:
            with suppress(BotoCoreError, self.client.exceptions.ClientError):
                self.client.delete_object(**named)

    def in_parts(self, extra: dict[str, Any], once: dict[str, Any]) -> dict[str, Any]:
        identifier, there = self._found()
        if identifier is None:
            algorithm = {"ChecksumAlgorithm": "SHA256"} if self.checksums else {}
            identifier = self.client.create_multipart_upload(**self._named, **algorithm, **extra)["UploadId"]
        try:
            self._send(identifier, [part for part in self.content.parts if part.number not in there], there)
            listed = {"Parts": [there[part.number] for part in self.content.parts]}
            answer: dict[str, Any] = self.client.complete_multipart_upload(
                UploadId=identifier, MultipartUpload=listed, **self._named, **once
            )
            return answer
        except self.client.exceptions.ClientError as error:
            # What another try cannot make right is not left lying about; what it can is gone on with.
            if classify(error).kind not in ("busy", "missing"):
                _abort(self.client, self.bucket, self.key, identifier)
            raise

    @property
    def _named(self) -> dict[str, Any]:
        return {"Bucket": self.bucket, "Key": self.key}

    def _checked(self, part: Part) -> dict[str, Any]:
        md5 = {"ContentMD5": base64(part.md5)}
        return {**md5, "ChecksumSHA256": base64(part.sha256)} if self.checksums else md5

    def _send(self, identifier: str, parts: list[Part], there: dict[int, dict[str, Any]]) -> None:
        waiting, running = iter(parts), dict[Future[dict[str, Any]], Part]()
        pool = ThreadPoolExecutor(1 if self.pace.rate else AT_ONCE, thread_name_prefix="s3-parts")
        try:
            while True:
                while len(running) < AT_ONCE and (part := next(waiting, None)) is not None:
                    running[pool.submit(self._send_part, identifier, part)] = part
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    there[running.pop(future).number] = future.result()
                    self.progressed = True
        except (KeyboardInterrupt, Interrupted):
            # Ctrl-C does not wait for 64 MiB on a slow line. What arrives is gone on with.
            raise
        except BaseException:
            # Those that are on their way are waited for: they would be sent a second time otherwise.
            pool.shutdown(wait=True, cancel_futures=True)
            self.progressed |= any(not f.cancelled() and f.exception() is None for f in running)
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _send_part(self, identifier: str, part: Part) -> dict[str, Any]:
        self.pace.spend(part.size)
        answer = self.client.upload_part(
            UploadId=identifier,
            PartNumber=part.number,
            Body=self.content.bytes_of(part),
            **self._named,
            **self._checked(part),
        )
        etag = str(answer["ETag"]).strip('"')
        if not self.checksums and len(etag) == 32 and etag != part.etag:
            raise ConnectionError(f"part {part.number} arrived as something else")
        sums = {"ChecksumSHA256": base64(part.sha256)} if self.checksums else {}
        return {"PartNumber": part.number, "ETag": answer["ETag"], **sums}

    # ── going on

    def _found(self) -> tuple[str | None, dict[int, dict[str, Any]]]:
        """The newest unfinished upload of this key, and which of our parts it holds already."""
        try:
            same = [u for u in _uploads(self.client, self.bucket, self.key) if u["Key"] == self.key]
            if not same:
                return None, {}
            identifier = max(same, key=lambda upload: upload["Initiated"])["UploadId"]
            return identifier, self._usable(identifier)
        except self.client.exceptions.ClientError as error:
            if classify(error).kind == "busy":
                raise
            return None, {}  # a server, or a key, that cannot say: begin anew

    def _usable(self, identifier: str) -> dict[int, dict[str, Any]]:
        ours = {part.number: part for part in self.content.parts}
        there = {}
        for held in _parts(self.client, self.bucket, self.key, identifier):
            part = ours.get(held["PartNumber"])
            if part is None or held["Size"] != part.size or held["ETag"].strip('"') != part.etag:
                continue
            if self.checksums and held.get("ChecksumSHA256") != base64(part.sha256):
                continue
            sums = {"ChecksumSHA256": held["ChecksumSHA256"]} if self.checksums else {}
            there[part.number] = {"PartNumber": part.number, "ETag": held["ETag"], **sums}
        return there


def abort_stale(client: Any, bucket: str, prefix: str, before: datetime) -> int:
    """Abort the uploads in which nothing has happened since `before`; says how many."""
    aborted = 0
    for upload in list(_uploads(client, bucket, prefix)):
        if upload["Initiated"] >= before:
            continue
        with _gone_is_fine(client):
            newest = [p["LastModified"] for p in _parts(client, bucket, upload["Key"], upload["UploadId"])]
            if max(newest, default=upload["Initiated"]) < before:
                _abort(client, bucket, upload["Key"], upload["UploadId"])
                aborted += 1
    return aborted


def _uploads(client: Any, bucket: str, prefix: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Uploads", ())


def _parts(client: Any, bucket: str, key: str, identifier: str) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator("list_parts").paginate(Bucket=bucket, Key=key, UploadId=identifier):
        yield from page.get("Parts", ())


def _abort(client: Any, bucket: str, key: str, identifier: str) -> None:
    with _gone_is_fine(client):
        client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=identifier)


@contextmanager
def _gone_is_fine(client: Any) -> Iterator[None]:
    """Another process completed or aborted it first."""
    try:
        yield
    except client.exceptions.ClientError as error:
        if classify(error).kind != "missing":
            raise
