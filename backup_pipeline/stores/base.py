"""The contract of a store: verbs over keys and bytes, and the capabilities that only some kinds of store have.

Keys are relative paths with `/` between the parts (`objects/ab/abcd….tsv.zst`). What every store promises,
and what `backup_pipeline_tests/contracts/store_contract.py` holds each of them to:

- `put` is atomic: a reader sees all of the bytes or no key at all, also when the writer is killed half-way
  or the power goes. When it returns, the bytes are durable.
- `put` never changes an existing key unless `overwrite` says so. Without it, a second `put` of the same key
  raises AlreadyExists, also when two writers race (where `creates_once()`).
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

from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol, TypeVar

from backup_pipeline.errors import Damaged, VaultError
from backup_pipeline.model.findings import Finding
from backup_pipeline.stores.checksums import Attestation
from backup_pipeline.stores.thawing import Thawing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Stat:
    key: str
    size: int
    modified: datetime
    #: The checksum that the store states where it lists or looks, in a way of its own; see `checksums`.
    stated: str = ""


@dataclass(frozen=True, slots=True)
class Features:
    """What stores differ in. Code asks for a feature, never for a class of store."""

    #: `put` of a file made in `staging()` moves it instead of copying it.
    moves_staged_files: bool = False
    #: The verbs (get, list, folders) whose streams go on by themselves when they are asked again after StoreUnavailable.
    resumes: frozenset[str] = frozenset()
    #: A `stat` costs about as little as a system call. Where it is a request, a caller with many keys lists.
    cheap_stat: bool = True


@dataclass(frozen=True, slots=True)
class Room:
    """How much more fits, in bytes."""

    free: int
    total: int


class Again(Protocol):
    """Makes a request, and makes it again where another try may help."""

    def __call__(self, work: Callable[[], T], /) -> T: ...


def once(work: Callable[[], T]) -> T:
    return work()


class ObjectLocks(Protocol):
    """Locks against deletion, which run from the day an object was written.

    An object that did not change is not written again, and the newest backup needs it. So before a manifest is written, the
    locks of the objects that it names are extended: each stays locked for at least half of the days from the commit on."""

    @property
    def days(self) -> int:
        """For how many days an object is locked when it is put."""

    def until(self, key: str) -> datetime | None:
        """The lock as the store states it: a setting is no lock. NotAllowed: these credentials cannot see it."""

    def extend(self, keys: Collection[str], *, now: datetime | None = None) -> int:
        """Extend the locks that end too soon; returns how many."""


class Store(Protocol):
    """Ten verbs, and below them the capabilities, which only some kinds of store have: each has a default, which says that
    the store has none. `again`: a capability of many requests makes each of them by it."""

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

    def delete(self, key: str, *, durable: bool = True) -> None:
        """`durable`: the key stays gone after a power cut. False, for thousands of keys: a few of them may come back."""

    def advice(self) -> Iterator[Finding]:
        """For the doctor: what this kind of place refuses, or lets slip, only when it matters. The settings of the store are
        tried by writing with them; a probe that cannot be taken away is below `tmp/`, small, and used again."""

    def sweep(self) -> int:
        """Remove what killed writers left half-written; says how many. Never what a living one is writing."""

    # ── capabilities

    def creates_once(self) -> bool:
        """Whether exactly one of two racing creates of a key wins. A store elsewhere finds that out by a request."""
        return True

    @property
    def folder(self) -> Path | None:
        """The folder of this machine, or mounted here, that the store is; None: the store is elsewhere."""
        return None

    def room(self) -> Room | None:
        """Of a server's disk or an account; None: the store cannot tell, or has no end."""
        return None

    def attest(self, stat: Stat, sha256: str) -> Attestation | None:
        """The checksum that the store states of an object; None: the store computes none."""
        return None

    def thawing(self, again: Again = once) -> Thawing | None:
        """Reads objects back from an archive; None: the store has no archive."""
        return None

    def object_locks(self, again: Again = once) -> ObjectLocks | None:
        """None: nothing is locked against deletion."""
        return None


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
