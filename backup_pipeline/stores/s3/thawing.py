"""The archives of S3: GLACIER and DEEP_ARCHIVE, and those two that INTELLIGENT_TIERING has inside."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from backup_pipeline.errors import NotAllowed, StoreUnavailable, VaultError
from backup_pipeline.model.orders import Tier
from backup_pipeline.services.aws import Failed, Failure, failures
from backup_pipeline.stores.base import Again
from backup_pipeline.stores.s3.reading import Pages
from backup_pipeline.stores.thawing import HOURS, Frozen

if TYPE_CHECKING:
    from backup_pipeline.stores.s3.store import S3Store

#: Requests at a time: each is tiny, and most of its time is waiting.
THREADS = 16
#: Above so many keys a listing of all objects, which gives the class of a thousand at once, is less to ask.
LIST_ABOVE = 64
#: Only looking at such an object itself tells whether it is archived.
_MAYBE = "INTELLIGENT_TIERING"
_UNTIL = re.compile(r'expiry-date="([^"]+)"')


@dataclass(frozen=True)
class S3Thawing:
    store: S3Store
    again: Again

    def look(self, keys: Sequence[str]) -> tuple[Frozen, ...]:
        asked = list(keys) if len(keys) <= LIST_ABOVE else self._suspects(set(keys))
        with ThreadPoolExecutor(THREADS, thread_name_prefix="thaw") as pool:
            found = pool.map(self._look_at, sorted(asked))
            return tuple(one for one in found if one is not None)

    def ask(self, frozen: Frozen, tier: Tier, days: int) -> None:
        wanted: dict[str, Any] = {"GlacierJobParameters": {"Tier": tier.capitalize()}}
        if frozen.archive in ("GLACIER", "DEEP_ARCHIVE"):
            wanted["Days"] = days  # the others move the object itself back, for good
        self.again(lambda: self._ask(frozen.key, wanted))

    def _ask(self, key: str, wanted: dict[str, Any]) -> None:
        try:
            with failures(Failed):
                self.store.client.restore_object(
                    Bucket=self.store.bucket, Key=self.store.prefix + key, RestoreRequest=wanted
                )
        except Failed as error:
            if error.failure.code != "RestoreAlreadyInProgress":
                raise self._refused(error.failure, key) from error

    def _refused(self, failure: Failure, key: str) -> VaultError:
        what = f"cannot ask for the thaw of {key} in {self.store.address}: {failure.message}"
        if failure.code == "GlacierExpeditedRetrievalNotAvailable":
            return VaultError(
                what, remedy="AWS has no room for expedited thaws now: ask with --thaw standard"
            )
        if failure.kind == "denied":
            return NotAllowed(
                what,
                remedy="it takes s3:RestoreObject: `bucket setup … --policies` prints the policy `reader`",
            )
        if failure.kind == "busy":
            return StoreUnavailable(what)
        return VaultError(what, remedy=failure.remedy)

    def _suspects(self, keys: set[str]) -> list[str]:
        """Those whose class says that they are, or may be, in an archive."""
        folders = {key.rpartition("/")[0] + "/" for key in keys}
        if len(keys) < 2 * len(folders):
            folders = {common_folder(keys)}
        with ThreadPoolExecutor(THREADS, thread_name_prefix="list") as pool:
            listed = pool.map(lambda folder: self._suspects_in(folder, keys), folders)
            return [key for found in listed for key in found]

    def _suspects_in(self, folder: str, keys: set[str]) -> list[str]:
        return [key for key, name in self._classes(folder) if key in keys and _may_be_frozen(name)]

    def _classes(self, prefix: str) -> Iterator[tuple[str, str]]:
        store = self.store
        asked = {"Bucket": store.bucket, "Prefix": store.prefix + prefix}
        what = f"cannot list {store.address}"
        pages = Pages(
            store.client,
            asked,
            lambda page: iter(page.get("Contents", ())),
            lambda failure: _plain(failure, what),
        )
        while (found := self.again(lambda: next(pages, None))) is not None:
            yield found["Key"].removeprefix(store.prefix), found.get("StorageClass", "STANDARD")

    def _look_at(self, key: str) -> Frozen | None:
        head = self.again(lambda: self.store.head(key))
        return None if head is None else frozen_of(key, head)


def frozen_of(key: str, head: dict[str, Any]) -> Frozen | None:
    """What the answer to a HEAD says."""
    archive = head.get("ArchiveStatus") or head.get("StorageClass", "STANDARD")
    if archive not in HOURS:
        return None
    size, told = head["ContentLength"], head.get("Restore", "")
    if 'ongoing-request="true"' in told:
        return Frozen(key, size, archive, "thawing")
    if 'ongoing-request="false"' in told:
        return Frozen(key, size, archive, "thawed", _until(told))
    return Frozen(key, size, archive, "frozen")


def _until(told: str) -> datetime | None:
    found = _UNTIL.search(told)
    return parsedate_to_datetime(found[1]) if found else None


def _may_be_frozen(name: str) -> bool:
    return name in HOURS or name == _MAYBE


def common_folder(keys: set[str]) -> str:
    """The folder that holds all of them."""
    least, most = min(keys), max(keys)
    length = next((i for i, (a, b) in enumerate(zip(least, most, strict=False)) if a != b), len(least))
    return least[:length].rpartition("/")[0] + "/" if "/" in least[:length] else ""


def _plain(failure: Failure, what: str) -> VaultError:
    kind = StoreUnavailable if failure.kind == "busy" else VaultError
    return kind(f"{what}: {failure.message}", remedy=failure.remedy)
