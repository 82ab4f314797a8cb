"""The record of a restore that changes a database: who, when, from what, the plan, and each touched row before and after.

A restore writes its record in this order, and a process may be killed anywhere in it:

1. the objects with the rows
2. outline.json, the seal of both documents, seal.sig where this host signs
3. prepared.json — from now on there is a record, and nothing is known yet of the commit
4. the restore commits in its database
5. done.json or failed.json, after its seal

A folder without prepared.json is no record: its restore was not committed. A record without an end says that it is not
known whether the restore was committed, until `resolve` is told. `done` is written only by a process that knows of the commit.
So done.json counts where both ends are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from backup_pipeline.errors import VaultError
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import timestamp
from backup_pipeline.model.outline import OutlineObject
from backup_pipeline.model.schema import TableId
from backup_pipeline.model.vault_records import (
    Ended,
    Prepared,
    RestoreOutline,
    RestoreState,
    RowImage,
    Which,
)
from backup_pipeline.vault import layout, lock, private
from backup_pipeline.vault.committing import committing

if TYPE_CHECKING:
    from backup_pipeline.vault.vault import Vault

FORMAT = 1
#: Rows of one object, in bytes before packing. A row is never cut.
LARGEST = 64 << 20
ROWS = ".tsv.zst"
OUTLINE = "outline.json"
PREPARED = "prepared.json"
SEAL = ".sha256"
#: The files that end a record, the one that counts first.
ENDS: tuple[tuple[RestoreState, str], ...] = (("done", "done.json"), ("failed", "failed.json"))


def outline_of(prepared: Prepared) -> RestoreOutline:
    return RestoreOutline(
        prepared.system,
        prepared.id,
        prepared.backup.id,
        prepared.began,
        tuple(
            OutlineObject(one.sha256, one.size, one.suffix, one.recipients)
            for image in prepared.images
            for one in image.objects
        ),
        prepared.pre_restore,
        prepared.undoes,
    )


@dataclass
class Recording:
    """A record in the making, under the lock of its system."""

    vault: Vault
    held: lock.Held
    record: Prepared
    _images: list[RowImage] = field(default_factory=list)
    _is_prepared: bool = False

    @property
    def id(self) -> str:
        return self.record.id

    def image(
        self,
        table: TableId,
        columns: Sequence[str],
        key: Sequence[str],
        which: Which,
        blocks: Iterable[bytes],
    ) -> int:
        """Store row text of these columns; how many rows."""
        rows = _Rows(blocks)
        objects = tuple(self.vault.writer.write(part, ROWS) for part in rows.parts())
        image = RowImage(table.schema, table.name, which, tuple(columns), tuple(key), rows.count, objects)
        self._images.append(image)
        return rows.count

    def prepared(self) -> None:
        """Right before the commit in the database: from now on there is a record."""
        vault, record = self.vault, replace(self.record, images=tuple(self._images))
        name, outline = PREPARED + private.ending(vault), outline_of(record)
        stored = private.closed(vault, canonical.encode(record))
        if (locks := vault.store.object_locks()) is not None:
            # Rows that an earlier record stored are locked for that one's days only. The record counts without it as well.
            with suppress(VaultError):
                locks.extend({layout.object_key(one) for one in outline.objects})
        with committing(vault.store, self.held, outline.objects):
            _put(vault, record, {name: stored, OUTLINE: canonical.encode(outline)}, layout.SEAL_SIGNATURE)
        self._is_prepared = True

    def done(self, result: Mapping[str, Any]) -> None:
        """After the commit, and only then."""
        assert self._is_prepared
        end(
            self.vault,
            Ended(self.record.system, self.id, timestamp(self.vault.clock()), dict(result)),
            "done",
        )

    def failed(self, why: str) -> None:
        """The database has nothing of it, and this is known. Without a record there is nothing to say."""
        if self._is_prepared:
            moment = timestamp(self.vault.clock())
            end(self.vault, Ended(self.record.system, self.id, moment, why=why), "failed")


def end(vault: Vault, ended: Ended, state: RestoreState) -> None:
    name = dict(ENDS)[state] + private.ending(vault)
    stored = private.closed(vault, canonical.encode(ended))
    _put(vault, ended, {name: stored}, name + layout.SIGNATURE)


def _put(vault: Vault, record: Prepared | Ended, files: Mapping[str, bytes], signature: str) -> None:
    """Once. The first file comes last, after the seal of all: without it the others mean nothing. So what a killed process
    left of an end is replaced."""
    prefix = layout.restore_prefix(record.system, record.id)
    name, *beside = files
    seal = "".join(f"{hashlib.sha256(data).hexdigest()}  {held}\n" for held, data in files.items()).encode()
    for other in beside:
        vault.store.put(prefix + other, files[other])
    if (signed := vault.signing.sign(seal)) is not None:
        vault.store.put(prefix + signature, signed, overwrite=True)
    vault.store.put(prefix + name + SEAL, seal, overwrite=True)
    vault.store.put(prefix + name, files[name])


class _Rows:
    """Row text, in parts of whole rows."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = filter(None, blocks)
        #: The beginning of the next part.
        self._left = b""
        self.count = 0

    def parts(self) -> Iterator[Iterator[bytes]]:
        """Each must be read to its end before the next."""
        while self._is_more():
            yield self._part()

    def _is_more(self) -> bool:
        self._left = self._left or next(self._blocks, b"")
        return bool(self._left)

    def _part(self) -> Iterator[bytes]:
        """It ends with the row that reaches the limit."""
        size = 0
        while self._is_more():
            block = self._left
            end = block.find(b"\n", max(0, LARGEST - size - 1)) + 1
            block, self._left = (block[:end], block[end:]) if end else (block, b"")
            self.count += block.count(b"\n")
            size += len(block)
            yield block
            if end:
                return
