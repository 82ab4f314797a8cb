"""What earlier runs left that a new one can build on: per table the newest chunks that are still in the vault.

A chunk whose object is gone or has the wrong length is not offered: what is not there cannot be re-used. That it is gone is
a finding, because the new backup hides the loss: it is whole, and the backups before it may not be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, field

from backup_pipeline.databases.base import Baseline
from backup_pipeline.errors import Damaged, KeyMissing, NotFound
from backup_pipeline.files.store import KnownTree
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.manifest import EarlierImage, Manifest, ObjectRef, TableEntry
from backup_pipeline.model.schema import TableId
from backup_pipeline.vault import journal, layout, signing
from backup_pipeline.vault.presence import missing
from backup_pipeline.vault.vault import Vault

#: A table that none of the last so many backups holds is read anew; looking further costs more than it saves.
LOOK_BACK = 5


@dataclass(frozen=True, slots=True)
class Found:
    tables: dict[TableId, Baseline] = field(default_factory=dict)
    image: EarlierImage | None = None
    #: Of the newest backup: the schema and the definitions are mostly the same again.
    schema: tuple[ObjectRef, ...] = ()
    ddl: tuple[ObjectRef, ...] = ()
    newest: Manifest | None = None
    #: What is lost of the newest backup, and of the newest full one.
    findings: tuple[Finding, ...] = ()


def gather(vault: Vault, system: str) -> Found:
    manifests = list(_newest(vault, system))
    unfinished = list(_unfinished(vault, system, after=manifests[0].id if manifests else ""))
    entries = [entry for manifest in manifests for entry in manifest.tables]
    entries += (baseline.entry for baseline in unfinished)
    full = next((one for one in manifests if one.scope == "full"), None)
    looked_at = [one for one in manifests if one is manifests[0] or one is full]
    named = (one for manifest in looked_at for one in manifest.objects())
    objects = (*(chunk.object for entry in entries for chunk in entry.chunks), *named)
    gone = {one.sha256 for one in missing(vault.store, objects)}
    tables: dict[TableId, Baseline] = {}
    for manifest in manifests:
        for entry in manifest.tables:
            if entry.id not in tables and not _touches(entry, gone):
                tables[entry.id] = Baseline(manifest.id, manifest.state, entry)
    for baseline in unfinished:
        if _touches(baseline.entry, gone):
            continue
        known = tables.get(baseline.entry.id)
        # A run that was killed early knows little of a table; it must not displace one that knows it all.
        if known is None or 2 * len(baseline.entry.chunks) >= len(known.entry.chunks):
            tables[baseline.entry.id] = baseline
    newest = manifests[0] if manifests else None
    # A partial backup's file is a smaller one, of other pages: it is built on only where there is nothing better.
    pictured = next((manifest for manifest in sorted(manifests, key=_partial) if manifest.image), None)
    return Found(
        tables=tables,
        image=EarlierImage(pictured.image, pictured.id) if pictured and pictured.image else None,
        schema=(newest.schema,) if newest else (),
        ddl=tuple(section.object for section in newest.ddl) if newest else (),
        newest=newest,
        findings=tuple(finding for one in looked_at for finding in _lost(vault, one, gone)),
    )


def gather_tree(vault: Vault, system: str, name: str) -> KnownTree:
    newest = next((one for one in _newest(vault, system) if one.tree(name)), None)
    lost = {one.tree for one in newest.findings if one.marked("emptied")} if newest else set()
    after = max(vault.ids_until_now(system), default="")
    notes: list[journal.TreeNote] = []
    for identifier in vault.interrupted(system):
        if identifier > after:
            try:
                found = journal.read_trees(vault.backup(system, identifier))
            except Damaged:
                continue  # as with tables: then it is read again
            notes += (note for note in found if note.tree == name)
    return KnownTree(newest.tree(name) if newest else None, notes, name in lost)


def _partial(manifest: Manifest) -> bool:
    return manifest.scope == "partial"


def _newest(vault: Vault, system: str) -> Iterable[Manifest]:
    for identifier in reversed(vault.ids_until_now(system)[-LOOK_BACK:]):
        try:
            # One that was altered since it was sealed may say anything of its chunks.
            if signing.of_backup(vault.backup(system, identifier)) in (None, "signed"):
                yield vault.backup(system, identifier).manifest
        except (Damaged, NotFound):
            continue  # `verify` names it, or prune just took it; a new backup just does not build on it
        except KeyMissing:
            continue  # this host has only public keys and does not remember it: what it holds is read anew


def _unfinished(vault: Vault, system: str, *, after: str) -> Iterable[Baseline]:
    for identifier in vault.interrupted(system):
        if identifier > after:
            try:
                state, tables = journal.read(vault.backup(system, identifier))
            except Damaged:
                continue  # notes of a killed run are a convenience: the tables are read again instead
            for entry in tables.values():
                yield Baseline(identifier, state, entry)


def _lost(vault: Vault, manifest: Manifest, missed: Set[str]) -> Iterator[Finding]:
    named = manifest.objects()
    gone = [one for one in named if one.sha256 in missed]
    if gone:
        # What a person took out of the way since (`repair --set-aside`) is known, and not lost.
        made = parse_timestamp(manifest.finished_at)
        aside = {stat.key for stat in vault.store.list(layout.SET_ASIDE) if stat.modified >= made}
        gone = [one for one in gone if f"{layout.SET_ASIDE}{one.sha256}{one.suffix}" not in aside]
    # A prune may have taken the backup since it was read: what no manifest names is not lost.
    if gone and manifest.id in vault.ids(manifest.system):
        yield Finding.of(
            "objects-missing-before",
            missing=len(gone),
            named=len(named),
            manifest=manifest.id,
            system=manifest.system,
            examples=(layout.object_key(one) for one in gone[:3]),
        )


def _touches(entry: TableEntry, gone: Set[str]) -> bool:
    return any(chunk.object.sha256 in gone for chunk in entry.chunks)
