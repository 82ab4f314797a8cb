"""One backup, from the live source to the manifest. The product's story on one screen.

`export` reads one consistent moment of the source into the vault and returns a draft: a manifest that is not
committed. File trees are read after it, so that a file that a row names is there when it is looked for; `export_tree` is
that step alone. `commit` makes it all a backup. They are functions of their own because the graph shows them as steps;
`back_up` is all of them under one lock, and is what the CLI and the API call.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime

from backup_pipeline.backups import baselines
from backup_pipeline.databases.base import Export, Options, Snapshot, Source
from backup_pipeline.databases.patience import PAUSES, patiently
from backup_pipeline.databases.postgres.restore import screening
from backup_pipeline.errors import (
    AlreadyExists,
    Damaged,
    Incomplete,
    NotAllowed,
    SourceUnavailable,
    StoreChanged,
    VaultError,
)
from backup_pipeline.files import store as trees
from backup_pipeline.files.store import StoredTree, TreeOrder
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import backup_id, from_the_future, now, timestamp
from backup_pipeline.model.manifest import DdlSection, Link, Manifest, Migrations
from backup_pipeline.model.orders import Kind
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.model.selection import Selection, idle_patterns, tables_among
from backup_pipeline.model.version import __version__
from backup_pipeline.references import asked
from backup_pipeline.vault import journal, layout, lock, records, recover, recover_files, remembered
from backup_pipeline.vault.committing import committing
from backup_pipeline.vault.leftovers import sweep
from backup_pipeline.vault.vault import Vault

#: So often a prune may take what a backup was about to name. One that began before a prune has nothing to fear from it.
_TIMES_PRUNED = 3
#: How long a tree that was read waits for the lock of its system: for another tree's moment, or for a whole backup.
PATIENCE = 3600.0


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be backed up, and everything that the manifest will say about why."""

    system: str
    kind: Kind = "manual"
    selection: Selection = field(default_factory=Selection)
    options: Options = field(default_factory=Options)
    migrations: Migrations | None = None
    #: What was found before the source was asked, and belongs into the manifest.
    findings: tuple[Finding, ...] = ()
    git_revision: str | None = None
    environment: str = ""
    #: The file trees of this recovery point.
    trees: tuple[TreeOrder, ...] = ()
    #: A tree of the system is left out: the backup is then a partial one.
    trees_left_out: bool = False
    #: The trees are read by steps of their own (`export_tree`).
    trees_follow: bool = False
    #: What `--only` named: groups, tables.
    named: tuple[str, ...] = ()
    #: Seconds to wait before the second, the third … attempt.
    pauses: tuple[float, ...] = PAUSES

    @property
    def partial(self) -> bool:
        """One that was made before a restore never counts as the newest: the restore is about to replace what it holds."""
        return self.selection.partial or self.trees_left_out or self.kind == "pre-restore"


def back_up(
    vault: Vault,
    source: Source,
    order: Order,
    *,
    listener: Listener = silent,
    clock: Callable[[], datetime] = now,
) -> Manifest:
    vault.prepare()
    with lock.hold(vault.store, order.system, f"backup of {order.system}") as held:
        for _ in range(_TIMES_PRUNED):
            try:
                return _back_up(vault, source, order, held, listener, clock)
            except StoreChanged as error:
                # What prune took meanwhile is read again; the rest is known from the notes of the attempt before.
                listener(Advance("export", order.system, note=f"{error.message}; read again"))
        return _back_up(vault, source, order, held, listener, clock)


def _back_up(
    vault: Vault,
    source: Source,
    order: Order,
    held: lock.Held,
    listener: Listener,
    clock: Callable[[], datetime],
) -> Manifest:
    draft = _export_patiently(vault, source, order, listener, clock)
    for tree in order.trees:
        draft = _with_tree(vault, draft, tree, order.pauses, listener, clock)
    held.confirm()
    return _commit(vault, held, draft, clock)


