"""Extending the locks of objects in a bucket: two small requests for each one that is old enough to need it."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

from backup_pipeline.accounts.aws import failures
from backup_pipeline.stores.retrying import Patience
from backup_pipeline.stores.s3 import S3Store

#: Requests at a time: each is tiny, and most of its time is waiting.
THREADS = 16
FOLDER = "objects/"
#: A lock is extended by whole hours only, so that two backups of an hour do not both do it.
SLACK = timedelta(hours=1)


@dataclass(frozen=True)
class S3Relocking:
    store: S3Store
    patience: Patience
    now: datetime

    @property
    def _days(self) -> timedelta:
        return timedelta(days=self.store.options.object_lock_days or 0)

    def extend(self, keys: Collection[str]) -> int:
        """What was written in the first half of its days is locked for long enough; a listing says which those are."""
        wanted = set(keys)
        walk, old = self.store.list(FOLDER), list[str]()
        while (found := self.patience.again(lambda: next(walk, None))) is not None:
            if found.key in wanted and found.modified < self.now - self._days / 2:
                old.append(found.key)
        with ThreadPoolExecutor(THREADS, thread_name_prefix="relock") as pool:
            return sum(pool.map(lambda key: self.patience.again(lambda: self._extend(key)), old))

    def _extend(self, key: str) -> bool:
        head = self.store.head(key)
        until = (head or {}).get("ObjectLockRetainUntilDate")
        if head is None or (until is not None and until >= self.now + self._days / 2 - SLACK):
            return False
        retention = {"Mode": self.store.options.object_lock_mode, "RetainUntilDate": self.now + self._days}
        with failures(self.store._failed(f"cannot extend the lock of {key}")):
            self.store.client.put_object_retention(
                Bucket=self.store.bucket, Key=self.store.prefix + key, Retention=retention
            )
        return True
