"""Out of a bucket: streams and listings that break, and go on when they are asked again.

`features.resumes` names both: after a StoreUnavailable the next `read`, or the next `next`, goes on where they were. A
stream goes on in the same object only (If-Match), never in a newer one.

A small object (a manifest, a lock) is compared with the digest that it carries before a byte is handed out. It is
fetched again when it differs, because its reader acts at once. The same wrong bytes twice are what is stored, and
judging that is the reader's part.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from typing import Any

from backup_pipeline.errors import StoreUnavailable, VaultError
from backup_pipeline.services.aws import Failed, Failure, failures
from backup_pipeline.stores.rate_limit import Pace

Raised = Callable[[Failure], Exception]

#: Objects up to this are compared with their digest before they are handed out.
SMALL = 4 * 1024 * 1024
#: Says what the object was meant to be.
MEANT = "sha256"
#: Keys in one answer of a listing: the most that S3 gives.
PAGE = 1000
MD5 = re.compile(r"[0-9a-f]{32}")
#: How often one that arrives damaged, and differently each time, is fetched again.
DIFFERENT = 3
#: One read from the network, so that a rate is kept evenly and Ctrl-C is heard.
PIECE = 1024 * 1024


def empty() -> io.BytesIO:
    return io.BytesIO()


class Stream:
    def __init__(
        self,
        get: Callable[..., dict[str, Any]],
        key: str,
        offset: int,
        length: int | None,
        *,
        pace: Pace,
        raised: Raised,
    ) -> None:
        self._get, self._key = get, key
        self._at, self._length, self._whole = offset, length, offset == 0 and length is None
        self._pace, self._raised = pace, raised
        #: Where the stream ends; known from the first answer.
        self._end: int | None = None
        self._etag = ""
        self._body: Any = None
        #: A small object, compared.
        self._buffer: io.BytesIO | None = None
        self._rejected: list[bytes] = []

    def open(self) -> None:
        answer = self._asked()
        if answer is None:
            self._end = self._at
            return
        self._body = answer["Body"]
        if self._end is None:
            self._end = self._at + answer["ContentLength"]
            self._etag = answer.get("ETag", "")
        if self._whole and self._buffer is None and self._end <= SMALL:
            self._fill(answer)

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(PIECE), b""))
        if self._buffer is None and (self._end is None or (self._body is None and self._at < self._end)):
            self.open()
        return self._taken(size)

    def _taken(self, size: int) -> bytes:
        if self._buffer is not None:
            return self._buffer.read(size)
        assert self._end is not None
        wanted = min(size, PIECE, self._end - self._at)
        data = self._received(wanted) if wanted else b""
        self._at += len(data)
        return data

    def _asked(self) -> dict[str, Any] | None:
        """None where the range begins behind the end."""
        more: dict[str, Any] = {"IfMatch": self._etag} if self._etag else {}
        last = (
            self._end if self._end is not None else None if self._length is None else self._at + self._length
        )
        if self._at or last is not None:
            more["Range"] = f"bytes={self._at}-{'' if last is None else last - 1}"
        try:
            with failures(Failed):
                return self._get(Key=self._key, **more)
        except Failed as error:
            if error.failure.kind == "beyond":
                return None
            if error.failure.kind == "exists":
                raise VaultError(
                    f"{self._key} was changed while it was read",
                    remedy="run it again; another process overwrites it",
                ) from error
            raise self._raised(error.failure) from error

    def _received(self, wanted: int) -> bytes:
        try:
            with failures(self._raised):
                data: bytes = self._body.read(wanted)
                if not data:
                    raise ConnectionError("the connection was closed before the end")
        except BaseException:
            self._drop()
            raise
        self._pace.spend(len(data))
        return data

    def _fill(self, answer: dict[str, Any]) -> None:
        assert self._end is not None
        buffer = io.BytesIO()
        while buffer.tell() < self._end:
            buffer.write(self._received(min(PIECE, self._end - buffer.tell())))
        self._drop()
        data = buffer.getvalue()
        if self._fits(data, answer) or data in self._rejected:
            self._buffer = io.BytesIO(data)
        elif len(self._rejected) < DIFFERENT:
            self._rejected.append(data)
            self.open()
        else:
            raise self._raised(Failure("busy", "it arrives as something else each time it is read"))

    def _fits(self, data: bytes, answer: dict[str, Any]) -> bool:
        """As far as the server says what it should be."""
        meant = answer.get("Metadata", {}).get(MEANT)
        if meant and hashlib.sha256(data).hexdigest() != meant:
            return False
        etag = answer.get("ETag", "").strip('"')
        plain = (
            answer.get("ServerSideEncryption", "AES256") == "AES256" and "SSECustomerAlgorithm" not in answer
        )
        if plain and MD5.fullmatch(etag):
            return bool(hashlib.md5(data, usedforsecurity=False).hexdigest() == etag)
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def close(self) -> None:
        self._drop()


class Pages:
    """The entries of a listing, page after page."""

    def __init__(
        self,
        client: Any,
        asked: dict[str, Any],
        taken: Callable[[dict[str, Any]], Iterator[Any]],
        raised: Raised,
    ) -> None:
        self._client, self._asked, self._taken, self._raised = client, asked, taken, raised
        self._entries: Iterator[Any] = iter(())
        self._done = False
        self._fresh = False

    def __iter__(self) -> Pages:
        return self

    def __next__(self) -> Any:
        while True:
            for entry in self._entries:
                return entry
            if self._done:
                raise StopIteration
            self._turn()

    def _turn(self) -> None:
        try:
            with failures(self._raised):
                page = self._client.list_objects_v2(MaxKeys=PAGE, **self._asked)
        except StoreUnavailable as error:
            error.progressed, self._fresh = self._fresh, False
            raise
        self._fresh = True
        self._entries = self._taken(page)
        token = page.get("NextContinuationToken")
        self._done = not page.get("IsTruncated") or not token
        self._asked = {**self._asked, "ContinuationToken": token}