def export(
    vault: Vault,
    source: Source,
    order: Order,
    *,
    token: str,
    listener: Listener = silent,
    clock: Callable[[], datetime] = now,
) -> Manifest:
    """The first half, for a graph whose steps share nothing but the vault: the draft waits there under `token`."""
    vault.prepare()
    with lock.hold(vault.store, order.system, f"export of {order.system}"):
        draft = _export_patiently(vault, source, order, listener, clock)
        if order.trees_follow:
            draft = replace(draft, awaits=tuple(tree.name for tree in order.trees))
        for tree in () if order.trees_follow else order.trees:
            draft = _with_tree(vault, draft, tree, order.pauses, listener, clock)
        vault.notes.put(layout.draft_key(order.system, token), canonical.encode(draft), overwrite=True)
        return draft


def export_tree(
    vault: Vault,
    system: str,
    tree: TreeOrder,
    *,
    token: str,
    listener: Listener = silent,
    clock: Callable[[], datetime] = now,
) -> Manifest:
    """A file tree into the draft that waits under `token`. Running it twice reads it twice, and the last time counts.

    Read without the system's lock, so that trees can be read side by side; only the draft is theirs in common."""
    stored = _read_patiently(vault, vault.draft(system, token), tree, PAUSES, listener, clock)
    what = f"files of {system} ({tree.name})"
    with lock.hold_when_free(vault.store, layout.lock_key(system), what, patience=PATIENCE):
        draft = _merged(vault, vault.draft(system, token), tree, stored)
        vault.notes.put(layout.draft_key(system, token), canonical.encode(draft), overwrite=True)
        return draft


def commit(
    vault: Vault,
    system: str,
    *,
    token: str,
    clock: Callable[[], datetime] = now,
) -> Manifest:
    """The last part. Running it twice commits once. A tree whose step did not run is missed."""
    with lock.hold(vault.store, system, f"commit of {system}") as held:
        draft = vault.draft(system, token)
        if draft.id in vault.ids(system):
            return vault.backup(system, draft.id).manifest
        if draft.awaits:
            raise Incomplete(
                f"the files of {system} were not read: {', '.join(draft.awaits)}",
                remedy="nothing was committed; run the steps of these file trees as well, or the whole job again",
            )
        newest = max(vault.ids_until_now(system), default="")
        if newest > draft.id:
            # Filed before it, this one would break the chain of manifests.
            vault.notes.delete(layout.draft_key(system, token))
            raise Incomplete(
                f"a newer backup of {system} ({newest}) was committed while this one was being read",
                remedy="nothing is missing: the newer one stands in its place",
            )
        manifest = _commit(vault, held, draft, clock)
        vault.notes.delete(layout.draft_key(system, token))
        return manifest


def _export_patiently(
    vault: Vault, source: Source, order: Order, listener: Listener, clock: Callable[[], datetime]
) -> Manifest:
    return patiently(
        lambda: _export(vault, source, order, listener, clock), order.system, listener, order.pauses
    )


def _export(
    vault: Vault, source: Source, order: Order, listener: Listener, clock: Callable[[], datetime]
) -> Manifest:
    started = clock()
    sweep(vault.store)
    identifier = _free_id(vault, order.system, started)
    found = baselines.gather(vault, order.system)
    # A backup that stands still says why: it may stand for a minute.
    options = replace(
        order.options, waiting=lambda said: listener(Advance("export", order.system, note=said))
    )
    with source.snapshot(order.selection, options) as snapshot:
        _refuse_nothing(order, snapshot)
        notes = journal.Journal(vault.backup(order.system, identifier), snapshot.state)
        try:
            screened = screening.screened(snapshot.ddl(), snapshot.schema, encrypted=vault.encrypted)
            schema = vault.writer.write_bytes(canonical.encode(screened.schema), ".json.zst", found.schema)
            sections = tuple(
                DdlSection(name, vault.writer.write_bytes(text, ".sql.zst", found.ddl), made_by)
                for name, made_by, text in screened.sections
            )
            exported = snapshot.export(
                vault.writer,
                baselines=found.tables,
                previous=found.image,
                listener=listener,
                journal=notes.note,
            )
        finally:
            notes.flush()
        _refuse_less_than_asked(snapshot, exported)
        return Manifest(
            system=order.system,
            id=identifier,
            kind=order.kind,
            scope="partial" if order.partial else "full",
            started_at=timestamp(started),
            snapshot_at=timestamp(snapshot.taken_at),
            finished_at="",
            engine=snapshot.engine,
            schema=schema,
            tables=exported.tables,
            ddl=sections,
            image=exported.image,
            sequences=exported.sequences,
            left_out=snapshot.left_out,
            groups=order.selection.groups_of(tuple(table.id for table in exported.tables)),
            state=snapshot.state,
            migrations=order.migrations,
            git_revision=order.git_revision,
            environment=order.environment,
            findings=(
                *order.findings,
                *found.findings,
                *_idle(order, snapshot),
                *exported.findings,
                *screened.findings,
            ),
            tools={"backup_pipeline": __version__, **snapshot.tools},
        )


