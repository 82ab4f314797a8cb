"""Does a manifest make sense? Its own form, its seal, what lies beside it, and whether its parts agree.

No object but the schema is opened here.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, fields

from backup_pipeline.errors import BackupError, Damaged, KeyMissing, NotFound, NotThawed
from backup_pipeline.model import canonical
from backup_pipeline.model.findings import HEAL_MANIFEST, Finding
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.manifest import FORMAT, FileImage, Link, Manifest, TableEntry
from backup_pipeline.model.outline import Outline, outline_of
from backup_pipeline.model.schema import Schema, Table, TableId
from backup_pipeline.stores.base import SMALL, read_all
from backup_pipeline.vault import keeping, layout, proving, signing
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification import sealed

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"(\.[a-z0-9]+)+(\.age)?")

NOT_EDITED = "a manifest is never edited: " + HEAL_MANIFEST


@dataclass(frozen=True, slots=True)
class Opened:
    """A backup as far as it could be read."""

    #: Its manifest is what it claims to be, whether or not it belongs there.
    backup: Backup | None = None
    sha256: str = ""
    schema: Schema | None = None
    findings: tuple[Finding, ...] = ()
    #: Of an encrypted backup: what may be known without a key.
    outline: Outline | None = None

    @property
    def manifest(self) -> Manifest | None:
        return self.backup.manifest if self.backup else None

    @property
    def previous(self) -> Link | None:
        known = self.manifest or self.outline
        return known.previous if known else None


def open_backup(backup: Backup) -> Opened:
    """Everything that can be said without reading rows. Raises NotFound when there never was such a backup."""
    try:
        stored = backup.stored
    except NotFound:
        if not had_a_manifest(backup):
            raise
        return Opened(findings=(_missing(backup.id),))
    digest = hashlib.sha256(stored).hexdigest()
    findings = [
        *_seal(backup, digest),
        *_signature(backup),
        *_proofs(backup, digest),
    ]
    outline = None
    if backup.vault.encrypted:
        outline, wrong = sealed.open_outline(backup, digest)
        findings += wrong
    try:
        manifest = backup.claimed
        data = backup.data
    except Damaged as error:
        findings.append(Finding("error", "manifest-unreadable", error.message, remedy=HEAL_MANIFEST))
        return Opened(sha256=digest, findings=tuple(findings), outline=outline)
    except KeyMissing:
        findings.append(sealed.NOT_OPENED)
        return Opened(sha256=digest, findings=tuple(findings), outline=outline)
    findings += _canonical(manifest, data)
    if outline is not None:
        findings += sealed.compare(
            outline, outline_of(manifest, digest, hashlib.sha256(data).hexdigest(), outline.recipients)
        )
    findings += _identity(manifest, backup.system, backup.id)
    findings += _recover(backup.vault, manifest)
    findings += _references(manifest)
    if manifest.image is not None:
        findings += _image(manifest.image)
    else:
        sound = not any(finding.marked("bad_object_name") for finding in findings)
        findings += [finding for table in manifest.tables for finding in _table(table)] if sound else []
    claimed, schema = backup.vault.backup_of(manifest), None
    if not any(finding.marked("bad_object_name") for finding in findings):
        try:
            schema = claimed.schema
        except (KeyMissing, NotThawed):
            schema = None  # said with the objects that lie in an archive, or that no key here opens
        except BackupError as error:
            message = f"the schema cannot be read: {error.message}"
            findings.append(Finding("error", "schema-unreadable", message, remedy=HEAL_MANIFEST))
    if schema is not None:
        findings += _agreement(manifest, schema)
    return Opened(claimed, digest, schema, tuple(findings), outline)


def had_a_manifest(backup: Backup) -> bool:
    """Seals and proofs are only ever written beside a manifest; what was forgotten on purpose has none any more."""
    if keeping.forgotten(backup) is not None:
        return False
    if backup.is_sealed():
        return True
    return any(True for _ in backup.store.list(layout.proofs_prefix(backup.system, backup.id)))


def _missing(identifier: str) -> Finding:
    return Finding(
        "error",
        "manifest-missing",
        f"{identifier} was a backup (it is sealed, or was proven) and its manifest is gone",
        remedy=HEAL_MANIFEST,
    )


def _seal(backup: Backup, digest: str) -> Iterator[Finding]:
    try:
        line = read_all(backup.store, backup.seal_key, SMALL)
    except NotFound:
        yield Finding(
            "warning",
            "not-sealed",
            "the manifest is not sealed: the process that wrote it was stopped right after it",
            remedy="the next backup of this system seals it",
        )
        return
    if backup.vault.encrypted:
        yield from sealed.judge_seal(backup, line, digest)
    elif line != f"{digest}  manifest.json\n".encode():
        yield Finding(
            "error",
            "seal-broken",
            "the manifest is not the one that was sealed (or the seal was altered)",
            remedy=NOT_EDITED,
        )


def _signature(backup: Backup) -> Iterator[Finding]:
    found = signing.of_backup(backup)
    if found == "unsigned" and not backup.vault.signing.must_be_signed(backup.id):
        yield Finding("info", "unsigned", f"{backup.id} is not signed: it is from before `signed_since:`")
    elif found not in (None, "signed"):
        yield signing.finding(backup.system, backup.id, found)


def _proofs(backup: Backup, digest: str) -> Iterator[Finding]:
    if backup.vault.encrypted:
        yield from sealed.judge_details(backup)
    for stat in backup.store.list(layout.proofs_prefix(backup.system, backup.id)):
        name = stat.key.rpartition("/")[2]
        if name.endswith(".age"):
            continue
        try:
            proven = proving.plain(backup.vault, stat.key).manifest_sha256
        except Damaged:
            yield proving.unreadable(stat.key)
            continue
        if proven != digest:
            yield Finding(
                "error",
                "manifest-changed",
                f"the manifest is not the one that was proven by {name}",
                remedy=NOT_EDITED,
            )


def _canonical(manifest: Manifest, data: bytes) -> Iterator[Finding]:
    if canonical.encode(manifest) == data:
        return
    loaded = canonical.loads(data)
    unknown = sorted(set(loaded) - {field.name for field in fields(Manifest)})
    try:
        as_it_should_be = canonical.encode(loaded) == data
    except RecursionError:
        as_it_should_be = False
    if as_it_should_be and unknown:
        yield Finding(
            "warning",
            "manifest-newer",
            f"the manifest has parts that this version does not know: {', '.join(unknown)}",
            remedy="verify it with the version of backup-pipeline that wrote it",
        )
    else:
        yield Finding(
            "error",
            "manifest-not-canonical",
            "the manifest is not in canonical form: something else than a backup wrote it",
            remedy=NOT_EDITED,
        )


def _error(code: str, message: str, table: TableEntry | TableId | None = None) -> Finding:
    name = None if table is None else str(table.id if isinstance(table, TableEntry) else table)
    return Finding("error", code, message, table=name, remedy=NOT_EDITED)


def _identity(manifest: Manifest, system: str, identifier: str) -> Iterator[Finding]:
    if (manifest.system, manifest.id) != (system, identifier):
        yield _error(
            "manifest-misplaced",
            f"the manifest in the folder {system}/{identifier} is that of {manifest.system}/{manifest.id}",
        )
    if manifest.format != FORMAT:
        yield _error("format", f"the manifest has format {manifest.format}")
    for name in ("started_at", "snapshot_at", "finished_at"):
        try:
            parse_timestamp(getattr(manifest, name))
        except ValueError:
            yield _error("manifest-time", f"{name} is no time: {getattr(manifest, name)!r}")
    names = {str(table.id) for table in manifest.tables}
    for group, members in manifest.groups.items():
        if strangers := sorted(set(members) - names):
            yield _error("group-unknown-table", f"group {group} names {', '.join(strangers)}, not in here")


def _recover(vault: Vault, manifest: Manifest) -> Iterator[Finding]:
    if not vault.can_open:
        return  # the seal speaks for its stored bytes
    try:
        text = vault.backup(manifest.system, manifest.id).recover_text()
    except (Damaged, KeyMissing) as error:
        message = f"RECOVER.md.age does not open: {error.message}"
        yield Finding("error", "recover-altered", message, remedy=HEAL_MANIFEST)
        return
    except NotFound:
        yield Finding("error", "recover-missing", "RECOVER.md is missing", remedy=HEAL_MANIFEST)
        return
    if hashlib.sha256(text).hexdigest() != manifest.recover_sha256:
        yield Finding(
            "error", "recover-altered", "RECOVER.md is not the one that was written", remedy=HEAL_MANIFEST
        )


def _references(manifest: Manifest) -> Iterator[Finding]:
    for reference in manifest.objects():
        digests = (reference.sha256, reference.plain_sha256)
        if not all(_DIGEST.fullmatch(digest) for digest in digests) or not _SUFFIX.fullmatch(
            reference.suffix
        ):
            yield _error("object-name", f"{reference.sha256}{reference.suffix} is not the name of an object")
        elif reference.size <= 0 or reference.plain_size < 0:
            yield _error(
                "object-name", f"object {reference.sha256[:12]}…{reference.suffix} has an impossible length"
            )


def _table(table: TableEntry) -> Iterator[Finding]:
    if any(chunk.rows < 0 for chunk in table.chunks):
        yield _error("row-count", f"{table.id} has a negative number of rows", table)
    if sum(chunk.rows for chunk in table.chunks) != table.rows:
        yield _error(
            "row-count",
            f"{table.id}: its chunks hold {sum(chunk.rows for chunk in table.chunks):,} rows, "
            f"the manifest says {table.rows:,}",
            table,
        )
    if table.fingerprint != fingerprint_of_chunks(table):
        yield _error(
            "fingerprint", f"{table.id}: its fingerprint is not that of its columns and chunks", table
        )
    if sum(chunk.object.plain_size for chunk in table.chunks) != table.bytes:
        yield _error("byte-count", f"{table.id}: its chunks do not add up to {table.bytes:,} bytes", table)
    if len(set(table.columns)) != len(table.columns):
        yield _error("columns", f"{table.id} names a column twice", table)
    end: int | None = 0
    for chunk in table.chunks:
        if chunk.first_page is None:
            continue
        if end is None or chunk.first_page < end:
            yield _error("page-ranges", f"{table.id}: its chunks overlap or are out of order", table)
            break
        end = chunk.end_page


def fingerprint_of_chunks(table: TableEntry) -> str:
    """Rule R9 of FORMAT.md, computed anew."""
    digest = hashlib.sha256("\n".join(table.columns).encode())
    for chunk in table.chunks:
        digest.update(bytes.fromhex(chunk.object.plain_sha256))
    return digest.hexdigest()


def _image(image: FileImage) -> Iterator[Finding]:
    at = 0
    for segment in image.segments:
        if segment.offset != at or segment.size <= 0:
            yield _error("segments", f"{image.name}: the segment at {segment.offset} should begin at {at}")
        if segment.map is None and (
            len(segment.packs) != 1
            or (segment.packs[0].plain_sha256, segment.packs[0].plain_size) != (segment.sha256, segment.size)
        ):
            yield _error(
                "segments", f"{image.name}: the segment at {segment.offset} has no map and is not one pack"
            )
        at = segment.offset + segment.size
    if at != image.size:
        yield _error("segments", f"{image.name}: its segments end at {at:,} and not at {image.size:,}")


def _agreement(manifest: Manifest, schema: Schema) -> Iterator[Finding]:
    """The manifest against the schema: nothing may be in one and silently not in the other."""
    if manifest.engine.name != schema.engine:
        yield _error("engine", f"the manifest is of {manifest.engine.name}, its schema of {schema.engine}")
    taken = Counter(table.id for table in manifest.tables)
    left = {TableId(item.schema, item.name) for item in manifest.left_out}
    for identifier, count in taken.items():
        if count > 1:
            yield _error("table-twice", f"{identifier} is in the manifest {count} times", identifier)
        if identifier in left:
            yield _error("table-both", f"{identifier} is both in the backup and left out of it", identifier)
        if schema.table(identifier) is None:
            yield _error("table-unknown", f"{identifier} is not in the schema", identifier)
    for table in schema.tables:
        yield from _one(manifest, table, taken[table.id] > 0, table.id in left)
    yield from _sequences(manifest, schema)


def _one(manifest: Manifest, table: Table, taken: bool, left: bool) -> Iterator[Finding]:
    if taken and not table.has_rows:
        yield _error("table-without-rows", f"{table.id} is {table.kind}: it has no rows of its own", table.id)
    if not taken and not left and table.kind != "partitioned":
        yield _error(
            "table-missing", f"{table.id} is neither in the backup nor named as left out of it", table.id
        )
    entry = manifest.table(table.id)
    if entry is not None and entry.columns != table.exported_columns:
        yield _error("columns", f"{table.id}: the manifest's columns are not those of the schema", table.id)


def _sequences(manifest: Manifest, schema: Schema) -> Iterator[Finding]:
    known = {sequence.id for sequence in schema.sequences}
    states = Counter(TableId(state.schema, state.name) for state in manifest.sequences)
    left = {TableId(item.schema, item.name) for item in manifest.left_out}
    for identifier in sorted(states.keys() - known):
        yield _error("sequence-unknown", f"the sequence {identifier} is not in the schema")
    for identifier in sorted(known - states.keys() - left):
        if manifest.scope == "full":
            yield _error("sequence-missing", f"the state of the sequence {identifier} is not in the backup")
    for identifier in sorted(key for key, count in states.items() if count > 1):
        yield _error("sequence-missing", f"the sequence {identifier} has two states")
