"""The history of a system in a copy: which backup follows which, what was forgotten, and what the copy was never given.

Everything here is a small file beside the backups, readable without a key (`vault.records`).
"""

from __future__ import annotations

from collections.abc import Set
from datetime import UTC, datetime

from backup_pipeline.copies.folders import SystemFolder
from backup_pipeline.errors import Damaged, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import timestamp
from backup_pipeline.model.manifest import Link
from backup_pipeline.model.vault_records import Forgotten
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import layout, records, signing
from backup_pipeline.vault.vault import Vault

#: Why a copy's history leads over a backup that it was never given. One that its own retention removed has another why.
NOT_COPIED = "not copied here"


def kept_no_longer(copy: Vault, there: SystemFolder, identifier: str) -> bool:
    """Whether a copy has removed a backup on purpose, and was not merely never given it."""
    if identifier not in there.forgotten:
        return False
    record = records.forgotten(copy.backup(there.system, identifier))
    return record is not None and record.why != NOT_COPIED


def bridge(source: Vault, target: Vault, system: str, previous: Link | None, known: Set[str]) -> None:
    """Lead over what the copy was not given: a gap that is explained is no break. `known`: what is listed there."""
    link = previous
    while link is not None and link.id not in known:
        if records.forgotten(target.backup(system, link.id)) is not None:
            return
        backup = source.backup(system, link.id)
        record = records.forgotten(backup)
        if record is None:
            try:
                before = backup.outline.previous
            except (NotFound, Damaged):
                return  # a gap of the source, too: `verify` names it there
            moment = timestamp(datetime.now(UTC))
            record = Forgotten(system, link.id, link.sha256, moment, NOT_COPIED, previous=before)
            signature = target.signing.sign(canonical.encode(record))
        else:
            signature = signing.signature_of_record(backup)
        records.write_forgotten(target.store, record, signature)
        link = record.previous


def hand_over(source: Vault, target: Vault, here: SystemFolder, there: SystemFolder, known: Set[str]) -> None:
    """What was removed on purpose from the source, so that the copy's history holds without it as well; and up to
    which backup a person has looked at the sizes."""
    system = here.system
    for identifier in sorted(here.forgotten - there.forgotten - known):
        backup = source.backup(system, identifier)
        record = records.forgotten(backup)
        if record is not None:
            signature = signing.signature_of_record(backup)
            records.write_forgotten(target.store, record, signature)
    accepted = records.accepted(source.store, system)
    if accepted > records.accepted(target.store, system):
        data = read_all(source.store, layout.accepted_key(system))
        target.store.put(layout.accepted_key(system), data, overwrite=True)


def set_newest(copy: Vault, system: str, link: Link) -> None:
    """The newest backup that this place was given; never an older one than it says already."""
    try:
        known = records.newest(copy.store, system)
    except Damaged:
        known = None
    if known is None or known.id < link.id or (known.id == link.id and known.manifest_sha256 != link.sha256):
        records.set_newest(copy.store, system, link)
        wrote = copy.remembered.newest(system) if copy.remembered else None
        if copy.remembered is not None and (wrote is None or wrote.id < link.id):
            copy.remembered.keep(system, link)
