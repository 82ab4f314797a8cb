"""What is sent to a bucket, and every name that a server may give to it: its SHA-256, its MD5, its ETag."""

from __future__ import annotations

import hashlib
import os
import re
from base64 import b64encode
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from backup_pipeline.stores.checksums import Judgement

MD5 = re.compile(r"[0-9a-f]{32}")
_BLOCK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    #: From 1 on, as S3 counts.
    number: int
    offset: int
    size: int
    md5: bytes
    #: Empty where no server is going to compare it.
    sha256: bytes

    @property
    def etag(self) -> str:
        return self.md5.hex()


@dataclass(frozen=True)
class Content:
    data: bytes | Path
    size: int
    sha256: str
    #: At least one; of one size but for the last.
    parts: tuple[Part, ...]

    @classmethod
    def of(cls, data: bytes | Path, part_size: int, *, checksums: bool = False) -> Content:
        whole, parts, offset = hashlib.sha256(), list[Part](), 0
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        while offset < size or not parts:
            block = _read(data, offset, min(part_size, size - offset))
            whole.update(block)
            md5 = hashlib.md5(block, usedforsecurity=False).digest()
            sha256 = hashlib.sha256(block).digest() if checksums else b""
            parts.append(Part(len(parts) + 1, offset, len(block), md5, sha256))
            offset += len(block)
        return cls(data, size, whole.hexdigest(), tuple(parts))

    @property
    def single(self) -> bool:
        return len(self.parts) == 1

    def bytes_of(self, part: Part) -> bytes:
        return _read(self.data, part.offset, part.size)

    @property
    def etag(self) -> str:
        """What a server that computes an MD5, as S3 does, calls this content when it was sent as we send it."""
        if self.single:
            return self.parts[0].etag
        joined = hashlib.md5(b"".join(part.md5 for part in self.parts), usedforsecurity=False)
        return f"{joined.hexdigest()}-{len(self.parts)}"

    @cached_property
    def md5(self) -> str:
        """Of the whole: some servers put the parts together and hash that."""
        if self.single:
            return self.parts[0].etag
        digest = hashlib.md5(usedforsecurity=False)
        for part in self.parts:
            digest.update(self.bytes_of(part))
        return digest.hexdigest()

    def proven_by(self, answer: dict[str, Any]) -> bool:
        """Whether the server says that it has compared the SHA-256."""
        said = answer.get("ChecksumSHA256", "")
        if self.single:
            return bool(said == base64(self.parts[0].sha256))
        joined = hashlib.sha256(b"".join(part.sha256 for part in self.parts)).digest()
        return bool(said == f"{base64(joined)}-{len(self.parts)}")

    def judge(self, head: dict[str, Any]) -> Judgement:
        """Whether an object, by what a HEAD says of it, is this content."""
        if head["ContentLength"] != self.size:
            return "other"
        etag = etag_of(head)
        return self.judge_etag(etag) if etag else "unknown"

    def judge_etag(self, etag: str) -> Judgement:
        if etag == self.etag:
            return "same"
        if MD5.fullmatch(etag):
            return "same" if etag == self.md5 else "other"
        # Parts of another size, or a server with ETags of its own.
        return "unknown"

    def equals(self, stream: BinaryIO) -> bool:
        digest, size = hashlib.sha256(), 0
        while block := stream.read(_BLOCK):
            digest.update(block)
            size += len(block)
        return size == self.size and digest.hexdigest() == self.sha256


def etag_of(head: dict[str, Any]) -> str:
    """Empty where it is no MD5 of what was sent."""
    if head.get("ServerSideEncryption", "AES256") != "AES256" or head.get("SSECustomerAlgorithm"):
        return ""
    return str(head.get("ETag", "")).strip('"')


def base64(digest: bytes) -> str:
    return b64encode(digest).decode()


def _read(data: bytes | Path, offset: int, size: int) -> bytes:
    if isinstance(data, bytes):
        return data if size == len(data) else data[offset : offset + size]
    descriptor = os.open(data, os.O_RDONLY)
    try:
        pieces = []
        while size and (piece := os.pread(descriptor, size, offset)):
            pieces.append(piece)
            offset, size = offset + len(piece), size - len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
    finally:
        os.close(descriptor)
