"""Is what lies in the vault what the manifests say? The verification, on one screen.

Quick: structure, seals, the chain, and the SHA-256 of every stored byte. Full: also the meaning of the bytes. They
unpack, the rows have the right number and width, a SQLite file is whole, and every foreign key finds its row. A fault
is a finding, never an exception; only an unreachable vault (or a backup that never was) is one.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from backup_pipeline.errors import Damaged, NoBackup, NotFound
from backup_pipeline.model.findings import Finding, Report
from backup_pipeline.model.ids import is_backup_id
from backup_pipeline.model.progress import Advance, Listener, silent
from backup_pipeline.model.vault_records import Forgotten
from backup_pipeline.vault import records, signing
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification import chain, sealed, structure
from backup_pipeline.verification.integrity import Job, StoredContent, Use, judge, look_at_all, uses
from backup_pipeline.verification.restores import verify_restores
from backup_pipeline.verification.vault_itself import look_at_the_vault

if TYPE_CHECKING:
    from backup_pipeline.databases.sqlite import examining as sqlite_image
    from backup_pipeline.references import uniqueness
    from backup_pipeline.references.foreign_keys import Memory
    from backup_pipeline.verification.files_inside import Memory as FileMemory
    from backup_pipeline.verification.files_inside import Trees


def verify(
    backup: Backup,
    *,
    quick: bool = False,
    trees: Trees | None = None,
    listener: Listener = silent,
) -> Report:
    """Look at one backup: everything that it needs, and its links to the ones before and after it. `trees`: what the
    configuration says of file trees; without it, rows are not held against files."""
    ((_, report),) = _verify(
        backup.vault, backup.system, (backup.id,), quick=quick, trees=trees, listener=listener
    )
    return report


def verify_all(
    vault: Vault,
    system: str,
    *,
    quick: bool = False,
    trees: Trees | None = None,
    listener: Listener = silent,
    each: Callable[[str, Report], None] = lambda _id, _report: None,
) -> Report:
    """Look at every backup of a system. What several backups share is read once. `each` is told what was found of
    every single one."""
    started = time.monotonic()
    reports = list(verify_each(vault, system, quick=quick, trees=trees, listener=listener))
    if not reports:
        raise NoBackup(
            f"there is no backup of {system} in {vault.store.address}",
            remedy=f"`backup-pipeline backup {system}` makes one",
        )
    counted: Counter[str] = Counter()
    for identifier, report in reports:
        counted.update(report.counted)
        each(identifier, report)
    kept = list(verify_restores(vault, system, quick=quick))
    for _, report in kept:
        counted.update(report.counted)
    reports += kept
    return Report(f"{system} (all)", _merged(reports), dict(counted), seconds=time.monotonic() - started)


def verify_each(
    vault: Vault,
    system: str,
    *,
    quick: bool = False,
    trees: Trees | None = None,
    listener: Listener = silent,
) -> tuple[tuple[str, Report], ...]:
    """Like `verify_all`, one report a backup. Objects and bytes are counted with the first backup that names them,
    rows with each."""
    found = set(vault.ids(system))
    # A folder whose manifest is gone is no backup any more; it must not go unseen for that.
    found |= {
        name
        for name in vault.store.folders(f"{system}/")
        if is_backup_id(name) and name not in found and structure.had_a_manifest(vault.backup(system, name))
    }
    return _verify(vault, system, tuple(sorted(found)), quick=quick, trees=trees, listener=listener)


@dataclass
class _Case:
    """One backup under examination."""

    id: str
    opened: structure.Opened
    uses: tuple[Use, ...] = ()
    findings: list[Finding] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    #: No object of it is damaged.
    whole: bool = True
    #: Of its objects that lie in an archive and were not read: how long each is.
    frozen: dict[tuple[str, str], int] = field(default_factory=dict)
    #: Of its objects that no identity here opens, and whose bytes are right: how long each is.
    locked: dict[tuple[str, str], int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def closed(self) -> bool:
        """Part of it was not read: what the rest means is not asked."""
        return bool(self.frozen or self.locked)


def _verify(
    vault: Vault,
    system: str,
    identifiers: tuple[str, ...],
    *,
    quick: bool,
    trees: Trees | None,
    listener: Listener,
) -> tuple[tuple[str, Report], ...]:
    started, asked = time.monotonic(), vault
    if not quick:
        vault.need_identity()
        vault = vault.without_memory()
    cases = _open_each(vault, system, identifiers)
    for case in cases:
        # A proof speaks of the manifest that was looked at.
        asked.backup(system, case.id).linked(case.opened.sha256)
    if cases:
        cases[-1].findings += look_at_the_vault(vault)
    _check_chain(vault, system, cases)
    seen = _look(vault, cases, quick=quick, listener=listener)
    for case in cases:
        for use in case.uses:
            outcome = seen[_key(use)]
            if use.rows is not None and outcome.rows is not None:
                case.counted["rows"] += outcome.rows.rows
            found = list(judge(use, outcome))
            case.findings += found
            # A damaged file tree says nothing against the database.
            case.whole = case.whole and all(one.tree for one in found)
            if outcome.frozen:
                case.frozen[_key(use)] = use.reference.size
            if outcome.key_missing and not found:
                case.locked[_key(use)] = use.reference.size
        if case.frozen:
            case.findings.append(_not_read(system, case))
        if case.locked:
            case.findings.append(_not_opened(system, case))
    if not quick:
        memory: Memory = {}
        keys: uniqueness.Memory = {}
        images: dict[object, sqlite_image.Examined] = {}
        for case in cases:
            _look_inside(case, memory, keys, images, listener)
        _look_inside_files(cases, trees or {}, seen, listener)
    seconds = time.monotonic() - started
    return tuple(
        (
            case.id,
            Report(
                f"{system} {case.id}",
                tuple(_ordered(case.findings)),
                dict(case.counted),
                seconds=seconds if len(cases) == 1 else case.seconds,
            ),
        )
        for case in cases
    )


def _not_read(system: str, case: _Case) -> Finding:
    """The configuration wanted them in an archive: worth knowing, no fault."""
    case.counted["frozen_objects"] = len(case.frozen)
    return Finding.of(
        "objects-frozen",
        count=len(case.frozen),
        mebibytes=sum(case.frozen.values()) / 2**20,
        system=system,
        identifier=case.id,
    )


def _not_opened(system: str, case: _Case) -> Finding:
    """One for all of them: what is wrong is the key, and no object."""
    return Finding.of(
        "key-missing", count=len(case.locked), mebibytes=sum(case.locked.values()) / 2**20, system=system
    )


def _open_each(vault: Vault, system: str, identifiers: tuple[str, ...]) -> list[_Case]:
    cases = []
    for identifier in identifiers:
        try:
            cases.append(_open(vault.backup(system, identifier)))
        except NotFound:
            if len(identifiers) == 1:
                raise
            continue  # prune took it since the list was made
    return cases


def _open(backup: Backup) -> _Case:
    opened = structure.open_backup(backup)
    case = _Case(backup.id, opened, findings=list(opened.findings))
    case.counted["manifests"] = 1
    manifest = opened.manifest
    if manifest is None:
        if opened.outline is not None:
            case.uses = tuple(Use(one, "of an encrypted backup") for one in sealed.references(opened.outline))
        return case
    case.counted["tables"] = len(manifest.tables)
    if not any(finding.marked("bad_object_name") for finding in opened.findings):
        case.uses = tuple(uses(manifest))
    return case


def _check_chain(vault: Vault, system: str, cases: Sequence[_Case]) -> None:
    known = {case.id: case.opened for case in cases}
    identifiers = vault.ids(system)
    digests = dict.fromkeys(identifiers, "")
    digests.update((name, opened.sha256) for name, opened in known.items() if opened.sha256)

    def digest(identifier: str) -> None:
        """Of a manifest that is not looked at itself; prune may have taken it since."""
        if digests.get(identifier) == "":
            try:
                digests[identifier] = vault.backup(system, identifier).link.sha256
            except NotFound:
                del digests[identifier]

    for case in cases:
        if case.opened.manifest is not None or case.opened.outline is not None:
            link = case.opened.previous
            if link is not None:
                digest(link.id)
            crossed = chain.bridge(link, digests, lambda name: _record(vault.backup(system, name)))
            if crossed.end is not None:
                digest(crossed.end.id)
            case.findings += chain.judge_link(case.id, link, digests, crossed.passed)
            case.findings += chain.judge_bridge(case.id, crossed, digests)
        _, above = chain.neighbours(identifiers, case.id)
        if above is not None and above not in known and case.opened.sha256:
            with suppress(NotFound):  # as above
                link = vault.backup(system, above).previous
                case.findings += chain.judge_link_above(case.id, case.opened.sha256, above, link)
    if cases and cases[-1].id == max(digests, default=cases[-1].id):
        # What is missed would be newer than this one.
        cases[-1].findings += _missed(vault, system, digests)


def _record(backup: Backup) -> Forgotten | None:
    found = records.forgotten(backup)
    return found if found is not None and signing.counts(backup) else None


def _missed(vault: Vault, system: str, digests: Mapping[str, str]) -> Iterator[Finding]:
    try:
        newest = records.newest(vault.store, system)
    except Damaged as error:
        yield Finding.of("newest-unreadable", why=error.message)
        return
    if newest is not None and newest.id not in digests and newest.id in vault.ids(system):
        return  # it was written while we looked
    yield from chain.judge_newest(newest, digests, lambda name: bool(_record(vault.backup(system, name))))


def _key(use: Use) -> tuple[str, str]:
    return use.reference.sha256, use.reference.suffix


def _look(
    vault: Vault, cases: Iterable[_Case], *, quick: bool, listener: Listener
) -> dict[tuple[str, str], StoredContent]:
    """Every object once; the largest first, so that no thread is left with one at the end."""
    first: dict[tuple[str, str], tuple[_Case, Use]] = {}
    rows: set[tuple[str, str]] = set()
    packs: set[tuple[str, str]] = set()
    for case in cases:
        for use in case.uses:
            first.setdefault(_key(use), (case, use))
            if use.rows is not None:
                rows.add(_key(use))
            if use.pack:
                packs.add(_key(use))
    jobs = [
        Job(use.reference, rows=key in rows, pack=key in packs)
        for key, (_, use) in sorted(first.items(), key=lambda item: -item[1][1].reference.size)
    ]
    total = sum(job.reference.size for job in jobs)
    found: dict[tuple[str, str], StoredContent] = {}
    for job, seen in look_at_all(vault.objects, jobs, unpack=not quick):
        key = job.reference.sha256, job.reference.suffix
        found[key] = seen
        case, use = first[key]
        case.counted["objects"] += 1
        case.counted["bytes"] += seen.size
        case.counted["plain_bytes"] += seen.plain_size
        listener(
            Advance(
                "verify",
                use.tables[0] if len(use.tables) == 1 else use.what,
                rows=seen.rows.rows if seen.rows else 0,
                bytes=seen.size,
                total_bytes=total,
            )
        )
    return found


def _look_inside(
    case: _Case,
    memory: Memory,
    keys: uniqueness.Memory,
    images: dict[object, sqlite_image.Examined],
    listener: Listener,
) -> None:
    """What the rows say. Only of what is whole: rows of a damaged object would be a second, misleading finding."""
    backup = case.opened.backup
    if backup is None or case.opened.schema is None or case.closed:
        return
    started = time.monotonic()
    hurt = frozenset(
        name for finding in case.findings if finding.severity == "error" for name in _tables_of(finding)
    )
    if backup.manifest.image is not None:
        if case.whole:
            _examine_image(case, backup, images, listener)
    else:
        # DuckDB and Arrow take 0.3 s to load: a quick look and the image of a SQLite file need neither.
        from backup_pipeline.references import foreign_keys as references
        from backup_pipeline.references import uniqueness

        outcome = references.check(backup, hurt=hurt, memory=memory, listener=listener)
        case.findings += outcome.findings
        case.counted.update(outcome.counted)
        broken, counted = uniqueness.check(backup, hurt=hurt, memory=keys, listener=listener)
        case.findings += broken
        case.counted["keys"] = counted
    case.seconds = time.monotonic() - started


def _look_inside_files(
    cases: Iterable[_Case],
    trees: Trees,
    seen: Mapping[tuple[str, str], StoredContent],
    listener: Listener,
) -> None:
    memory: FileMemory | None = None
    for case in cases:
        backup = case.opened.backup
        if backup is None or case.closed or not (backup.manifest.files or trees):
            continue
        from backup_pipeline.verification import files_inside

        started = time.monotonic()
        memory = memory or files_inside.Memory(lambda one: seen.get((one.sha256, one.suffix)))
        hurt = [one for one in case.findings if one.severity == "error"]
        outcome = files_inside.look(
            backup,
            case.opened.schema,
            trees,
            hurt=frozenset(name for one in hurt for name in (one.tree, *_tables_of(one)) if name),
            memory=memory,
            listener=listener,
        )
        case.findings += outcome.findings
        case.counted.update(outcome.counted)
        case.seconds += time.monotonic() - started


def _examine_image(
    case: _Case, backup: Backup, images: dict[object, sqlite_image.Examined], listener: Listener
) -> None:
    from backup_pipeline.databases.sqlite import examining as sqlite_image

    manifest, schema, image = backup.manifest, case.opened.schema, backup.manifest.image
    assert image is not None
    names = {table.id for table in manifest.tables}
    tables = [table for table in schema.tables if table.id in names] if schema else []
    key = image.sha256, tuple(tables)
    if key not in images:
        listener(Advance("verify", image.name, note="looking inside the database file"))
        images[key] = sqlite_image.examine(backup.door, image, tables, workers=os.cpu_count() or 1)
    case.findings += sqlite_image.judge(manifest, images[key])
    case.counted.update(images[key].counted)


def _tables_of(finding: Finding) -> tuple[str, ...]:
    return (finding.table,) if finding.table is not None else finding.examples


def _ordered(findings: Iterable[Finding]) -> list[Finding]:
    """Errors first, each once."""
    rank = {"error": 0, "warning": 1, "info": 2}
    return sorted(dict.fromkeys(findings), key=lambda finding: rank[finding.severity])


def _merged(reports: Iterable[tuple[str, Report]]) -> tuple[Finding, ...]:
    """The same finding about many backups is one finding that says how many."""
    where: dict[Finding, list[str]] = {}
    for identifier, report in reports:
        for finding in report.findings:
            where.setdefault(finding, []).append(identifier)
    merged = []
    for finding, identifiers in where.items():
        if len(identifiers) == 1:
            note = f"{identifiers[0]}: {finding.message}"
        else:
            note = f"{finding.message} (in {len(identifiers)} backups, {identifiers[0]} to {identifiers[-1]})"
        merged.append(replace(finding, message=note))
    return tuple(_ordered(merged))