def _refuse_nothing(order: Order, snapshot: Snapshot) -> None:
    if not snapshot.selected and not order.trees:
        raise Incomplete(
            f"no table of {order.system} is selected: there is nothing to back up",
            remedy="look at `include`, `exclude` and --only; `backup-pipeline inventory` shows what there is",
        )


def _with_tree(
    vault: Vault,
    draft: Manifest,
    tree: TreeOrder,
    pauses: tuple[float, ...],
    listener: Listener,
    clock: Callable[[], datetime],
) -> Manifest:
    return _merged(vault, draft, tree, _read_patiently(vault, draft, tree, pauses, listener, clock))


def _read_patiently(
    vault: Vault,
    draft: Manifest,
    tree: TreeOrder,
    pauses: tuple[float, ...],
    listener: Listener,
    clock: Callable[[], datetime],
) -> StoredTree:
    """What an attempt has stored is noted, so the next one goes on from there."""
    for attempt, pause in enumerate(pauses, start=2):
        try:
            return _read_tree(vault, draft, tree, listener, clock)
        except SourceUnavailable as error:
            note = f"{error.message}; attempt {attempt} of {len(pauses) + 1} in {pause:.0f} s"
            listener(Advance("files", tree.name, note=note))
            time.sleep(pause)
    return _read_tree(vault, draft, tree, listener, clock)


def _read_tree(
    vault: Vault, draft: Manifest, tree: TreeOrder, listener: Listener, clock: Callable[[], datetime]
) -> StoredTree:
    found = baselines.gather_tree(vault, draft.system, tree.name)
    notes = journal.Journal.continued(vault.backup_of(draft), draft.state)
    try:
        return trees.store_tree(
            vault.writer,
            tree,
            found,
            now=clock(),
            listener=listener,
            note=notes.note_tree,
        )
    finally:
        notes.flush()


def _merged(vault: Vault, draft: Manifest, order: TreeOrder, stored: StoredTree) -> Manifest:
    name = stored.tree.name
    cannot = asked.of_tree(vault.backup_of(draft), name, order.refs)
    others = tuple(tree for tree in draft.files if tree.name != name)
    return replace(
        draft,
        files=tuple(sorted((*others, stored.tree), key=lambda tree: tree.name)),
        awaits=tuple(one for one in draft.awaits if one != name),
        findings=(*(one for one in draft.findings if one.tree != name), *stored.findings, *cannot),
    )


def _commit(vault: Vault, held: lock.Held, draft: Manifest, clock: Callable[[], datetime]) -> Manifest:
    """RECOVER.md, manifest, seal; and then the traces of runs that never got here."""
    there = vault.ids(draft.system)
    earlier = tuple(one for one in there if one < draft.id)
    for identifier in earlier[-1:]:
        vault.backup(draft.system, identifier).seal()
    manifest = replace(
        draft,
        finished_at=timestamp(clock()),
        previous=_follows(vault, draft.id, draft.system, earlier),
        findings=(*draft.findings, *_odd(vault, draft, there)),
    )
    manifest = replace(manifest, findings=(*manifest.findings, *_relocked(vault, manifest)))
    text = recover.recover_text(
        manifest, vault.backup_of(manifest).schema, recover_files.images_of(vault, manifest)
    )
    manifest = replace(manifest, recover_sha256=hashlib.sha256(text.encode()).hexdigest())
    with committing(vault.store, held, manifest.objects()):
        vault.commit(manifest, text)
    journal.remove(vault.backup_of(draft))
    # A host that may add and not delete leaves what killed runs left to `prune`.
    with suppress(NotAllowed):
        vault.forget_interrupted(draft.system, before=draft.id)
    vault.forget_known()
    return manifest


