"""The checksums that a bucket states of an object: its SHA-256, or its ETag where that is an MD5."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from backup_pipeline.stores.checksums import Attestation, Compared, Judged
from backup_pipeline.stores.s3.content import MD5, base64, etag_of


def attestation(head: dict[str, Any] | None, sha256: str, size: int, part_size: int) -> Attestation:
    """`part_size`: of the parts in which we would send so many bytes."""
    if head is None or head["ContentLength"] != size:
        return Judged("other")
    sent, parts = str(head.get("ETag", "")).strip('"'), -(-size // part_size)
    sha, etag = str(head.get("ChecksumSHA256", "")).partition("-")[0], etag_of(head)
    if "-" not in sent and sha:
        return Judged("same" if sha == base64(bytes.fromhex(sha256)) else "other")
    if MD5.fullmatch(etag):
        return Compared(_md5(), etag)
    if sent.endswith(f"-{parts}") and sha:
        return Compared(_InParts(hashlib.sha256, part_size, base64), sha, unlike="unknown")
    if etag.endswith(f"-{parts}"):
        return Compared(_InParts(_md5, part_size, bytes.hex), etag.partition("-")[0], unlike="unknown")
    return Judged("unknown")


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


class _InParts:
    """The digest of the digests of parts. Where it is another one, the parts may have had another size."""

    def __init__(self, new: Callable[[], Any], size: int, written: Callable[[bytes], str]) -> None:
        self._new, self._size, self._written = new, size, written
        self._whole, self._part = new(), new()
        self._filled = 0

    def update(self, data: bytes, /) -> None:
        view = memoryview(data)
        while view:
            block = view[: self._size - self._filled]
            self._part.update(block)
            self._filled += len(block)
            view = view[len(block) :]
            if self._filled == self._size:
                self._end_part()

    def hexdigest(self) -> str:
        if self._filled:
            self._end_part()
        return self._written(self._whole.digest())

    def _end_part(self) -> None:
        self._whole.update(self._part.digest())
        self._part, self._filled = self._new(), 0
