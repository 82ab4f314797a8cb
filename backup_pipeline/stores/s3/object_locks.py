"""Object locks of a bucket: how they are read, set and extended.

A request that asks for a lock is no lock. Ceph 16 ignores the headers of an upload in parts, Swift those of every PUT, and
both answer with success. So on a server that is not AWS each locked object is looked at after it was written.

The lock is then asked for once more by a request of its own. A server that does not know `?retention` takes that request
for a PUT of the object, and the object would be gone. Whether it is known is therefore asked first, by a question that
changes nothing, of a key that nothing depends on.

Now and then every object is looked at, and one without a lock is locked. Some servers take the lock of an upload in
parts and do not keep it; older versions believed them. A bucket may have been filled before `object_lock_days` was set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backup_pipeline.errors import NotAllowed
from backup_pipeline.services.aws import Failed, failures, is_aws
from backup_pipeline.stores.base import Again, Stat
from backup_pipeline.stores.s3.probing import knows_retention
from backup_pipeline.stores.s3.thawing import common_folder

if TYPE_CHECKING:
    from backup_pipeline.stores.s3.store import S3Store

#: Requests at a time: each is tiny, and most of its time is waiting.
THREADS = 16
#: A lock is extended by whole hours only, so that two backups of an hour do not both do it.
SLACK = timedelta(hours=1)
#: All are looked at again when this part of the days is over.
LOOK_AGAIN = 0.25
#: What a server that knows object locks answers of an object, or a bucket, that has none.
_NONE = frozenset({"NoSuchObjectLockConfiguration", "ObjectLockConfigurationNotFoundError", "InvalidRequest"})


def locked_until(store: S3Store, key: str) -> datetime | None:
    """None: it is not locked. Raises NotAllowed where these credentials cannot tell."""
    head = store.head(key)
    until: datetime | None = None if head is None else head.get("ObjectLockRetainUntilDate")
    if until is not None or head is None or not is_aws(store.client):
        return until
    return _asked_of_aws(store, key)


def _asked_of_aws(store: S3Store, key: str) -> datetime | None:
    """AWS leaves the lock out of a HEAD by credentials that may not see it."""
    try:
        with failures(Failed):
            answer = store.client.get_object_retention(Bucket=store.bucket, Key=store.prefix + key)
    except Failed as error:
        if error.failure.code in _NONE:
            return None
        raise store._failed(f"cannot see the lock of {key}")(error.failure) from error
    found: datetime | None = answer.get("Retention", {}).get("RetainUntilDate")
    return found


def demand_lock(store: S3Store, key: str, until: datetime) -> None:
    """After a write that asked for a lock: it is there, or it is set now, or this raises."""
    if locked_until(store, key) is None:
        set_lock(store, key, until)


def set_lock(store: S3Store, key: str, until: datetime, *, known: bool = False) -> None:
    """`known`: the server has shown a lock, so it knows what is asked of it."""
    retention = {"Mode": store.options.object_lock_mode, "RetainUntilDate": until}
    failed = store._failed(f"cannot lock {key}")
    known = known or is_aws(store.client)
    if known or knows_retention(store.client, store.bucket, store.prefix, failed):
        with failures(failed):
            store.client.put_object_retention(
                Bucket=store.bucket, Key=store.prefix + key, Retention=retention
            )
        if known or locked_until(store, key) is not None:
            return
    raise NotAllowed(
        f"{store.address} takes `object_lock_days` and locks nothing: {key} can be deleted at any time",
        remedy="leave `object_lock_days:` out, or use a server that keeps object locks; a bucket must have been made with "
        "them (`backup-pipeline bucket setup`)",
    )


@dataclass(frozen=True)
class S3ObjectLocks:
    store: S3Store
    again: Again

    @property
    def days(self) -> int:
        return self.store.options.object_lock_days or 0

    @property
    def _days(self) -> timedelta:
        return timedelta(days=self.days)

    def until(self, key: str) -> datetime | None:
        return self.again(lambda: locked_until(self.store, key))

    def extend(self, keys: Collection[str], *, now: datetime | None = None) -> int:
        """What was written in the first half of its days is locked for long enough; a listing says which those are."""
        now = now or datetime.now(UTC)
        wanted, due = set(keys), self._look_is_due(now)
        walk, chosen = self.store.list(common_folder(wanted) if wanted and not due else ""), list[Stat]()
        while (found := self.again(lambda: next(walk, None))) is not None:
            old = found.key in wanted and found.modified < now - self._days / 2
            if old or (due and self.store.locks(found.key)):
                chosen.append(found)

        def again(stat: Stat) -> bool:
            return self.again(lambda: self._extend(stat, now, named=stat.key in wanted))

        with ThreadPoolExecutor(THREADS, thread_name_prefix="relock") as pool:
            extended = sum(pool.map(again, chosen))
        if due:
            self._note.write_text(now.isoformat(), encoding="ascii")
        return extended

    def _extend(self, stat: Stat, now: datetime, *, named: bool) -> bool:
        """What the new backup does not name gets the days that it should have had from the beginning."""
        until = locked_until(self.store, stat.key)
        if until is not None and (not named or until >= now + self._days / 2 - SLACK):
            return False
        end = (now if named else stat.modified) + self._days
        if end <= now:
            return False
        set_lock(self.store, stat.key, end, known=until is not None)
        return True

    @property
    def _note(self) -> Path:
        options = self.store.options
        name = f"{self.store.address} {options.object_lock_days} {options.object_lock_mode}"
        return self.store.staging() / f".locks-{hashlib.sha256(name.encode()).hexdigest()[:16]}"

    def _look_is_due(self, now: datetime) -> bool:
        try:
            looked = datetime.fromisoformat(self._note.read_text(encoding="ascii"))
        except (FileNotFoundError, ValueError):
            return True
        return not looked <= now < looked + self._days * LOOK_AGAIN
