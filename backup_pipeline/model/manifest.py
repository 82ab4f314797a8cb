"""A backup: the manifest and everything that it says. FORMAT.md is the normative description.

A manifest is written last and never changed; until it exists, there is no backup. It names every object by the digest
of its stored bytes, and keeps the digest of the plain content beside it. So content that the vault has is recognised
without reading it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from backup_pipeline.model.findings import Finding
from backup_pipeline.model.orders import Kind
from backup_pipeline.model.schema import TableId

FORMAT = 1

Scope = Literal["full", "partial"]


@dataclass(frozen=True, slots=True)
class ObjectRef:
    """Immutable bytes in the vault, at `objects/<first two of sha256>/<sha256><suffix>`."""

    sha256: str
    size: int
    #: How to open it, outermost last: ".tsv.zst", ".sql.zst", ".json.zst", ".blocks.zst" …
    suffix: str
    plain_sha256: str
    plain_size: int
    #: Encrypted: which set of recipients can open it (`vault.crypto`); empty where anybody can.
    recipients: str = ""

    @property
    def packing(self) -> str:
        """The suffix without what encryption adds to it: what the content is."""
        return self.suffix.removesuffix(".age")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A run of a table's rows."""

    object: ObjectRef
    rows: int
    #: Postgres: the heap pages read, from the first to just before the second (None: to the end).
    first_page: int | None = None
    end_page: int | None = None
    #: The backup whose bytes these are, when they were recognised as unchanged and not read again.
    reused_from: str | None = None


@dataclass(frozen=True, slots=True)
class TableEntry:
    schema: str
    name: str
    rows: int
    #: The columns of the row text, in order. Generated columns are not among them.
    columns: tuple[str, ...]
    chunks: tuple[Chunk, ...] = ()
    #: Size of the row text (Postgres), or of the table's pages where known (SQLite: 0).
    bytes: int = 0
    #: Changes when the content changes: from the chunks' digests (Postgres) or from the rows (SQLite).
    fingerprint: str = ""
    #: What the storage of the table was called in the live database (relfilenode, digest of the
    #: definition): the next backup trusts unchanged chunks only where this is the same.
    state: dict[str, str] = field(default_factory=dict)

    @property
    def id(self) -> TableId:
        return TableId(self.schema, self.name)

    @property
    def reused_chunks(self) -> int:
        return sum(1 for chunk in self.chunks if chunk.reused_from)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of a file's bytes, 64 MiB unless it is the last."""

    offset: int
    size: int
    #: Of the plain bytes of this segment.
    sha256: str
    #: What holds its blocks. One pack and no map: the pack is the segment.
    packs: tuple[ObjectRef, ...]
    #: Lines "pack sha256 TAB offset TAB length", in the order of the file.
    map: ObjectRef | None = None
    #: 32 bytes a block: what the next backup compares with, to store changed blocks only.
    digests: ObjectRef | None = None
    reused_from: str | None = None


@dataclass(frozen=True, slots=True)
class FileImage:
    """One big file kept as page-aligned blocks (a SQLite database)."""

    name: str
    size: int
    sha256: str
    block_size: int
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class EarlierImage:
    """The image that a new image builds on, and the backup that holds it. No file holds this pair."""

    image: FileImage
    backup_id: str | None = None


@dataclass(frozen=True, slots=True)
class FileTree:
    """One file tree at this recovery point: a list of files, and the packs that hold their contents."""

    name: str
    #: local | bucket | dropbox
    kind: str
    #: Where it was read; never a secret.
    address: str
    #: One line an entry, sorted by path: see `model.files`.
    listing: ObjectRef
    files: int
    #: Of all files; what two hard links share is counted once.
    bytes: int
    folders: int = 0
    links: int = 0
    #: Every pack that an entry of the listing names, in the order in which it numbers them.
    packs: tuple[ObjectRef, ...] = ()
    #: What the block-wise stored big files of the listing need besides.
    blocks: tuple[ObjectRef, ...] = ()
    #: Contents that this backup was the first to store.
    new_files: int = 0
    new_bytes: int = 0
    #: Files that could not be taken as they were asked for: each is a finding as well.
    missed: int = 0
    #: SHA-256 over the listing's paths, types, modes and digests: the same when nothing changed.
    fingerprint: str = ""
    #: When every file was last hashed, and not recognised by its size and times.
    hashed_at: str = ""


@dataclass(frozen=True, slots=True)
class DdlSection:
    #: "pre-data": before the rows · "post-data": after them
    name: str
    object: ObjectRef
    #: "pg_dump 16.14", "reflection", "sqlite_schema"
    made_by: str = ""


