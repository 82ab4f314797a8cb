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
from backup_pipeline.model.findings import Finding
from backup_pipeline.model.ids import parse_timestamp
from backup_pipeline.model.manifest import FORMAT, FileImage, Link, Manifest, TableEntry
from backup_pipeline.model.outline import Outline, outline_of
from backup_pipeline.model.schema import Schema, Table, TableId
from backup_pipeline.stores.base import SMALL, read_all
from backup_pipeline.vault import layout, proving, records, signing
from backup_pipeline.vault.backup import Backup
from backup_pipeline.vault.vault import Vault
from backup_pipeline.verification import sealed

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SUFFIX = re.compile(r"(\.[a-z0-9]+)+(\.age)?")


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
        findings.append(Finding.of("manifest-unreadable", why=error.message))
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
            findings.append(Finding.of("schema-unreadable", why=error.message))
    if schema is not None:
        findings += _agreement(manifest, schema)
    return Opened(claimed, digest, schema, tuple(findings), outline)


def had_a_manifest(backup: Backup) -> bool:
    """Seals and proofs are only ever written beside a manifest; what was forgotten on purpose has none any more."""
    if records.forgotten(backup) is not None:
        return False
    if backup.is_sealed():
        return True
    return any(True for _ in backup.store.list(layout.proofs_prefix(backup.system, backup.id)))


def _missing(identifier: str) -> Finding:
    return Finding.of("manifest-missing/verify", identifier=identifier)


def _seal(backup: Backup, digest: str) -> Iterator[Finding]:
    try:
        line = read_all(backup.store, backup.seal_key, SMALL)
    except NotFound:
        yield Finding.of("not-sealed")
        return
    if backup.vault.encrypted:
        yield from sealed.judge_seal(backup, line, digest)
    elif line != f"{digest}  manifest.json\n".encode():
        yield Finding.of("seal-broken")


def _signature(backup: Backup) -> Iterator[Finding]:
    found = signing.of_backup(backup)
    if found == "unsigned" and not backup.vault.signing.must_be_signed(backup.id):
        yield Finding.of("unsigned/before", backup=backup.id)
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
            yield Finding.of("manifest-changed", name=name)


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
        yield Finding.of("manifest-newer", parts=", ".join(unknown))
    else:
        yield Finding.of("manifest-not-canonical")


def _identity(manifest: Manifest, system: str, identifier: str) -> Iterator[Finding]:
    if (manifest.system, manifest.id) != (system, identifier):
        yield Finding.of(
            "manifest-misplaced",
            system=system,
            identifier=identifier,
            named_system=manifest.system,
            named=manifest.id,
        )
    if manifest.format != FORMAT:
        yield Finding.of("format", number=manifest.format)
    for name in ("started_at", "snapshot_at", "finished_at"):
        try:
            parse_timestamp(getattr(manifest, name))
        except ValueError:
            yield Finding.of("manifest-time", name=name, value=getattr(manifest, name))
    names = {str(table.id) for table in manifest.tables}
    for group, members in manifest.groups.items():
        if strangers := sorted(set(members) - names):
            yield Finding.of("group-unknown-table", group=group, tables=", ".join(strangers))


def _recover(vault: Vault, manifest: Manifest) -> Iterator[Finding]:
    if not vault.can_open:
        return  # the seal speaks for its stored bytes
    try:
        text = vault.backup(manifest.system, manifest.id).recover_text()
    except (Damaged, KeyMissing) as error:
        yield Finding.of("recover-altered/encrypted", why=error.message)
        return
    except NotFound:
        yield Finding.of("recover-missing")
        return
    if hashlib.sha256(text).hexdigest() != manifest.recover_sha256:
        yield Finding.of("recover-altered")


