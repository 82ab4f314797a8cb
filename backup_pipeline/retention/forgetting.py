"""Removing one backup, in an order in which the process may be killed anywhere; see `vault.records`."""

from __future__ import annotations

import pwd
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from os import getuid

from backup_pipeline.errors import StoreUnavailable, VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import backup_id, moment_of, timestamp
from backup_pipeline.model.manifest import Link
from backup_pipeline.model.vault_records import Forgotten
from backup_pipeline.stores.base import Store
from backup_pipeline.vault import layout, lock, records
from backup_pipeline.vault.restores import Restores
from backup_pipeline.vault.vault import Vault

#: An export without a commit in this time is abandoned. So is a killed run that was not repeated.
ABANDONED = timedelta(days=7)
#: After so many refusals in a row nothing more of that kind is tried.
ENOUGH = 20


def who() -> str:
    """Who did it, for the records: user@host."""
    try:
        user = pwd.getpwuid(getuid()).pw_name
    except KeyError:
        user = str(getuid())
    return f"{user}@{socket.gethostname()}"


@dataclass
class Denied:
    """Deletions that the store refused: rights that are missing, or a lock on the object. Counted by what it is about."""

    counts: dict[str, int] = field(default_factory=dict)
    first: dict[str, str] = field(default_factory=dict)
    remedies: dict[str, str] = field(default_factory=dict)
    in_a_row: dict[str, int] = field(default_factory=dict)

    def note(self, what: str, error: VaultError) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
        self.in_a_row[what] = self.in_a_row.get(what, 0) + 1
        self.first.setdefault(what, error.message)
        self.remedies.setdefault(what, error.remedy)

    def went_well(self, what: str) -> None:
        self.in_a_row[what] = 0

    def hopeless(self, what: str) -> bool:
        return self.in_a_row.get(what, 0) >= ENOUGH

    def findings(self) -> Iterable[Finding]:
        for what, count in self.counts.items():
            yield Finding.of(
                "delete-refused",
                count=count,
                objects=what,
                why=self.first[what],
                remedy=self.remedies[what]
                or "let the user that prunes delete them, or wait until their lock ends; what was refused is tried again by the next prune",
            )


def delete(store: Store, key: str, what: str, denied: Denied, *, durable: bool = True) -> bool:
    """False where the store refuses; a store that does not answer is an error."""
    try:
        store.delete(key, durable=durable)
    except StoreUnavailable:
        raise
    except VaultError as error:
        denied.note(what, error)
        return False
    denied.went_well(what)
    return True


@dataclass(frozen=True, slots=True)
class Doomed:
    """A backup that goes, and what its record will say."""

    system: str
    id: str
    manifest_sha256: str
    previous: Link | None
    why: str
    #: The records of restores that live as long as it.
    restores: tuple[str, ...] = ()


def forget(vault: Vault, doomed: Doomed, *, now: datetime, denied: Denied, despite_pin: bool = False) -> bool:
    """The record, the manifest, the rest. False where it stays: its manifest could not be deleted, or it was pinned
    meanwhile."""
    store, backup = vault.store, vault.backup(doomed.system, doomed.id)
    record = Forgotten(
        system=doomed.system,
        id=doomed.id,
        manifest_sha256=doomed.manifest_sha256,
        at=timestamp(now),
        why=doomed.why,
        by=who(),
        previous=doomed.previous,
    )
    records.write_forgotten(store, record, vault.signing.sign(canonical.encode(record)))
    pinned = not despite_pin and records.pin_of(backup) is not None
    manifest, rest = records.keys_of(backup)
    if pinned or not all(delete(store, key, "manifests", denied) for key in manifest):
        # It is still a backup. A record of it would do no harm, but would be a lie.
        delete(store, layout.forgotten_key(doomed.system, doomed.id), "records", denied)
        return False
    for key in rest:
        delete(store, key, "files beside manifests", denied)
    for identifier in doomed.restores:
        forget_restore(vault, doomed.system, identifier, denied)
    return True


def forget_restore(vault: Vault, system: str, identifier: str, denied: Denied) -> bool:
    """The document that makes it a record goes first. False where there is still a record."""
    keys = [key for one in Restores(vault, system).folders() if one.id == identifier for key in one.keys]
    for key in keys:
        if not delete(vault.store, key, "records of restores", denied) and key == keys[0]:
            return False
    return True


def finish(vault: Vault, system: str, denied: Denied) -> tuple[str, ...]:
    """Sweep away what a killed prune left of backups that were forgotten."""
    here = vault.ids(system)
    left = records.leftovers(vault.store, system, here)
    for identifier in left:
        manifest, rest = records.keys_of(vault.backup(system, identifier))
        # In a copy, one that it was not given before may have come in this very moment: then it is no leftover.
        for key in () if manifest else rest:
            delete(vault.store, key, "files beside manifests", denied)
    # A prune was killed between the record and the manifest: what is still a backup was not forgotten.
    for identifier in set(records.forgotten_ids(vault.store, system)) & set(here):
        delete(vault.store, layout.forgotten_key(system, identifier), "records", denied)
    return left


def sweep_abandoned(vault: Vault, system: str, now: datetime, denied: Denied) -> int:
    """Abandoned exports, and notes of killed runs that were not repeated. Not while another process works."""
    holder = lock.current(vault.store, layout.lock_key(system))
    if holder is not None and not lock.is_stale(holder, datetime.now(UTC)):
        return 0
    drafts = list(vault.store.list(layout.drafts_prefix(system)))
    old = [stat.key for stat in drafts if now - stat.modified > ABANDONED]
    if len(old) == len(drafts):
        forgotten = set(records.forgotten_ids(vault.store, system))
        for identifier in set(vault.interrupted(system)) - forgotten:
            if identifier < backup_id(now - ABANDONED):
                old += [stat.key for stat in vault.store.list(layout.backup_prefix(system, identifier))]
    for restore in Restores(vault, system).unfinished():
        old += restore.keys if moment_of(restore.id) < now - ABANDONED else ()
    return sum(delete(vault.store, key, "files of killed runs", denied) for key in old)
