"""Extending the locks of objects in a bucket: two small requests for each one that is old enough to need it.

Now and then every object is looked at, and one that is not locked is locked: older versions of this package believed
servers that take the lock of an upload in parts and do not keep it, and a bucket may have been filled before
`object_lock_days` was set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backup_pipeline.stores.base import Again, Stat
from backup_pipeline.stores.s3 import locking as s3_locking
from backup_pipeline.stores.s3.store import S3Store
from backup_pipeline.stores.s3.thawing import common_folder

#: Requests at a time: each is tiny, and most of its time is waiting.
THREADS = 16
#: A lock is extended by whole hours only, so that two backups of an hour do not both do it.
SLACK = timedelta(hours=1)
#: All are looked at again when this part of the days is over.
LOOK_AGAIN = 0.25


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
        return self.again(lambda: s3_locking.locked_until(self.store, key))

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
        until = s3_locking.locked_until(self.store, stat.key)
        if until is not None and (not named or until >= now + self._days / 2 - SLACK):
            return False
        end = (now if named else stat.modified) + self._days
        if end <= now:
            return False
        s3_locking.set_lock(self.store, stat.key, end, known=until is not None)
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