def _references(manifest: Manifest) -> Iterator[Finding]:
    for reference in manifest.objects():
        digests = (reference.sha256, reference.plain_sha256)
        if not all(_DIGEST.fullmatch(digest) for digest in digests) or not _SUFFIX.fullmatch(
            reference.suffix
        ):
            yield Finding.of("object-name", sha256=reference.sha256, suffix=reference.suffix)
        elif reference.size <= 0 or reference.plain_size < 0:
            yield Finding.of("object-name/length", sha256=reference.sha256[:12], suffix=reference.suffix)


def _table(table: TableEntry) -> Iterator[Finding]:
    if any(chunk.rows < 0 for chunk in table.chunks):
        yield Finding.of("row-count/negative", table=table.id)
    if sum(chunk.rows for chunk in table.chunks) != table.rows:
        yield Finding.of(
            "row-count/chunks",
            table=table.id,
            count=sum(chunk.rows for chunk in table.chunks),
            rows=table.rows,
        )
    if table.fingerprint != fingerprint_of_chunks(table):
        yield Finding.of("fingerprint/manifest", table=table.id)
    if sum(chunk.object.plain_size for chunk in table.chunks) != table.bytes:
        yield Finding.of("byte-count", table=table.id, bytes=table.bytes)
    if len(set(table.columns)) != len(table.columns):
        yield Finding.of("columns", table=table.id)
    end: int | None = 0
    for chunk in table.chunks:
        if chunk.first_page is None:
            continue
        if end is None or chunk.first_page < end:
            yield Finding.of("page-ranges", table=table.id)
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
            yield Finding.of("segments/gap", image=image.name, offset=segment.offset, at=at)
        if segment.map is None and (
            len(segment.packs) != 1
            or (segment.packs[0].plain_sha256, segment.packs[0].plain_size) != (segment.sha256, segment.size)
        ):
            yield Finding.of("segments/map", image=image.name, offset=segment.offset)
        at = segment.offset + segment.size
    if at != image.size:
        yield Finding.of("segments", image=image.name, at=at, size=image.size)


def _agreement(manifest: Manifest, schema: Schema) -> Iterator[Finding]:
    """The manifest against the schema: nothing may be in one and silently not in the other."""
    if manifest.engine.name != schema.engine:
        yield Finding.of("engine", engine=manifest.engine.name, of_schema=schema.engine)
    taken = Counter(table.id for table in manifest.tables)
    left = {TableId(item.schema, item.name) for item in manifest.left_out}
    for identifier, count in taken.items():
        if count > 1:
            yield Finding.of("table-twice", table=identifier, count=count)
        if identifier in left:
            yield Finding.of("table-both", table=identifier)
        if schema.table(identifier) is None:
            yield Finding.of("table-unknown", table=identifier)
    for table in schema.tables:
        yield from _one(manifest, table, taken[table.id] > 0, table.id in left)
    yield from _sequences(manifest, schema)


def _one(manifest: Manifest, table: Table, taken: bool, left: bool) -> Iterator[Finding]:
    if taken and not table.has_rows:
        yield Finding.of("table-without-rows", table=table.id, kind=table.kind)
    if not taken and not left and table.kind != "partitioned":
        yield Finding.of("table-missing", table=table.id)
    entry = manifest.table(table.id)
    if entry is not None and entry.columns != table.exported_columns:
        yield Finding.of("columns/schema", table=table.id)


def _sequences(manifest: Manifest, schema: Schema) -> Iterator[Finding]:
    known = {sequence.id for sequence in schema.sequences}
    states = Counter(TableId(state.schema, state.name) for state in manifest.sequences)
    left = {TableId(item.schema, item.name) for item in manifest.left_out}
    for identifier in sorted(states.keys() - known):
        yield Finding.of("sequence-unknown", identifier=identifier)
    for identifier in sorted(known - states.keys() - left):
        if manifest.scope == "full":
            yield Finding.of("sequence-missing", identifier=identifier)
    for identifier in sorted(key for key, count in states.items() if count > 1):
        yield Finding.of("sequence-missing/twice", identifier=identifier)