@dataclass(frozen=True, slots=True)
class SequenceState:
    schema: str
    name: str
    last_value: int
    is_called: bool


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that exists in the source and is not in this backup, and why."""

    schema: str
    name: str
    #: table | foreign table | large object | temporary table …
    kind: str
    reason: str


@dataclass(frozen=True, slots=True)
class Migrations:
    """What the database says was applied, and what the project still holds back."""

    tool: str
    applied: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()
    #: Why it is not known what is pending: the database says what the folder does not know, or the folder cannot be read.
    unknown: str = ""

    @property
    def known(self) -> bool:
        """Whether an empty `pending` means that nothing is pending. Format 1 was written without `unknown` at first:
        then Alembic's tips betray a folder that did not know them, for with nothing pending one of them is a head."""
        apart = self.tool == "alembic" and not set(self.applied) & set(self.heads)
        return not self.unknown and not (apart and self.applied and self.heads and not self.pending)

    def told(self) -> str:
        """alembic: 3 applied, at c3; none pending"""
        applied = f"{self.tool}: {len(self.applied):,} applied"
        if self.pending:  # the heads are those of the project's files, which the database has not reached
            return f"{applied}; {named(self.pending, 'pending')}"
        if not self.known:
            why = self.unknown or saying(self.applied)
            return f"{applied}; what is pending is not known: {why}"
        return f"{applied}{f', at {named(self.heads)}' if self.heads else ''}; none pending"


#: More names than these are a number, the first and the last.
_NAMED = 5


def named(names: Sequence[str], what: str = "") -> str:
    """pending: a1, b2 · 160 pending: a1 … z9"""
    if len(names) > _NAMED:
        return f"{len(names):,}{f' {what}' if what else ''}: {names[0]} … {names[-1]}"
    return f"{f'{what}: ' if what else ''}{', '.join(names)}"


def saying(names: Sequence[str]) -> str:
    return f"the database says {named(names)}, which the folder does not know"


@dataclass(frozen=True, slots=True)
class Engine:
    #: postgres | sqlite
    name: str
    version: str
    #: Never a secret: the name of the database, its encoding, its collation …
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Link:
    """The manifest before this one, by digest: a history that cannot be edited unnoticed."""

    id: str
    sha256: str


@dataclass(frozen=True)  # no slots: the index is made when it is first asked for
class Manifest:
    system: str
    id: str
    kind: Kind
    scope: Scope
    started_at: str
    snapshot_at: str
    finished_at: str
    engine: Engine
    schema: ObjectRef
    tables: tuple[TableEntry, ...]
    ddl: tuple[DdlSection, ...] = ()
    image: FileImage | None = None
    files: tuple[FileTree, ...] = ()
    sequences: tuple[SequenceState, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    #: Group name → the tables of this backup that belong to it.
    groups: dict[str, tuple[str, ...]] = field(default_factory=dict)
    #: Identity of the snapshot in the live database, for the unchanged-chunk rule.
    state: dict[str, str] = field(default_factory=dict)
    migrations: Migrations | None = None
    git_revision: str | None = None
    #: `environment:` of the system: production, staging … Empty: it had none, or this version did not know it yet.
    environment: str = ""
    findings: tuple[Finding, ...] = ()
    #: SHA-256 of the RECOVER.md that lies beside the manifest.
    recover_sha256: str = ""
    previous: Link | None = None
    tools: dict[str, str] = field(default_factory=dict)
    #: Only in a draft: the file trees that are still to be read.
    awaits: tuple[str, ...] = ()
    format: int = FORMAT

    def table(self, identifier: TableId) -> TableEntry | None:
        return self._by_id.get(identifier)

    @cached_property
    def _by_id(self) -> dict[TableId, TableEntry]:
        """A scan for each of 25,000 tables took minutes."""
        return {table.id: table for table in reversed(self.tables)}

    @property
    def rows(self) -> int:
        return sum(table.rows for table in self.tables)

    @property
    def bytes(self) -> int:
        """Of the rows or the database file, and of all file trees; plain."""
        database = self.image.size if self.image else sum(table.bytes for table in self.tables)
        return database + sum(tree.bytes for tree in self.files)

    @property
    def degraded(self) -> bool:
        """Something that was asked for could not be taken, and is named in the findings."""
        return bool(self.lacking)

    @property
    def lacking(self) -> tuple[Finding, ...]:
        """Errors of this backup itself."""
        return tuple(one for one in self.findings if one.severity == "error" and not one.marked("of_earlier"))

    def tree(self, name: str) -> FileTree | None:
        return next((tree for tree in self.files if tree.name == name), None)

    def objects(self) -> tuple[ObjectRef, ...]:
        """Every object that this backup needs, each once."""
        found: dict[str, ObjectRef] = {}

        def add(reference: ObjectRef | None) -> None:
            if reference is not None:
                found.setdefault(reference.sha256 + reference.suffix, reference)

        add(self.schema)
        for section in self.ddl:
            add(section.object)
        for table in self.tables:
            for chunk in table.chunks:
                add(chunk.object)
        for segment in self.image.segments if self.image else ():
            for pack in segment.packs:
                add(pack)
            add(segment.map)
            add(segment.digests)
        for tree in self.files:
            add(tree.listing)
            for reference in (*tree.packs, *tree.blocks):
                add(reference)
        return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Proof:
    """What is remembered of a verification or a drill of one backup."""

    #: drill | verify | verify-quick
    kind: str
    at: str
    ok: bool
    #: Drill: the measured recovery time. Verify: how long it took.
    seconds: float
    findings: tuple[Finding, ...] = ()
    counted: dict[str, int] = field(default_factory=dict)
    #: The digest of the manifest that was proven: a proof of other bytes is no proof.
    manifest_sha256: str = ""
    tools: dict[str, str] = field(default_factory=dict)
    #: In an encrypted vault what was found lies beside this, encrypted: the digest of that.
    details_sha256: str = ""
