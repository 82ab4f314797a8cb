"""What a store says of the bytes that it holds, without sending them.

S3 and Dropbox compute a checksum when bytes arrive, and state it when they are asked for the object: an object that was
replaced by another of the same length is found without reading it. Each has checksums of its own kinds. A SHA-256 can be
compared with the object's name; for the others, the same checksum is computed of bytes that are known to be right, from
another place.

It is the store's word. Whether a disk there has since lost a bit, only reading tells.
"""

from __future__ import annotations

from typing import Literal, Protocol

Judgement = Literal["same", "other", "unknown"]


class Attestation(Protocol):
    """Of one object."""

    @property
    def needs_bytes(self) -> bool:
        """Whether the right bytes, all of them and in their order, have to be given before it can judge."""

    def update(self, block: bytes) -> None: ...

    def judge(self) -> Judgement: ...


class Hash(Protocol):
    def update(self, data: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class Judged:
    """What needed no bytes."""

    needs_bytes = False

    def __init__(self, judgement: Judgement) -> None:
        self._judgement = judgement

    def update(self, block: bytes) -> None:
        """Nothing depends on them."""

    def judge(self) -> Judgement:
        return self._judgement


class Compared:
    """A checksum that is computed here as the store computed it."""

    needs_bytes = True

    def __init__(self, digest: Hash, stated: str, *, unlike: Judgement = "other") -> None:
        self._digest, self._stated, self._unlike = digest, stated, unlike

    def update(self, block: bytes) -> None:
        self._digest.update(block)

    def judge(self) -> Judgement:
        return "same" if self._digest.hexdigest() == self._stated else self._unlike
