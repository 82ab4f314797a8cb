"""The contract of a store: six verbs over keys and bytes, and a broom.

Keys are relative paths with `/` between the parts (`objects/ab/abcd….tsv.zst`). What every store promises,
and what `backup_pipeline_tests/contracts/store_contract.py` holds each of them to:

- `put` is atomic: a reader sees all of the bytes or no key at all, also when the writer is killed half-way
  or the power goes. When it returns, the bytes are durable.
- `put` never changes an existing key unless `overwrite` says so. Without it, a second `put` of the same key
  raises AlreadyExists, also when two writers race (where `features.conditional_create`).
- `get` returns the bytes as they were put, from `offset`, at most `length` of them.
- `stat` returns None for a key that is not there; `get` raises NotFound.
- `list` yields what `put` finished, in no particular order; never something half-written.
- `folders` yields the next part of the keys under a folder, without reading what lies deeper: a vault of a
  million objects must not be walked to see which systems it holds.
- `delete` of a key that is not there is not an error.
- Errors: NotFound, AlreadyExists, StoreUnavailable (worth another try), VaultError (not worth one).
- `advice` leaves no key behind.
- A store can be pickled and used in another process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from backup_pipeline.errors import Damaged, VaultError
from backup_pipeline.model.findings import Finding


@dataclass(frozen=True, slots=True)
class Stat:
    key: str
    size: int
    modified: datetime
    #: The checksum that the store states where it lists or looks, in a way of its own; see `attesting`.
    stated: str = ""


@dataclass(frozen=True, slots=True)
class Features:
    """What stores differ in. Code asks for a feature, never for a class of store."""

    #: Two racing creates of one key: exactly one wins.
    conditional_create: bool = True
    #: `put` of a file made in `staging()` moves it instead of copying it.
    moves_staged_files: bool = False
    #: Reading a range does not read the rest.
    ranged_get: bool = True
    #: A `stat` costs about as little as a system call. Where it is a request, whoever asks for many keys lists.
    cheap_stat: bool = True


@dataclass(frozen=True, slots=True)
class Room:
    """How much more fits, in bytes. A store that can tell has a method `room() -> Room | None`."""

    free: int
    total: int


class AskedFeatures(Features):
    """Of a store elsewhere, where it is only known by trying whether a create is conditional: tried when somebody
    wants to know that, and not when somebody wants to know something else."""

    __slots__ = ("_ask",)
    _ask: Callable[[], bool]

    def __init__(self, ask: Callable[[], bool]) -> None:
        object.__setattr__(self, "_ask", ask)
        for name, value in (("moves_staged_files", False), ("ranged_get", True), ("cheap_stat", False)):
            object.__setattr__(self, name, value)

    @property
    def conditional_create(self) -> bool:
        return self._ask()


class Store(Protocol):
    @property
    def features(self) -> Features: ...

    @property
    def address(self) -> str:
        """For people: where this is, without a secret in it."""

    def staging(self) -> Path:
        """A local folder in which to make a file that will be `put`."""

    def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        """Store `data` under `key`. A Path that lies in `staging()` may be consumed, on success only."""

    def get(
        self, key: str, *, offset: int = 0, length: int | None = None
    ) -> AbstractContextManager[BinaryIO]: ...

    def stat(self, key: str) -> Stat | None: ...

    def list(self, prefix: str = "") -> Iterator[Stat]: ...

    def folders(self, prefix: str = "") -> Iterator[str]:
        """`folders("shop/")` yields "2026-11-21T02-00-00-123Z" if there is a key below it."""

    def delete(self, key: str) -> None: ...

    def advice(self) -> Iterator[Finding]:
        """For the doctor: what this kind of place refuses, or lets slip, only when it matters. The settings of the store are
        tried by writing with them; a probe that cannot be taken away is below `tmp/`, small, and used again."""

    def sweep(self) -> int:
        """Remove what killed writers left half-written; says how many. Never what a living one is writing."""


def check_key(key: str) -> str:
    """Keys come from manifests, and a manifest may come from anywhere: none may point out of the store."""
    parts = key.split("/")
    if not key or "\\" in key or "\0" in key or any(part in ("", ".", "..") for part in parts):
        raise VaultError(f"{key!r} is not a key of a store")
    return key


#: No document of a vault is longer: the manifest of 10 TB has 200 MB.
MOST = 512 << 20
#: Nor is a lock, a record or a seal.
SMALL = 1 << 20


def read_all(store: Store, key: str, limit: int = MOST) -> bytes:
    """A whole document. Raises Damaged where it is longer than any of its kind: it is not taken into memory."""
    data = bytearray()
    with store.get(key) as stream:
        while len(data) <= limit and (block := stream.read(min(1 << 20, limit + 1 - len(data)))):
            data += block
    if len(data) > limit:
        raise Damaged(
            f"{key} is longer than {limit >> 20} MiB: no file of its kind is",
            remedy="another program wrote it: see who writes to this store",
        )
    return bytes(data)
