"""Committing beside a prune: a backup never names an object that another process is about to delete.

A running backup may decide at any time to name an object of the vault. Prune may find at the same time that nothing
names it. Each says what it is about to do before it looks at what the other says:

    the writer                                       prune
    1. writes `committing` into its lock             1. writes the objects into `condemned` of garbage.json
    2. reads `condemned`: waits while one is its own 2. reads all locks: waits while one is `committing`
    3. looks whether all its objects are there       3. reads the manifests that appeared since, and spares
    4. writes the manifest                              what they name; then deletes

If the writer's 2 comes before prune's 1, prune's 2 comes after the writer's 1: prune waits for the manifest, reads
it, and spares its objects. Otherwise the writer sees them condemned, waits until prune is done, and 3 says what
is gone; then StoreChanged makes it read that part again. All of this is about objects that were unnamed for the
whole grace time: what a backup that was running when they lost their last name could still want is not condemned at all.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

from backup_pipeline.errors import BackupError, Damaged, NotFound, StoreChanged, VaultBusy
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.vault_records import Garbage
from backup_pipeline.stores.base import Store, read_all
from backup_pipeline.vault import layout, lock
from backup_pipeline.vault.presence import Stored, missing

#: One longer than this is not waited for: its lock would be stale by then.
PATIENCE = lock.STALE + 60.0
POLL = 0.2
#: How often it is looked whether all is there, when this process stood still meanwhile.
TRIES = 3


def read_garbage(store: Store) -> Garbage:
    """What is marked. Where it cannot be read nothing is: then everything that is unnamed is marked anew."""
    try:
        found = canonical.decode(Garbage, read_all(store, layout.GARBAGE), what=layout.GARBAGE)
        for moment in (*filter(None, (found.at,)), *found.marked):
            parse_timestamp(moment)
        return found
    except (NotFound, Damaged):
        return Garbage()


@contextmanager
def committing(store: Store, held: lock.Held, objects: Iterable[Stored]) -> Iterator[None]:
    """Around the writing of a manifest that names `objects`. Raises StoreChanged where one of them is gone."""
    named = tuple(objects)
    try:
        _announced_and_there(store, held, named)
        yield
    finally:
        # The lock goes right after this; that the mark could not be taken back undoes no backup.
        with suppress(BackupError):
            held.announce_commit(False)


def _announced_and_there(store: Store, held: lock.Held, named: Sequence[Stored]) -> None:
    for _ in range(TRIES):
        _announce(store, held, {one.sha256 + one.suffix for one in named})
        gone = missing(store, named)
        if gone:
            raise StoreChanged(
                f"{len(gone)} of {len(named)} objects that this backup names are not in the vault any more, "
                f"{gone[0].sha256[:12]}…{gone[0].suffix} for one",
                remedy="run it again: what is gone is read anew",
            )
        held.confirm()
        if held.steady():
            return
        # We stood still while we looked: a prune may have passed our mark by, and what we saw may be gone.
    raise VaultBusy(
        "the lock of this system could not be kept alive while the backup was about to be listed",
        remedy="run it again; see whether this machine sleeps, or the store answers too slowly",
    )


def _announce(store: Store, held: lock.Held, names: set[str]) -> None:
    """Until the mark stands and none of our objects is condemned. The mark is taken back before a wait: prune waits
    for it as well."""
    deadline = time.monotonic() + PATIENCE
    while True:
        held.announce_commit(True)
        pruner = lock.current(store, layout.PRUNE_LOCK)
        alive = pruner is not None and not lock.is_stale(pruner, datetime.now(UTC))
        if not names & set(read_garbage(store).condemned) or not alive:
            return  # nothing of ours is condemned, or by a prune that was killed: what is there is looked at next
        held.announce_commit(False)
        if time.monotonic() > deadline:
            assert pruner is not None
            raise VaultBusy(
                f"{pruner.what} on {pruner.host} is deleting objects of this backup, and does not end",
                remedy="run the backup again when it is done",
            )
        time.sleep(POLL)