def _odd(vault: Vault, draft: Manifest, there: Sequence[str]) -> Iterator[Finding]:
    """What is wrong with the history that this backup is put into."""
    gone = remembered.set_back(vault, draft.system)
    if gone is not None:
        yield Finding.of("set-back-before", identifier=gone.id, system=draft.system)
    for one in there:
        if one > draft.id:
            yield Finding.of("from-the-future/backup", identifier=one, system=draft.system)


def _follows(vault: Vault, identifier: str, system: str, earlier: Sequence[str]) -> Link | None:
    """A newest backup whose folder was deleted is followed all the same: so the gap is told until it is repaired or
    recorded, and not only until the next backup."""
    for gone in (
        remembered.set_back(vault, system),
        records.newest_gone(vault, system, lambda: earlier),
    ):
        if gone is not None and max(earlier, default="") <= gone.id < identifier:
            return gone
    if not earlier:
        return None
    link = vault.backup(system, earlier[-1]).link
    if vault.backup(system, link.id).seal_holds():
        return link
    # The one before was altered since it was written: what is followed is what was written, so that `repair` finds it.
    with suppress(Damaged):
        written = records.newest(vault.store, system)
        if written is not None and written.id == link.id:
            return Link(link.id, written.manifest_sha256)
    return link


def _relocked(vault: Vault, manifest: Manifest) -> Iterator[Finding]:
    """What this backup names and did not write may be locked for the time of an older one only."""
    try:
        if (locks := vault.store.object_locks()) is not None:
            locks.extend({layout.object_key(one) for one in manifest.objects()})
    except VaultError as error:
        yield Finding.of("lock-not-extended", why=error.message, remedy=error.remedy)


def _free_id(vault: Vault, system: str, moment: datetime) -> str:
    """Ids grow: a clock that was set back must not put a new backup before an old one."""
    identifier = backup_id(moment)
    taken = (*vault.ids(system), *vault.interrupted(system))
    if any(other == identifier for other in taken):
        raise AlreadyExists(f"a backup {identifier} of {system} exists already", remedy="run it again")
    # One that another put there for a time to come stands in no backup's way; where this host wrote it, its clock is wrong
    # now or was then, and only a person knows which.
    ours = vault.remembered.newest(system) if vault.remembered else None
    newest = max(
        (
            one
            for one in vault.ids(system)
            if (ours is not None and one == ours.id) or not from_the_future(one, moment)
        ),
        default="",
    )
    if newest > identifier:
        raise AlreadyExists(
            f"the newest backup of {system} is from {newest}, which is later than the clock of this machine",
            remedy="set the clock right: a backup is never filed before an older one. If the clock is right and was wrong "
            f"when that backup was made: `backup-pipeline forget {system} {newest} --force newest`",
        )
    return identifier


def _refuse_less_than_asked(snapshot: Snapshot, exported: Export) -> None:
    produced = {table.id for table in exported.tables}
    missing = [str(table) for table in snapshot.selected if table not in produced]
    if missing:
        raise Incomplete(
            f"{len(missing)} of {len(snapshot.selected)} tables were not exported: {', '.join(missing[:10])}",
            remedy="nothing was committed; run it again, and report this if it happens twice",
        )


def _idle(order: Order, snapshot: Snapshot) -> Iterator[Finding]:
    settings = {"include": order.selection.include, "exclude": order.selection.exclude}
    groups = order.selection.groups
    settings |= {f"groups: {one}": tables_among(groups[one]) for one in order.named if one in groups}
    yield from idle_patterns(settings, (table.id for table in snapshot.schema.tables))
