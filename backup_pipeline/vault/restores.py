"""Records of restores that changed a database, for reading them and for beginning one. `recording` has what they are and the
order in which one is written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, KeyMissing, NotFound
from backup_pipeline.model import canonical
from backup_pipeline.model.ids import (
    RESTORE,
    from_the_future,
    is_restore_id,
    moment_of,
    restore_id,
    timestamp,
)
from backup_pipeline.model.outline import OutlineObject
from backup_pipeline.model.overview import Signature
from backup_pipeline.model.vault_records import (
    Ended,
    Prepared,
    RestoreOutline,
    RestoreState,
    RowImage,
)
from backup_pipeline.stores.base import read_all
from backup_pipeline.vault import belonging, layout, lock, private
from backup_pipeline.vault.door import Door
from backup_pipeline.vault.recording import ENDS, FORMAT, OUTLINE, PREPARED, SEAL, Recording, end, outline_of

if TYPE_CHECKING:
    from backup_pipeline.vault.vault import Vault

#: A restore waits so many seconds for a backup of the same system.
PATIENCE = 60.0
REMEDY = "rows of this restore are not taken back; the rows of its backup can still be restored"


@dataclass(frozen=True, eq=False)
class Restore:
    """One record, as it was at the moment of the look."""

    vault: Vault
    system: str
    id: str
    #: The names of its files.
    names: frozenset[str] = frozenset()

    def __str__(self) -> str:
        return f"{self.system} {self.id}"

    @property
    def document(self) -> str:
        """The name of the file that makes it a record."""
        return PREPARED + private.ending(self.vault)

    @property
    def is_there(self) -> bool:
        return self.document in self.names

    @property
    def in_order(self) -> tuple[str, ...]:
        """In the order in which they are written: a file comes after its seal and its signature, an end after the document."""
        ends = tuple(name for _, name in ENDS)
        last = {self.document, *(name + private.ending(self.vault) for name in ends)}
        return tuple(sorted(self.names, key=lambda name: (name.startswith(ends), name in last, name)))

    @property
    def keys(self) -> tuple[str, ...]:
        """The document first: without it there is no record."""
        return tuple(
            self.key(name) for name in sorted(self.names, key=lambda name: (name != self.document, name))
        )

    @property
    def state(self) -> RestoreState:
        """Needs no key."""
        ending = private.ending(self.vault)
        return next((state for state, name in ENDS if name + ending in self.names), "unknown")

    @cached_property
    def outline(self) -> RestoreOutline:
        """Needs no key."""
        data = self._sealed(OUTLINE)
        outline = canonical.decode(RestoreOutline, data, what=self.key(OUTLINE))
        self._demand(outline.system, outline.id, outline.began, outline.objects)
        return outline

    @cached_property
    def prepared(self) -> Prepared:
        """Raises KeyMissing where it is encrypted, and neither opened nor remembered here."""
        prepared = canonical.decode(Prepared, self._open(PREPARED), what=self.key(PREPARED))
        objects = [one for image in prepared.images for one in image.objects]
        self._demand(prepared.system, prepared.id, prepared.began, objects)
        if outline_of(prepared) != self.outline:
            raise Damaged(f"the outline of {self} says another thing than its record", remedy=REMEDY)
        if prepared.format != FORMAT:
            raise Damaged(
                f"the record of {self} has format {prepared.format}",
                remedy="read it with a version of backup-pipeline that knows that format",
            )
        return prepared

    @cached_property
    def ended(self) -> Ended | None:
        """None: it is not known whether it was committed."""
        if self.state == "unknown":
            return None
        name = dict(ENDS)[self.state]
        ended = canonical.decode(Ended, self._open(name), what=self.key(name))
        self._demand(ended.system, ended.id, ended.at, ())
        return ended

    def rows(self, image: RowImage) -> Iterator[bytes]:
        """Row text, a block at a time."""
        return Door(self.vault.objects).touched(image)

    def expires_after(self, keep: timedelta) -> str:
        """Until when it is kept at least, where pre-restore backups are kept so long."""
        return timestamp(moment_of(self.outline.pre_restore or self.id) + keep)

    # ── who wrote it

    @property
    def signature(self) -> Signature | None:
        """Of the record and its end; None where the configuration names no signers."""
        if not self.vault.signing.signers:
            return None
        judged = [(self.document, layout.SEAL_SIGNATURE)]
        judged += [(name, name + layout.SIGNATURE) for name in self._end]
        found = {self._judge(name, signature) for name, signature in judged}
        return next(state for state in ("wrong", "unsigned", "signed") if state in found)

    def _judge(self, name: str, signature: str) -> Signature:
        try:
            data = self._sealed(name) and self._read(name + SEAL)
        except Damaged:
            return "wrong"
        return self.vault.signing.judge(self.vault.store, self.key(signature), data)

    @property
    def foreign(self) -> Signature | None:
        """Its state, where it counts as made by another hand."""
        found = self.signature
        return found if self.vault.signing.refuses(self.id.removeprefix(RESTORE), found) else None

    def demand_sealed(self) -> None:
        """Raises Damaged. Needs no key."""
        for name in (OUTLINE, self.document, *self._end):
            self._sealed(name)

    def demand_signed(self) -> None:
        """Before its rows are written into a database."""
        found = self.signature
        if found not in (None, "signed"):
            what = "is not signed" if found == "unsigned" else "has a wrong signature"
            raise Damaged(
                f"the record of {self} {what}: none of `signers:` wrote it as it lies there", remedy=REMEDY
            )

    # ── reading

    def key(self, name: str) -> str:
        return layout.restore_prefix(self.system, self.id) + name

    @property
    def _end(self) -> tuple[str, ...]:
        """The file that says what became of it; none while that is not known."""
        return tuple(name + private.ending(self.vault) for state, name in ENDS if state == self.state)

    def _open(self, name: str) -> bytes:
        data = private.opened(self.vault, self._sealed(name + private.ending(self.vault)))
        if data is None:
            assert self.vault.keys is not None
            self.vault.keys.secret()
            raise KeyMissing(f"the record of {self} cannot be opened here")
        return data

    def _read(self, name: str) -> bytes:
        try:
            return read_all(self.vault.store, self.key(name))
        except NotFound:
            raise Damaged(f"{self.key(name)} is missing", remedy=REMEDY) from None

    def _sealed(self, name: str) -> bytes:
        data = self._read(name)
        seal = self._read((self.document if name == OUTLINE else name) + SEAL)
        if f"{hashlib.sha256(data).hexdigest()}  {name}" not in seal.decode("ascii", "replace").splitlines():
            raise Damaged(f"{self.key(name)} is not what was sealed", remedy=REMEDY)
        return data

    def _demand(self, system: str, identifier: str, moment: str, objects: Iterable[belonging.Named]) -> None:
        if (system, identifier) != (self.system, self.id):
            raise Damaged(f"the record of {self} is that of {system} {identifier}", remedy=REMEDY)
        belonging.sound(f"the record of {self}", (moment,), objects)


def objects_of(vault: Vault, system: str, identifier: str) -> tuple[OutlineObject, ...]:
    """What a backup names, or the record of a restore. Needs no key. Raises NotFound or Damaged."""
    if is_restore_id(identifier):
        return Restore(vault, system, identifier).outline.objects
    return vault.backup(system, identifier).outline.objects


@dataclass(frozen=True)
class Restores:
    """The records of one system."""

    vault: Vault
    system: str

    def all(self) -> tuple[Restore, ...]:
        """Newest first. One listing; no document is read."""
        return tuple(one for one in self.folders() if one.is_there)

    @property
    def ids(self) -> tuple[str, ...]:
        """Oldest first, as those of backups."""
        return tuple(sorted(one.id for one in self.all()))

    def unfinished(self) -> tuple[Restore, ...]:
        """Folders of restores that ended before they had a record."""
        return tuple(one for one in self.folders() if not one.is_there)

    def folders(self) -> Iterator[Restore]:
        """Records, and what killed restores left."""
        held: dict[str, set[str]] = {}
        prefix = layout.restores_prefix(self.system)
        for stat in self.vault.store.list(prefix):
            identifier, _, name = stat.key.removeprefix(prefix).partition("/")
            if is_restore_id(identifier):
                held.setdefault(identifier, set()).add(name)
        for identifier, names in sorted(held.items(), reverse=True):
            yield Restore(self.vault, self.system, identifier, frozenset(names))

    def get(self, identifier: str) -> Restore:
        """`latest`: the newest one that changed something, or of which it is not known."""
        every = self.all()
        for one in every:
            changed = one.state != "failed" and one.outline.objects if identifier == "latest" else False
            if changed or one.id == identifier:
                return one
        named = "restore that changed something" if identifier == "latest" else f"restore {identifier}"
        raise NotFound(
            f"there is no {named} of {self.system} in {self.vault.store.address}",
            remedy=f"`backup-pipeline list {self.system} --restores` shows those that there are",
        )

    def undone_by(self, restore: Restore) -> Restore | None:
        """The newest restore that took this one back."""
        others = (one for one in self.all() if one.id > restore.id and one.state == "done")
        return next((one for one in others if one.outline.undoes == restore.id), None)

    @contextmanager
    def begin(self, record: Prepared, *, patience: float = PATIENCE) -> Iterator[Recording]:
        """`record` without its id, its images and when it began. A block that ends without `done` or `failed` leaves a
        record that says "not known", or none at all before `prepared`."""
        self.vault.signing.demand()
        what = f"restore of {self.system}"
        with lock.hold_when_free(
            self.vault.store, layout.lock_key(self.system), what, patience=patience
        ) as held:
            now = self.vault.clock()
            earlier = (one for one in self.all() if not from_the_future(one.id, now))
            newest = next(earlier, None)
            # A clock that was set back must not put a new record before an old one.
            moment = max(now, moment_of(newest.id) + timedelta(milliseconds=1)) if newest else now
            begun = replace(
                record, system=self.system, id=restore_id(moment), began=timestamp(now), images=()
            )
            yield Recording(self.vault, held, begun)

    def resolve(self, restore: Restore, *, happened: bool) -> Restore:
        """What the database told of a restore whose end was not noted. Not while its process lives."""
        with lock.hold(self.vault.store, self.system, f"look at {restore}"):
            found = self.get(restore.id)
            if found.state == "unknown":
                ended = Ended(
                    self.system,
                    found.id,
                    timestamp(self.vault.clock()),
                    why="" if happened else "the database has nothing of it",
                    found_later=True,
                )
                end(self.vault, ended, "done" if happened else "failed")
                found = self.get(restore.id)
        return found
